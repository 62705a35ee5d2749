"""What comes out of an exported YOLO, and what it means: without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from django_inference.runtimes.vision.detections import Objects
from django_inference.runtimes.vision.geometry import Letterbox, corners, outlines
from django_inference.runtimes.vision.overlaps import keep_boxes, keep_oriented_boxes

if TYPE_CHECKING:
    import numpy as np

    from django_inference.runtimes.vision.detections import Wanted

    Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Head:
    """How the output of one model is laid out.

    Every candidate has a box, its classes, and what its task adds: coefficients of a mask,
    keypoints, or an angle. A plain head gives a column a candidate, `[4 + classes + added,
    candidates]`, the box as centre and size. An end-to-end head gives the few that are
    left, a row each, `[candidates, 6 + added]`: box, confidence, class; the box as its
    edges, but for oriented ones.

    Attributes:
        task: `detect`, `segment`, `pose` or `obb`.
        classes: how many the model knows.
        added: values of each candidate that the task adds.
        end_to_end: which of the two it is.
        points: keypoints, and the values of each: x, y and perhaps a confidence.
    """

    task: str
    classes: int
    added: int = 0
    end_to_end: bool = False
    points: tuple[int, int] = (0, 0)

    def read(
        self, output: Array, prototypes: Array | None, letterbox: Letterbox, wanted: Wanted
    ) -> Objects:
        """Return the objects on one picture, in its own pixels.

        Args:
            output: of the picture, without the axis of the batch.
            prototypes: float [added, height, width], which the coefficients of a mask weigh.
            letterbox: how the picture was put into the input.
            wanted: which of the objects count.
        """
        import numpy as np

        found = self._select(output, wanted)
        if self.task == "obb":
            centres = letterbox.points(found.boxes[:, :2])
            sizes = letterbox.lengths(found.boxes[:, 2:])
            around = corners(np.concatenate([centres, sizes, found.added], axis=1))
            boxes = np.concatenate([around.min(axis=1), around.max(axis=1)], axis=1)
            return Objects(boxes, found.confidences, found.classes, corners=around)
        polygons: list[list[Array]] | None = None
        keypoints: Array | None = None
        if self.task == "segment" and prototypes is not None:
            kept, polygons = [], []
            for row, mask in enumerate(_masks(found, prototypes, letterbox.input)):
                if mask.any():
                    kept.append(row)
                    polygons.append(outlines(mask, letterbox))
            found = found.rows(kept)
        if self.task == "pose":
            keypoints = found.added.reshape(-1, *self.points).copy()
            keypoints[..., :2] = letterbox.inside(letterbox.points(keypoints[..., :2]))
        boxes = letterbox.inside(letterbox.points(found.boxes.reshape(-1, 2, 2))).reshape(-1, 4)
        return Objects(boxes, found.confidences, found.classes, polygons, keypoints)

    def _select(self, output: Array, wanted: Wanted) -> _Candidates:
        """The candidates that count, by falling confidence."""
        import numpy as np

        output = output.astype(np.float32, copy=False)
        if self.end_to_end:
            found = _Candidates(
                output[:, :4], output[:, 4], output[:, 5].astype(int), output[:, 6:]
            )
        else:
            scores = output[4 : 4 + self.classes]
            found = _Candidates(
                output[:4].T,
                scores.max(axis=0),
                scores.argmax(axis=0),
                output[4 + self.classes :].T,
            )
        counts = found.confidences > wanted.confidence
        if wanted.classes is not None:
            counts &= np.isin(found.classes, wanted.classes)
        found = found.rows(counts)
        if self.end_to_end:
            return found.rows(slice(wanted.most))
        found = found.rows((-found.confidences).argsort(kind="stable"))
        if self.task == "obb":
            boxes = np.concatenate([found.boxes, found.added], axis=1)
            keep = keep_oriented_boxes(boxes, found.classes, wanted.iou)
            return found.rows(keep[: wanted.most])
        half = found.boxes[:, 2:] / 2
        edges = [found.boxes[:, :2] - half, found.boxes[:, :2] + half]
        found = replace(found, boxes=np.concatenate(edges, axis=1))
        keep = keep_boxes(found.boxes, found.confidences, found.classes, wanted.iou)
        return found.rows(keep[: wanted.most])


@dataclass(frozen=True)
class _Candidates:
    boxes: Array
    confidences: Array
    classes: Array
    added: Array

    def rows(self, which: Any) -> _Candidates:
        return _Candidates(
            self.boxes[which], self.confidences[which], self.classes[which], self.added[which]
        )


def _masks(found: _Candidates, prototypes: Array, shape: tuple[int, int]) -> Iterator[Array]:
    """The masks uint8 [height, width] in the input, each cut off at its box."""
    import cv2
    import numpy as np

    depth, height, width = prototypes.shape
    weighed = found.added @ prototypes.astype(np.float32).reshape(depth, -1)
    for coarse, box in zip(weighed, found.boxes, strict=True):
        fine = cv2.resize(coarse.reshape(height, width), shape[::-1])
        # The pixels whose numbers lie in the box, its end excluded.
        left, top, right, bottom = np.ceil(box.clip(0)).astype(int)
        mask = np.zeros(shape, np.uint8)
        mask[top:bottom, left:right] = fine[top:bottom, left:right] > 0
        yield mask
