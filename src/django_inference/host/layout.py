"""Where the tensors of a message lie, remembered for the next message.

Nearly all messages of a connection carry tensors of the same names, types and shapes. Such a
message differs from the one before only in the values, which lie in the arena: what says
where they lie need be neither written nor read again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy import dtype, ndarray

from django_inference.host.lending import LENT_FROM

Array = ndarray[Any, Any]


class Place(NamedTuple):
    """Where one tensor lies. `view` looks at it, in the arena as it was then."""

    dtype: dtype[Any]
    shape: tuple[int, ...]
    start: int
    view: Array


class Layout:
    """Where all the tensors of a payload lie.

    Args:
        body: the payload as it travels.
        names: of its tensors.
        places: of its tensors.
        start: where the arena was free before them.
        end: where it is free behind them.
    """

    __slots__ = ("_tensors", "body", "end", "has_long", "start")

    def __init__(
        self, body: bytes, names: list[str], places: list[Place], start: int, end: int
    ) -> None:
        self.body = body
        self.start = start
        self.end = end
        self.has_long = any(place.view.nbytes >= LENT_FROM for place in places)
        self._tensors = [(name, *place) for name, place in zip(names, places, strict=True)]

    @classmethod
    def of(
        cls, payload: dict[str, Array], body: bytes, places: list[Place], start: int, end: int
    ) -> Layout | None:
        """Remember a payload; None where it holds more than tensors with a place each."""
        if len(payload) != len(places):
            return None
        for value, place in zip(payload.values(), places, strict=True):
            # What is in an array of objects may have places, too.
            if value.dtype != place.dtype or value.shape != place.shape:
                return None
        return cls(body, list(payload), places, start, end)

    def take(self, payload: Any) -> bool:
        """Copy the tensors of a payload to where those of the last one were, if they fit."""
        if payload.__class__ is not dict or len(payload) != len(self._tensors):
            return False
        for (name, value), known in zip(payload.items(), self._tensors, strict=True):
            known_name, dtype, shape, _, view = known
            if name != known_name or value.__class__ is not ndarray:
                return False
            if value.dtype != dtype or value.shape != shape:
                return False
            view[...] = value
        return True

    def copies(self) -> dict[str, Array]:
        """The tensors as they are now, in memory of their own."""
        return {name: view.copy() for name, _, _, _, view in self._tensors}

    def views(self, memory: Any) -> dict[str, Array]:
        """Arrays that look into the arena. New ones, since a model may reshape what it gets."""
        return {
            name: ndarray(shape, dtype, memory, start)
            for name, dtype, shape, start, _ in self._tensors
        }


def is_named_tensors(payload: Any) -> bool:
    """Whether a payload is nothing but arrays by name."""
    return payload.__class__ is dict and all(
        name.__class__ is str and value.__class__ is ndarray for name, value in payload.items()
    )
