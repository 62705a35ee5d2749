"""Which of several boxes around one object is kept: the surest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

#: Oriented boxes that are compared at a time, so that their table stays small.
_BLOCK = 256


def keep_boxes(boxes: Array, confidences: Array, classes: Array, iou: float) -> Array:
    """The rows to keep, by falling confidence, of boxes float [n, 4]: left, top, right, bottom.

    Args:
        boxes: the candidates.
        confidences: float [n].
        classes: int [n]; boxes of two classes do not compete.
        iou: that no box may exceed with a surer one that is kept.
    """
    import cv2
    import numpy as np

    if not len(boxes):
        return np.zeros(0, int)
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(sizes.tolist(), confidences.tolist(), classes.tolist(), 0.0, iou)
    return np.asarray(kept, int).reshape(-1)


def keep_oriented_boxes(boxes: Array, classes: Array, iou: float) -> Array:
    """The rows to keep of boxes float [n, 5] in order: centre, width, height and angle.

    A box goes when it overlaps with any surer one of its class, as in training: the
    overlap is that of the normal distributions that have the boxes' centres and spreads.
    """
    import numpy as np

    kept = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), _BLOCK):
        end = min(start + _BLOCK, len(boxes))
        rivals = similarity(boxes[start:end], boxes[:end]) > iou
        rivals &= classes[start:end, None] == classes[:end]
        surer = np.arange(end) < np.arange(start, end)[:, None]
        kept[start:end] = ~(rivals & surer).any(axis=1)
    return kept.nonzero()[0]


def similarity(some: Array, others: Array) -> Array:
    """1 minus the Hellinger distance of oriented boxes [n, 5] to others [m, 5]: float [n, m]."""
    import numpy as np

    (centre, first), (other_centre, second) = _gaussians(some), _gaussians(others)
    mean = (first[:, None] + second[None]) / 2
    apart = (centre[:, None] - other_centre[None])[..., None]
    determinants = np.sqrt(np.linalg.det(first)[:, None] * np.linalg.det(second)[None])
    # Bhattacharyya's distance.
    solved = np.linalg.solve(mean, apart)
    distance = (apart * solved).sum(axis=(2, 3)) / 8
    distance += np.log(np.linalg.det(mean) / determinants) / 2
    return np.asarray(1 - np.sqrt(1 - np.exp(-distance.clip(0))))


def _gaussians(boxes: Array) -> tuple[Array, Array]:
    """The centres [n, 2] and the covariances [n, 2, 2] of uniform boxes."""
    import numpy as np

    boxes = boxes.astype(float)
    # No box is without any extent.
    variances = np.maximum(boxes[:, 2:4] ** 2 / 12, 1e-9)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    turn = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    return boxes[:, :2], (turn * variances[:, None]) @ turn.transpose(0, 2, 1)
