"""The model that the runner sees, for each kind of runtime."""

from __future__ import annotations

from django_inference.engine.item_model import ItemModel
from django_inference.engine.models import Model
from django_inference.engine.tensor_model import TensorModel
from django_inference.runtimes.base import BaseRuntime, Runtime, TensorRuntime


def model_of(runtime: BaseRuntime, max_rows: int) -> Model:
    """Wrap a runtime whose artifact is loaded.

    Raises:
        TypeError: it is of neither kind.
        ValueError: its `batch_axis` does not fit its signature.
    """
    if isinstance(runtime, TensorRuntime):
        return TensorModel(runtime, max_rows)
    if isinstance(runtime, Runtime):
        return ItemModel(runtime, max_rows)
    raise TypeError(f"{type(runtime).__name__} is neither a Runtime nor a TensorRuntime.")
