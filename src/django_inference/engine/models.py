"""The two kinds of loaded models, as the runner sees them.

Each turns a request into units, calls its runtime on a batch of them, and makes a result
of what the runtime returned for one item.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from django_inference.engine.batching import Request, Unit
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.fitting import Fitting
from django_inference.engine.tables import TableFitting
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import BaseRuntime, Runtime, TensorRuntime
from django_inference.tensors import Signature, Tensors


class Offender(Exception):
    """An item of a request could not be prepared; the cause says why."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Model(Protocol):
    """A loaded model.

    Attributes:
        signature: of its tensors, None where it has none.
        max_rows: of one batch.
    """

    signature: Signature | None
    max_rows: int

    def units(self, request: Request) -> list[Unit]:
        """Cut a request into what is never split between batches.

        Raises:
            InvalidInput: the request does not fit the model.
            Offender: one of its items does not.
        """

    def call(self, batch: list[Unit], rows: int) -> list[Any]:
        """Run a batch of so many rows; return one output a unit."""

    def result(self, output: Any) -> Any:
        """Turn the output of one item into what the caller gets."""


def model_of(runtime: BaseRuntime, max_rows: int) -> Model:
    """Wrap a runtime whose artifact is loaded.

    Raises:
        TypeError: it is of neither kind.
    """
    if isinstance(runtime, TensorRuntime):
        return TensorModel(runtime, max_rows)
    if isinstance(runtime, Runtime):
        return ItemModel(runtime, max_rows)
    raise TypeError(f"{type(runtime).__name__} is neither a Runtime nor a TensorRuntime.")


class ItemModel:
    """Items in, results out. Any two items can share a batch."""

    def __init__(self, runtime: Runtime, max_rows: int) -> None:
        self.signature: Signature | None = None
        self.max_rows = max_rows
        self._runtime = runtime

    def units(self, request: Request) -> list[Unit]:
        """A unit an item."""
        if not isinstance(request.payload, list):
            raise InvalidInput(
                "the model takes a list of items, not tensors; "
                "for a single item call predict_one()."
            )
        return prepared(request, self._item)

    def call(self, batch: list[Unit], rows: int) -> list[Any]:
        """One call of the runtime."""
        results = list(self._runtime.predict([unit.inputs for unit in batch]))
        if len(results) != rows:
            raise ValueError(f"predict() returned {len(results)} results for {rows} items.")
        return results

    def result(self, output: Any) -> Any:
        """What `postprocess` makes of it."""
        return self._runtime.postprocess(output)

    def _item(self, request: Request, index: int, item: Any) -> Unit:
        return Unit(request, index, self._runtime.preprocess(item), 1, None)


class TensorModel:
    """Named tensors in and out, joined along axis 0 where their shapes allow."""

    def __init__(self, runtime: TensorRuntime, max_rows: int) -> None:
        self.signature = runtime.signature
        exported_for = self.signature.batch_size if self.signature is not None else -1
        self.max_rows = exported_for if exported_for > 0 else max_rows
        # An artifact that was exported for a fixed batch takes no other.
        self._least_rows = max(exported_for, 1)
        self._runtime = runtime
        table = runtime.table
        self._fitting = (
            Fitting(self.signature) if table is None else TableFitting(self.signature, table)
        )

    def units(self, request: Request) -> list[Unit]:
        """A unit an item; tensors as they are, or cut into batches where they are longer."""
        payload = request.payload
        if isinstance(payload, list):
            return prepared(request, self._item)
        tensors = self._fitting.fit(payload)
        rows = self._fitting.rows(tensors)
        key = self._fitting.key(tensors)
        if rows <= self.max_rows:
            return [Unit(request, 0, tensors, rows, key)]
        units = []
        for index, start in enumerate(range(0, rows, self.max_rows)):
            part = slice(start, min(start + self.max_rows, rows))
            inputs = {name: tensor[part] for name, tensor in tensors.items()}
            units.append(Unit(request, index, inputs, part.stop - part.start, key))
        return units

    def call(self, batch: list[Unit], rows: int) -> list[Any]:
        """One call of the runtime, on the joined tensors."""
        inputs = batch[0].inputs if len(batch) == 1 else _joined([unit.inputs for unit in batch])
        if rows < self._least_rows:
            inputs = _padded(inputs, self._least_rows - rows)
        outputs = self._runtime.predict(inputs)
        for name, output in outputs.items():
            if len(output) != max(rows, self._least_rows):
                raise ValueError(f"the output {name!r} has {len(output)} rows for {rows} inputs.")
        if len(batch) == 1 and rows >= self._least_rows:
            return [outputs]
        results, start = [], 0
        for unit in batch:
            stop = start + unit.rows
            results.append({name: output[start:stop] for name, output in outputs.items()})
            start = stop
        return results

    def result(self, output: Tensors) -> Any:
        """What `postprocess` makes of its one row."""
        return self._runtime.postprocess({name: rows[0, ...] for name, rows in output.items()})

    def _item(self, request: Request, index: int, item: Any) -> Unit:
        inputs = self._fitting.fit_one(self._runtime.preprocess(item))
        return Unit(request, index, inputs, 1, self._fitting.key(inputs))


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


def joined(request: Request) -> Any:
    """Make one answer of the results of all the units of a request."""
    if isinstance(request.payload, list):
        return request.results
    return request.results[0] if len(request.results) == 1 else _joined(request.results)


def _joined(parts: list[Tensors]) -> Tensors:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _padded(inputs: Tensors, missing: int) -> Tensors:
    return {
        name: np.concatenate([tensor, np.repeat(tensor[-1:], missing, axis=0)])
        for name, tensor in inputs.items()
    }
