"""What a predictor calls: a backend, or a backend with another model behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, Protocol

from django_inference.specs import Priority


class Front(Protocol):
    """The calls; `handle.Predictor` says what they take and give."""

    @property
    def options(self) -> Any:
        """Of the backend."""

    @property
    def concurrency(self) -> int:
        """Calls of `map` that are worth having under way at once."""

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict a batch."""

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict`, to be awaited."""

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item."""

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict_one`, to be awaited."""

    def stream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Generator[Any, None, None]:
        """Predict one item piece by piece."""

    def astream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, as an asynchronous generator."""
