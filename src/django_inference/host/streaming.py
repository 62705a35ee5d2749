"""A stream on the client's side: one connection, over which it asks for chunk after chunk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django_inference.driving import arun, run
from django_inference.engine.streams import OVER
from django_inference.exceptions import ModelCrashed, PredictionFailed, PredictionTimeout
from django_inference.host.channel import Channel
from django_inference.host.protocol import NEXT, ProtocolError, Reply
from django_inference.host.routing import Routing
from django_inference.host.steps import Exchange, Steps
from django_inference.host.turns import Turns

if TYPE_CHECKING:
    from django_inference.host.client import ModelClient


class ClientStream:
    """Asks for the chunks of one item, one at a time. Whoever is done closes it.

    Until the first chunk is there, a worker that dies costs nothing: the stream is opened
    again. Later it is cut, since nobody knows how the next worker would have gone on.

    Args:
        client: that opens it.
        alias: of the predictor.
        routing: the way to the model.
        item: what the runtime's `preprocess` takes.
        priority: index of `specs.PRIORITIES`.
    """

    def __init__(
        self, client: ModelClient, alias: str, routing: Routing, item: Any, priority: int
    ) -> None:
        self._client = client
        self._alias = alias
        self._routing = routing
        self._item = item
        self._priority = priority
        self._channel: Channel | None = None
        self._turns: Turns | None = None
        self._is_over = False
        self._pid = 0

    def next(self, deadline: float) -> Any:
        """Wait for the next chunk.

        Args:
            deadline: `time.monotonic()` at which the stream is given up.

        Returns:
            The chunk, or `OVER`.

        Raises:
            InferenceError: as `django_inference.exceptions` lists them; the stream is over.
        """
        return run(self._steps(deadline))

    async def anext(self, deadline: float) -> Any:
        """As `next`, without holding the event loop.

        However many tasks stream at once, the connections to the host are bounded.
        """
        loop = self._client.of_this_loop()
        if self._turns is None:
            try:
                await loop.streams.take(self._priority, deadline)
            except TimeoutError:
                raise PredictionTimeout(
                    "no turn before the deadline: too many streams are open.", alias=self._alias
                ) from None
            self._turns = loop.streams
        return await arun(self._steps(deadline), loop.resolving)

    def opened(self, channel: Channel, reply: Reply) -> Any:
        """Take over the connection over which the first chunk came; return the chunk."""
        self._channel = channel
        self._item = None
        self._pid = os.getpid()
        return self._received(reply)

    def close(self) -> None:
        """Want no more. The worker closes the runtime's generator."""
        self._is_over = True
        channel, self._channel = self._channel, None
        if channel is not None and self._pid == os.getpid():
            channel.hang_up()
            self._routing.drop(channel)
        elif channel is not None:
            # A copy of what the parent process goes on with.
            channel.close()
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.give_back()

    def _steps(self, deadline: float) -> Steps:
        if self._is_over:
            return OVER
        channel = self._channel
        if channel is None:
            return (yield from self._client.steps(self._item, deadline, self._priority, self))
        if self._pid != os.getpid():
            raise self._cut("it belongs to the process that has opened it.")
        frame = channel.encode(None, deadline, priority=self._priority, alone=True, kind=NEXT)
        try:
            reply: Reply = yield Exchange(channel, frame, deadline)
        except TimeoutError:
            raise PredictionTimeout(
                "no further chunk before the deadline.", alias=self._alias
            ) from None
        except OSError as error:
            self._channel = None
            self._routing.drop(channel, is_lost=True)
            raise self._cut("the process that made it has ended.") from error
        except ProtocolError as error:
            raise PredictionFailed(
                f"the chunk cannot be read: {error}", alias=self._alias
            ) from error
        return self._received(reply)

    def _received(self, reply: Reply) -> Any:
        if reply.failure is None and not reply.is_over:
            return reply.payload
        # The connection is as good as new.
        self._is_over = True
        channel, self._channel = self._channel, None
        assert channel is not None
        self._routing.give_back(channel)
        if reply.failure is not None:
            raise reply.failure.error(self._alias)
        return OVER

    def _cut(self, why: str) -> ModelCrashed:
        return ModelCrashed(f"the stream was cut: {why}", alias=self._alias)
