"""TensorFlow Serving's paths at the root."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_inference.asgi.messages import Answer, Request, as_json
from django_inference.asgi.refusals import WrongMethod
from django_inference.serving.access import Gate
from django_inference.serving.tensorflow_rest import arespond, malformed, target_of


class TensorFlowServing:
    """Answers requests below `/v1`.

    Args:
        gate: says who may call.
        limit: bytes that a body may have.
    """

    def __init__(self, gate: Gate, limit: int) -> None:
        self._limit = limit
        self._gate = gate

    async def answer(self, request: Request, admit: Callable[[], Any]) -> Answer:
        """Answer a request.

        Args:
            request: whose path begins with `/v1`.
            admit: returns the user, or raises `Refused`.

        Raises:
            Refused: the user may not.
            InferenceError: there is no such path or model, or the call fails.
        """
        target = target_of(request.path)
        if target is None:
            raise malformed(request.method, request.path)
        user = await admit()
        is_call = target.method == "POST"
        await self._gate.check(user, target.choice.model, "infer" if is_call else "read")
        if request.method != target.method:
            raise WrongMethod(request.method, target.method)
        body = await request.body(self._limit) if is_call else b""
        return as_json(await arespond(target, body))
