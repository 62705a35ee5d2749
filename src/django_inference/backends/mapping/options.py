"""What the caller of `map` may choose."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelCrashed,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.specs import Priority

#: Is told how many items are done, and how many there are, or None where nobody knows.
Told: TypeAlias = Callable[[int, int | None], object]

#: Errors that belong to one item of a batch and not to the model as a whole.
_OF_AN_ITEM = (InvalidInput, ModelCrashed, PredictionFailed)


class MapOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `Predictor.map` is given beside the items, and says what it means."""

    timeout: float | None = None
    priority: Priority = "normal"
    ordered: bool = True
    return_exceptions: bool = False
    progress: Told | None = None
    checkpoint: str | os.PathLike[str] | None = None

    @property
    def of_an_item(self) -> tuple[type[InferenceError], ...]:
        """Errors of a batch after which its items are predicted one by one."""
        # Where errors are collected, the one item that takes for ever shall not end the run.
        return (*_OF_AN_ITEM, PredictionTimeout) if self.return_exceptions else _OF_AN_ITEM
