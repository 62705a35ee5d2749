"""Models that take named tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from django_inference.engine.axes import Axes, cut, join, pad, take, with_axes
from django_inference.engine.batching import Request, Unit
from django_inference.engine.dtypes import Dtypes
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.fitting import Fitting, shapes
from django_inference.engine.models import Indivisible, prepared, wrong_size
from django_inference.engine.tables import TableFitting
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import TensorRuntime
from django_inference.specs import one_line
from django_inference.tensors import SIGNATURE_KEY, Tensors


class Addressed(NamedTuple):
    """The inputs of a call for one of a model's other signatures."""

    signature: str
    inputs: Tensors


class TensorModel:
    """Named tensors in and out, joined along their batch axes where their shapes allow."""

    def __init__(self, runtime: TensorRuntime, max_rows: int) -> None:
        option = runtime.batch_axis
        self._dtypes = Dtypes(runtime.signature)
        self.signature = self._dtypes.signature
        if self.signature is not None:
            self.signature = with_axes(self.signature, option)
        # An artifact that was exported for a fixed batch takes no other.
        exported_for = self.signature.batch_size if self.signature is not None else -1
        self.fixed_rows = max(exported_for, 0)
        self.max_rows = self.fixed_rows or max_rows
        self._runtime = runtime
        table = runtime.table
        self._fitting = (
            Fitting(self.signature, Axes.declared(option))
            if table is None
            else TableFitting(self.signature, table)
        )
        others = self.signature.others if self.signature is not None else ()
        self._others = {each.name: Fitting(each) for each in others}
        outputs = self.signature.outputs if self.signature is not None else ()
        self._output_axes = Axes.of_specs(outputs) if outputs else Axes.declared(option)
        inputs = self.signature.inputs if self.signature is not None else ()
        self.may_join = option is not None and (
            self.signature is None or any(spec.batch_axis is not None for spec in inputs)
        )

    def units(self, request: Request, may_cut: Callable[[Any], bool]) -> list[Unit]:
        """A unit an item; tensors as they are, or cut into batches where they are longer."""
        payload = request.payload
        if isinstance(payload, list):
            return prepared(request, self._item)
        if self._others and isinstance(payload, Mapping) and SIGNATURE_KEY in payload:
            return [self._addressed(request, {**payload})]
        unit = self._unit(request, 0, self._fitting.fit(payload))
        if unit.rows <= self.max_rows:
            return [unit]
        if self.fixed_rows == 1 or may_cut(unit.key):
            return self.pieces(unit)
        if self.fixed_rows:
            raise wrong_size(self.fixed_rows, unit.rows)
        return [unit]

    def pieces(self, unit: Unit) -> list[Unit]:
        """Units of `max_rows` rows at the most."""
        if unit.rows <= self.max_rows or not self._fitting.lengths(unit.inputs):
            return [unit]
        pieces = []
        for index, start in enumerate(range(0, unit.rows, self.max_rows)):
            stop = min(start + self.max_rows, unit.rows)
            inputs = cut(unit.inputs, self._fitting.axes, start, stop)
            pieces.append(Unit(unit.request, index, inputs, stop - start, unit.key))
        return pieces

    def call(self, batch: list[Unit], rows: int, with_zeros: bool = False) -> list[Any]:
        """One call of the runtime, on the joined tensors."""
        if isinstance(batch[0].inputs, Addressed):
            return [self._dtypes.taken(self._runtime.predict_as(*batch[0].inputs))]
        axes = self._fitting.axes
        inputs = batch[0].inputs if len(batch) == 1 else join([unit.inputs for unit in batch], axes)
        missing = self.fixed_rows - rows
        if missing > 0:
            inputs = pad(inputs, axes, missing, with_zeros=with_zeros)
        outputs = self._predicted(inputs, batch)
        if len(batch) == 1 and missing <= 0:
            # The run had one caller, who gets all of it.
            return [outputs]
        self._check_rows(outputs, max(rows, self.fixed_rows))
        results, start = [], 0
        for unit in batch:
            stop = start + unit.rows
            results.append(cut(outputs, self._output_axes, start, stop))
            start = stop
        return results

    def observe(self, units: list[Unit], outputs: list[Tensors]) -> None:
        """Learn which outputs have as many rows as the inputs."""
        for name in outputs[0]:
            axis = self._output_axes.of(name)
            at = axis or 0
            has_rows = all(
                np.shape(output[name])[at : at + 1] == (unit.rows,)
                for unit, output in zip(units, outputs, strict=True)
            )
            if axis is not None and not has_rows:
                self._output_axes.learn(name, None)
            elif axis is None and has_rows and self._says_no_shape(name):
                self._output_axes.learn(name, 0)
        if self.signature is not None:
            specs = tuple(
                msgspec.structs.replace(spec, batch_axis=self._output_axes.of(spec.name))
                for spec in self.signature.outputs
            )
            self.signature = msgspec.structs.replace(self.signature, outputs=specs)

    def reordered(self, unit: Unit, order: Any) -> Unit:
        """A unit with its rows in another order."""
        inputs = take(unit.inputs, self._fitting.axes, order)
        return Unit(unit.request, unit.index, inputs, unit.rows, unit.key)

    def rows_of(self, output: Tensors, order: Any) -> Tensors:
        """An output with its rows in another order."""
        return take(output, self._output_axes, order)

    def result(self, output: Tensors) -> Any:
        """What `postprocess` makes of its one row.

        An output that has no row for the item is given to it whole.
        """
        row = {}
        for name, tensor in output.items():
            rows = self._output_axes.length(name, tensor)
            if rows == 1:
                axis = self._output_axes.of(name) or 0
                tensor = np.asarray(tensor)[(slice(None),) * axis + (0, ...)]
            elif rows is not None:
                # From now on, so that one row of it is not taken for the item's.
                self._output_axes.learn(name, None)
            row[name] = tensor
        return self._runtime.postprocess(row)

    def answer(self, request: Request) -> Any:
        """A result an item, or the outputs for all the rows."""
        if isinstance(request.payload, list):
            return request.results
        return request.results[0] if len(request.results) == 1 else self.joined(request.results)

    def joined(self, outputs: list[Tensors]) -> Tensors:
        """The rows of all of them; each must have rows."""
        for name in outputs[0]:
            if any(self._output_axes.length(name, each[name]) is None for each in outputs):
                raise Indivisible(f"the output {name!r} has no rows")
        return join(outputs, self._output_axes)

    def _says_no_shape(self, name: str) -> bool:
        outputs = self.signature.outputs if self.signature is not None else ()
        return any(spec.name == name and not spec.shape for spec in outputs)

    def _predicted(self, inputs: Tensors, batch: list[Unit]) -> Tensors:
        try:
            outputs: Tensors = self._dtypes.taken(self._runtime.predict(self._dtypes.given(inputs)))
        except OF_THE_MODEL as error:
            if len(self._fitting.lengths(inputs)) < 2 or isinstance(error, InvalidInput):
                raise
            # Lengths that differ are most likely what the framework complains of.
            raise InvalidInput(
                f"the inputs have different numbers of rows ({shapes(inputs)}), which the model "
                f"does not take: {one_line(error)}"
            ) from error
        return outputs

    def _check_rows(self, outputs: Tensors, rows: int) -> None:
        for name, output in outputs.items():
            if self._output_axes.of(name) is not None and (
                self._output_axes.length(name, output) != rows
            ):
                raise Indivisible(
                    f"the output {name!r} has the shape {list(np.shape(output))} for {rows} rows"
                )

    def _unit(self, request: Request, index: int, tensors: Tensors) -> Unit:
        lengths = self._fitting.lengths(tensors)
        if not tensors:
            raise InvalidInput("there are no inputs.")
        if lengths == {0}:
            raise InvalidInput(f"the batch is empty: {shapes(tensors)}.")
        if self.fixed_rows and len(lengths) > 1:
            raise InvalidInput(
                f"the inputs have different numbers of rows ({shapes(tensors)}), and the model "
                f"takes {self.fixed_rows} of each."
            )
        if len(lengths) != 1:
            # Without one number of rows, this is a call of its own.
            return Unit(request, index, tensors, 1, None, alone=True)
        alone = not self.may_join
        return Unit(request, index, tensors, lengths.pop(), self._fitting.key(tensors), alone)

    def _addressed(self, request: Request, payload: dict[str, Any]) -> Unit:
        """The one unit of a call for another signature, of which no batch is made."""
        name = payload.pop(SIGNATURE_KEY)
        if not isinstance(name, str) or name not in self._others:
            raise InvalidInput(
                f"there is no signature {str(name)[:200]!r}; beside the model's own there are "
                f"{', '.join(self._others)}."
            )
        inputs = Addressed(name, self._others[name].fit(payload))
        rows = max(self._others[name].lengths(inputs.inputs), default=1)
        return Unit(request, 0, inputs, rows, None, alone=True)

    def _item(self, request: Request, index: int, item: Any) -> Unit:
        row = self._fitting.fit_one(self._runtime.preprocess(item))
        return self._unit(request, index, row)
