"""What a call waits for, to be taken in a thread or in a task; see `driving`."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Any, NamedTuple

from django_inference.backends.base import BaseBackend, Serving
from django_inference.handle import Predictor
from django_inference.specs import Priority
from django_inference.tensors import Signature

#: Bytes that take long enough to read or write for an event loop to let a thread do it.
LONG = 1 << 18

#: By backend, with the version that it is of.
_known: weakref.WeakKeyDictionary[BaseBackend, tuple[str, Signature | None]] = (
    weakref.WeakKeyDictionary()
)


class WhoServes(NamedTuple):
    """Which version answers now; waits for the load where the backend does."""

    predictor: Predictor
    deadline: float

    def run(self) -> Serving | None:
        """Ask."""
        return self.predictor.backend.serving(self.deadline)

    async def arun(self) -> Serving | None:
        """Ask, without holding the event loop."""
        return await self.predictor.backend.aserving(self.deadline)


class SignatureOf(NamedTuple):
    """What the model takes and gives; waits for the load.

    A task that has asked for a version's signature remembers it: the question needs a thread,
    which takes longer than many a prediction.
    """

    backend: BaseBackend
    version: str
    deadline: float

    def run(self) -> Signature | None:
        """Ask."""
        return self.backend.signature(self.deadline)

    async def arun(self) -> Signature | None:
        """Ask, in a thread of its own where it is not known."""
        known = _known.get(self.backend)
        if known is None or not self.version or known[0] != self.version:
            known = (self.version, await asyncio.to_thread(self.run))
            _known[self.backend] = known
        return known[1]


class Predict(NamedTuple):
    """The prediction itself."""

    predictor: Predictor
    payload: Any
    deadline: float
    priority: Priority = "normal"

    def run(self) -> Any:
        """Predict."""
        return self.predictor.predict(self.payload, timeout=self._left(), priority=self.priority)

    async def arun(self) -> Any:
        """Predict, without holding the event loop."""
        return await self.predictor.apredict(
            self.payload, timeout=self._left(), priority=self.priority
        )

    def _left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())
