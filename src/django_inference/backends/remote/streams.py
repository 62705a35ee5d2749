"""A stream from a server on another machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django_inference.backends.remote.failures import Failure
from django_inference.backends.remote.reading import Reading
from django_inference.engine.streams import OVER
from django_inference.exceptions import InferenceError, ModelCrashed, PredictionTimeout, RemoteError

if TYPE_CHECKING:
    from django_inference.backends.remote.client import RemoteClient


class RemoteStream:
    """Asks one server for the chunks of one item, one at a time. Whoever is done closes it.

    Until the first chunk is there, a server that is lost costs nothing: another one is asked.
    Later the stream is cut, since nobody knows how the next server would have gone on.

    Args:
        client: that opens it.
        alias: of the predictor.
        item: as for `predict_one`.
        priority: index of `specs.PRIORITIES`.
    """

    def __init__(self, client: RemoteClient, alias: str, item: Any, priority: int) -> None:
        self._client = client
        self._alias = alias
        self._item = item
        self._priority = priority
        self._reading: Reading | None = None
        self._is_over = False
        self._pid = os.getpid()

    def next(self, deadline: float) -> Any:
        """Wait for the next chunk; `OVER` when there is none."""
        if self._is_over:
            return OVER
        if self._reading is None:
            return self._begun(self._client.open(self._item, deadline, self._priority))
        self._check_process()
        try:
            return self._taken(self._reading.next(deadline))
        except Exception as error:
            raise self._cut(error) from error

    async def anext(self, deadline: float) -> Any:
        """As `next`, without holding the event loop."""
        if self._is_over:
            return OVER
        if self._reading is None:
            return self._begun(await self._client.aopen(self._item, deadline, self._priority))
        self._check_process()
        try:
            return self._taken(await self._reading.anext(deadline))
        except Exception as error:
            raise self._cut(error) from error

    def close(self) -> None:
        """Want no more: the server ends the generation."""
        self._is_over = True
        reading, self._reading = self._reading, None
        if reading is not None and self._pid == os.getpid():
            reading.close()

    def _begun(self, opened: tuple[Reading, Any]) -> Any:
        self._reading, first = opened
        self._pid = os.getpid()
        self._item = None
        return self._taken(first)

    def _taken(self, chunk: Any) -> Any:
        if chunk is OVER:
            self.close()
            return OVER
        return self._client.chunk(chunk)

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ModelCrashed(
                "the stream was cut: it belongs to the process that has opened it.",
                alias=self._alias,
            )

    def _cut(self, error: Exception) -> InferenceError:
        self.close()
        if isinstance(error, TimeoutError):
            return PredictionTimeout("no further chunk before the deadline.", alias=self._alias)
        said = error.error.message if isinstance(error, Failure) else str(error)
        return RemoteError(f"the stream was cut: {said}", alias=self._alias)
