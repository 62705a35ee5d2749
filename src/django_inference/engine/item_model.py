"""Models that take items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any

from django_inference.engine.batching import Request, Unit
from django_inference.engine.models import Indivisible, prepared
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import Runtime
from django_inference.tensors import Signature


class ItemModel:
    """Items in, results out. Any two items can share a batch.

    Where the runtime says that it has no batch axis, a request is one call of it, with all
    the items of the request.
    """

    def __init__(self, runtime: Runtime, max_rows: int) -> None:
        self.signature: Signature | None = None
        self.max_rows = max_rows
        self.fixed_rows = 0
        self.may_join = runtime.batch_axis is not None
        self._runtime = runtime

    def units(self, request: Request, may_cut: Callable[[Any], bool]) -> list[Unit]:
        """A unit an item, or one for all of them."""
        if not isinstance(request.payload, list):
            raise InvalidInput(
                "the model takes a list of items, not tensors; "
                "for a single item call predict_one()."
            )
        units = prepared(request, self._item)
        if self.may_join or not units:
            return units
        return [Unit(request, 0, [unit.inputs for unit in units], len(units), None, alone=True)]

    def pieces(self, unit: Unit) -> list[Unit]:
        """An item is never cut."""
        return [unit]

    def call(self, batch: list[Unit], rows: int, with_zeros: bool = False) -> list[Any]:
        """One call of the runtime."""
        items = [unit.inputs for unit in batch] if self.may_join else batch[0].inputs
        results = self._runtime.predict(items)
        if isinstance(results, str | bytes | Mapping | Set):
            # A list of these would hold letters, names, or results in any order.
            raise TypeError(
                f"predict() returned a {type(results).__name__}, not a list of results."
            )
        results = list(results)
        if len(results) != rows:
            said = f"predict() returned {len(results)} results for {rows} items."
            if len(batch) > 1:
                raise Indivisible(said)
            raise ValueError(said)
        return results if self.may_join else [results]

    def observe(self, units: list[Unit], outputs: list[Any]) -> None:
        """There is a result an item."""

    def reordered(self, unit: Unit, order: Any) -> Unit:
        """An item has no rows."""
        return unit

    def rows_of(self, output: Any, order: Any) -> Any:
        """An item has no rows."""
        return output

    def result(self, output: Any) -> Any:
        """What `postprocess` makes of it."""
        if self.may_join:
            return self._runtime.postprocess(output)
        return [self._runtime.postprocess(each) for each in output]

    def answer(self, request: Request) -> Any:
        """A result an item."""
        return request.results if self.may_join or not request.results else request.results[0]

    def joined(self, outputs: list[Any]) -> Any:
        """An item is never cut."""
        return outputs[0]

    def _item(self, request: Request, index: int, item: Any) -> Unit:
        return Unit(request, index, self._runtime.preprocess(item), 1, None)
