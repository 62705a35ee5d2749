"""A call of a client, as the engine sees it."""

from __future__ import annotations

from typing import Any

from django_inference.engine.batching import Request
from django_inference.engine.sending import unsendable
from django_inference.engine.streams import OVER
from django_inference.exceptions import InferenceError
from django_inference.host.connection import Connection
from django_inference.host.protocol import Call, Failure, Reply


class HostRequest(Request):
    """A request whose answer goes back over a connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, call: Call) -> None:
        super().__init__(
            *(call.payload, call.deadline, call.sent_at, call.alone, call.priority, call.chain)
        )
        self._connection = connection

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has hung up: it gave up, or is gone."""
        return self._connection.is_closed

    def begins(self, batch: int) -> None:
        """Leave a mark for the client, should the run kill this process."""
        self._connection.begins(batch)

    def answer(self, outcome: Any) -> None:
        """Send the answer."""
        if isinstance(outcome, InferenceError):
            self._connection.end_stream()
            reply = Reply(Failure.of(outcome), None)
        elif outcome is OVER:
            self._connection.end_stream()
            reply = Reply(None, None, is_over=True)
        else:
            reply = Reply(None, outcome)
        try:
            self._connection.reply(reply)
        except Exception as error:
            # Whatever the model has returned: an array of another library may raise anything.
            self._connection.end_stream()
            self._connection.reply(Reply(Failure.of(unsendable(error)), None))
