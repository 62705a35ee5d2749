"""A model in this process, loaded and asked as it is in a worker of the host."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import msgspec

from django_inference.engine.runner import Runner
from django_inference.engine.warmup import outcome
from django_inference.exceptions import InferenceError
from django_inference.metrics import StatisticsPage
from django_inference.specs import ModelSpec
from django_inference.tensors import Signature


class Loaded:
    """A context manager, called with what `Predictor.predict` takes.

    Args:
        spec: of the model.

    Raises:
        Exception: whatever the load raises; `GoldenMismatch` where it answers wrongly.
    """

    def __init__(self, spec: ModelSpec) -> None:
        # What is measured are the answers to each payload as it is, so there is nothing to prove.
        options = msgspec.structs.replace(spec.options, batching="never")
        spec = msgspec.structs.replace(spec, options=options)
        self._runner = Runner(spec, StatisticsPage())
        self._runner.load()

    @property
    def signature(self) -> Signature | None:
        """The tensors of the model; None where it declares none."""
        return self._runner.signature

    def __call__(self, payload: Any) -> Any:
        """Predict.

        Raises:
            InferenceError: it could not.
        """
        answer = outcome(self._runner, payload)
        if isinstance(answer, InferenceError):
            raise answer
        return answer

    def __enter__(self) -> Loaded:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the memory back."""
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        self._runner.close()
