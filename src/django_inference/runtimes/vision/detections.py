"""What is on a picture: the results of every runtime that looks for objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

from django_inference.words import suggestion

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

#: One class, and how sure the model is of it: from 0 to 1.
Guess = TypedDict("Guess", {"label": str, "class": int, "confidence": float})


class Box(Guess):
    """An object. Everything is in pixels of the picture, x before y, from its top left."""

    box: list[float]  # left, top, right, bottom
    polygons: NotRequired[list[list[list[float]]]]  # segmentation: the outline of each part
    keypoints: NotRequired[list[list[float]]]  # pose: x, y and, where the model says, confidence
    corners: NotRequired[list[list[float]]]  # oriented boxes: the four corners


class Result(TypedDict):
    """What is on one picture: `boxes`, or for a classifier `classes`, the surest first."""

    width: int
    height: int
    boxes: NotRequired[list[Box]]
    classes: NotRequired[list[Guess]]
    image: NotRequired[bytes]  # with `annotate`: a JPEG file


@dataclass(frozen=True)
class Wanted:
    """Which findings count.

    Attributes:
        confidence: that an object must exceed.
        iou: overlap above which the less sure one of two boxes of a class is dropped.
        classes: numbers of the classes that count; None for all.
        most: of them on a picture.
    """

    confidence: float
    iou: float
    classes: tuple[int, ...] | None
    most: int


@dataclass(frozen=True)
class Objects:
    """Objects as arrays, a row each, by falling confidence.

    Attributes:
        boxes: float [n, 4].
        confidences: float [n].
        classes: int [n].
        polygons: outlines [k, 2] of the parts of each object.
        keypoints: float [n, k, 2 or 3].
        corners: float [n, 4, 2].
    """

    boxes: Array
    confidences: Array
    classes: Array
    polygons: list[list[Array]] | None = None
    keypoints: Array | None = None
    corners: Array | None = None


def class_number(wanted: str | int, names: Mapping[int, str]) -> int:
    """The number of a class, given by that or by its name.

    Raises:
        ValueError: the model has no such class.
    """
    if isinstance(wanted, int):
        if wanted in names:
            return wanted
        raise ValueError(f"the model has no class {wanted}; it has {_listed(names)}.")
    for number, name in names.items():
        if name == wanted:
            return number
    raise ValueError(
        f"the model has no class {wanted!r}{suggestion(wanted, names.values())}; "
        f"it has {_listed(names)}."
    )


def _listed(names: Mapping[int, str]) -> str:
    shown = [f"{number} {name}" for number, name in list(names.items())[:100]]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def plain(objects: Objects, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """The objects as a list of `Box`."""
    boxes = [
        {"label": names[number], "class": number, "confidence": confidence, "box": box}
        for number, confidence, box in zip(
            objects.classes.tolist(),
            objects.confidences.tolist(),
            objects.boxes.tolist(),
            strict=True,
        )
    ]
    if objects.polygons is not None:
        for box, parts in zip(boxes, objects.polygons, strict=True):
            box["polygons"] = [part.tolist() for part in parts]
    for key, rows in (("keypoints", objects.keypoints), ("corners", objects.corners)):
        if rows is not None:
            for box, row in zip(boxes, rows.tolist(), strict=True):
                box[key] = row
    return boxes
