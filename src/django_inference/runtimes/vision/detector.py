"""The base of the runtimes that look for objects."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django_inference.runtimes.base import Runtime
from django_inference.runtimes.vision.detections import Objects, Wanted, class_number, plain
from django_inference.runtimes.vision.drawing import annotated
from django_inference.runtimes.vision.pictures import PictureReader

if TYPE_CHECKING:
    from django_inference.runtimes.vision.detections import Array, Guess
    from django_inference.runtimes.vision.pictures import Picture


class Detector(Runtime):
    """Pictures in, what is on them out.

    A subclass loads a model, calls `_learn` and implements `_look`.

    Args:
        confidence: that an object must exceed, from 0 to 1.
        iou: overlap above which the less sure one of two boxes of a class is dropped; an
            end-to-end model does that by itself.
        classes: names or numbers of the classes that count; None for all.
        max_detections: boxes on a picture; None for 300, or 5 classes of a classifier.
        image_size: side of the model's input, or its height and width; None leaves it to
            the file.
        annotate: answer with the picture as well, as JPEG, with what was found drawn on it.
        allow_urls: what the address of a picture must begin with to be fetched, such as
            `https://media.example.org/photos/`.
        max_pixels: that a picture may have.
    """

    def __init__(
        self,
        *,
        confidence: float,
        iou: float,
        classes: Sequence[str | int] | None,
        max_detections: int | None,
        image_size: int | Sequence[int] | None,
        annotate: bool,
        allow_urls: Sequence[str],
        max_pixels: int,
    ) -> None:
        for name, value in (("confidence", confidence), ("iou", iou)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not be {value!r}.")
        if max_detections is not None and max_detections < 1:
            raise ValueError(f"max_detections must be 1 or more, not {max_detections!r}.")
        if isinstance(classes, str):
            raise ValueError(f"classes must be a list of names or numbers, not {classes!r}.")
        self._confidence = confidence
        self._iou = iou
        self._classes = classes
        self._most = max_detections
        self._image_size = _size(image_size)
        self._annotate = annotate
        self._reader = PictureReader(max_pixels=max_pixels, allow_urls=allow_urls)
        self._names: Mapping[int, str] = {}
        self._wanted: Wanted

    def preprocess(self, item: Any) -> Picture:
        """Read the picture."""
        return self._reader.read(item)

    def predict(self, items: list[Any]) -> list[Any]:
        """Look at every picture."""
        results: list[Any] = []
        for picture, seen in zip(items, self._look(items), strict=True):
            result: dict[str, Any] = {"width": picture.shape[1], "height": picture.shape[0]}
            if isinstance(seen, Objects):
                result["boxes"] = plain(seen, self._names)
            else:
                result["classes"] = self._ranked(seen)
            if self._annotate:
                result["image"] = annotated(picture, result)
            results.append(result)
        return results

    @abstractmethod
    def _look(self, pictures: list[Picture]) -> list[Objects | Array]:
        """What the model sees: objects, or for a classifier the probability of each class."""

    def _learn(self, names: Mapping[int, str]) -> None:
        """Take the names of the model's classes, by number.

        Raises:
            ValueError: the option `classes` names one that the model has not.
        """
        self._names = names
        numbers = None
        if self._classes is not None:
            numbers = tuple(class_number(each, names) for each in self._classes)
        self._wanted = Wanted(self._confidence, self._iou, numbers, self._most or 300)

    def _ranked(self, probabilities: Array) -> list[Guess]:
        order = probabilities.argsort(kind="stable")[::-1].tolist()
        if self._wanted.classes is not None:
            order = [each for each in order if each in self._wanted.classes]
        return [
            {"label": self._names[each], "class": each, "confidence": float(probabilities[each])}
            for each in order[: self._most or 5]
        ]


def _size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"image_size must be a side, or a height and a width, not {size!r}.")
    return sides[0], sides[1]
