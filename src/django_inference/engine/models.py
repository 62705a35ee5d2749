"""What the runner knows of a loaded model, whichever kind it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from django_inference.engine.batching import Request, Unit
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature

if TYPE_CHECKING:
    import numpy as np


class Offender(Exception):
    """An item of a request could not be prepared; the cause says why."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Indivisible(Exception):
    """A shared run has returned what cannot be divided among its requests."""


class Model(Protocol):
    """A loaded model.

    Attributes:
        signature: of its tensors, None where it has none.
        max_rows: of one batch.
        fixed_rows: that every run of it must have; 0 where any number will do.
        may_join: its declaration allows that requests share a run.
    """

    signature: Signature | None
    max_rows: int
    fixed_rows: int
    may_join: bool

    def units(self, request: Request, may_cut: Callable[[Any], bool]) -> list[Unit]:
        """Cut a request into what is never split between batches.

        Args:
            request: to be run.
            may_cut: says of a unit's key whether the rows of a request may be run in pieces.

        Raises:
            InvalidInput: the request does not fit the model.
            Offender: one of its items does not.
        """

    def pieces(self, unit: Unit) -> list[Unit]:
        """Cut a unit that is longer than a batch; the unit itself where it is not."""

    def call(self, batch: list[Unit], rows: int, with_zeros: bool = False) -> list[Any]:
        """Run a batch of so many rows; return one output a unit.

        Args:
            batch: units with one key.
            rows: of all of them.
            with_zeros: add rows of zeros where the artifact takes more, not the last row.

        Raises:
            Indivisible: the outputs do not say which rows belong to which unit.
        """

    def observe(self, units: list[Unit], outputs: list[Any]) -> None:
        """Learn from runs of different numbers of rows which outputs have rows.

        Args:
            units: that were run, each by itself.
            outputs: of each.
        """

    def reordered(self, unit: Unit, order: np.ndarray[Any, Any]) -> Unit:
        """Return a unit with its rows in another order."""

    def rows_of(self, output: Any, order: np.ndarray[Any, Any]) -> Any:
        """Return an output with its rows in another order."""

    def result(self, output: Any) -> Any:
        """Turn the output of one item into what the caller gets."""

    def answer(self, request: Request) -> Any:
        """Make one answer of the results of all the units of a request."""

    def joined(self, outputs: list[Any]) -> Any:
        """Make one output of those of the pieces of a unit.

        Raises:
            Indivisible: an output has no rows.
        """


def prepared(request: Request, prepare: Callable[[Request, int, Any], Unit]) -> list[Unit]:
    """Make a unit of every item of a request.

    Raises:
        Offender: one of them could not be prepared.
    """
    # Preparing an image may kill the process as well as running the model.
    request.begins(1)
    units = []
    for index, item in enumerate(request.payload):
        try:
            units.append(prepare(request, index, item))
        except OF_THE_MODEL as error:
            raise Offender(index) from error
    request.begins(0)
    return units


def wrong_size(fixed_rows: int, rows: int) -> InvalidInput:
    """Return the refusal of a number of rows that an artifact of a fixed batch does not take."""
    return InvalidInput(
        f"the model takes {fixed_rows} rows a call, not {rows}: no run has shown that its rows "
        "do not depend on each other."
    )
