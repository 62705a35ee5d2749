"""The application: who calls, which protocol, and what is answered when it fails."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from django_inference.asgi.messages import Answer, Gone, Message, Receive, Request, Send
from django_inference.asgi.open_inference import OpenInference
from django_inference.asgi.refusals import refusal
from django_inference.asgi.tensorflow_serving import TensorFlowServing
from django_inference.conf import serve_settings
from django_inference.registry import predictors
from django_inference.serving.access import Caller, gate
from django_inference.serving.lookup import NotServed

logger = logging.getLogger("django_inference.asgi")


class Application:
    """An ASGI application, to be made after `django.setup()`.

    The models are asked for when its server starts it. When that stops it, the requests that
    are under way are answered first, for as long as `INFERENCE_SERVE["GRACE"]` says.

    Raises:
        InvalidPredictor: `INFERENCE_SERVE` is wrong.
    """

    def __init__(self) -> None:
        settings = serve_settings()
        self._grace = settings.grace
        self._gate = gate()
        self._running = 0
        self._protocols: dict[str, OpenInference | TensorFlowServing] = {
            "/v1": TensorFlowServing(self._gate, settings.max_message_bytes),
            "/v2": OpenInference(self._gate, settings.max_message_bytes),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            self._running += 1
            try:
                await self._serve(scope, receive, send)
            finally:
                self._running -= 1
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def drain(self) -> None:
        """Wait until no request is under way, or for the grace at the most."""
        for _ in range(int(self._grace * 20)):
            if not self._running:
                return
            await asyncio.sleep(0.05)
        if self._running:
            logger.warning("cut off after the grace requests=%s", self._running)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                predictors.preload_in_background()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.drain()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Gone:
            return
        except Exception as error:
            answer = refusal(error, request.path)
        await answer.send(send, with_body=scope["method"] != "HEAD")

    async def _answer(self, request: Request) -> Answer:
        protocol = self._protocols.get(request.path[:3].lower())
        if protocol is None:
            raise NotServed(f"there is nothing at {request.path[:200]!r}.")
        caller = Caller(metadata=request.headers, peer=request.peer)
        return await protocol.answer(request, partial(self._gate.admit, caller))
