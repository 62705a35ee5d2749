"""Between the pixels of a picture and those of a model's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

#: What a model sees beside a picture that does not fill its input; YOLO is trained so.
_GREY = (114, 114, 114)


@dataclass(frozen=True)
class Letterbox:
    """How a picture is scaled, its proportions kept, and centred in a model's input.

    Attributes:
        picture: height and width of the picture.
        scaled: height and width that it has in the input.
        input: height and width of the input.
    """

    picture: tuple[int, int]
    scaled: tuple[int, int]
    input: tuple[int, int]

    @classmethod
    def fit(
        cls, picture: tuple[int, int], into: tuple[int, int], *, stride: int | None = None
    ) -> Letterbox:
        """Fit a picture into an input.

        Args:
            picture: its height and width.
            into: height and width of the input.
            stride: of a model that takes any size: the input is made no larger than the
                picture needs, in multiples of this. None keeps the input as it is.
        """
        ratio = min(into[0] / picture[0], into[1] / picture[1])
        height, width = (max(round(side * ratio), 1) for side in picture)
        if stride:
            into = (
                height + (into[0] - height) % stride,
                width + (into[1] - width) % stride,
            )
        return cls(picture, (height, width), into)

    @property
    def _corner(self) -> tuple[int, int]:
        """Where the picture begins in the input: its top and its left."""
        return (self.input[0] - self.scaled[0]) // 2, (self.input[1] - self.scaled[1]) // 2

    def apply(self, picture: Array) -> Array:
        """Return the input: uint8 [height, width, 3]."""
        import cv2

        height, width = self.scaled
        if self.scaled != self.picture:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        top, left = self._corner
        bottom, right = self.input[0] - height - top, self.input[1] - width - left
        return cv2.copyMakeBorder(
            picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_GREY
        )

    def lengths(self, values: Array) -> Array:
        """Scale widths and heights of the input [..., 2] to those of the picture."""
        import numpy as np

        (height, width), (scaled_height, scaled_width) = self.picture, self.scaled
        return np.asarray(values / np.array([scaled_width / width, scaled_height / height]))

    def points(self, values: Array) -> Array:
        """Turn points of the input [..., 2], x and y, into points of the picture."""
        import numpy as np

        top, left = self._corner
        return self.lengths(values - np.array([left, top]))

    def inside(self, points: Array) -> Array:
        """Move points that lie beside the picture to its edge."""
        import numpy as np

        return points.clip(0, np.array([self.picture[1], self.picture[0]]))


def corners(boxes: Array) -> Array:
    """The corners [n, 4, 2] of oriented boxes [n, 5]: centre, width, height and angle.

    They go round the box; the angle is in radians, from the x axis towards the y axis.
    """
    import numpy as np

    centre, angle = boxes[:, None, :2], boxes[:, 4]
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1) * boxes[:, 2:3] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * boxes[:, 3:4] / 2
    around = np.stack([along + across, along - across, -along - across, across - along], axis=1)
    return centre + around


def outlines(mask: Array, letterbox: Letterbox) -> list[Array]:
    """The outlines [n, 2] in the picture of each part of a mask in the input, largest first."""
    import cv2

    found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # Fewer than three points enclose nothing.
    parts = sorted((part for part in found if len(part) > 2), key=cv2.contourArea, reverse=True)
    return [letterbox.inside(letterbox.points(part.reshape(-1, 2))) for part in parts]
