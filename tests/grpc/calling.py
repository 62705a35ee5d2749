"""A server in the test's own event loop, and a client of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np

from django_inference.conf import serve_settings
from django_inference.grpc.server import Server
from django_inference.serving.access import Gate
from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_proto import request_to_proto
from django_inference.wire.protos import open_inference_pb2 as pb
from django_inference.wire.protos.pool import methods

SERVICE = "inference.GRPCInferenceService"
METHODS = methods(SERVICE)
PATIENCE = 30.0


class Client:
    """Calls the methods of the protocol's service by name."""

    def __init__(self, channel: grpc.aio.Channel, server: Server) -> None:
        self.channel = channel
        self.server = server

    async def call(self, name: str, request: Any = None, **options: Any) -> Any:
        """One call; `request` may be bytes."""
        method = METHODS[name]
        ask = self.channel.unary_unary(
            method.path,
            request_serializer=_serialized,
            response_deserializer=method.response.FromString,
        )
        asked = method.request() if request is None else request
        return await ask(asked, **{"timeout": PATIENCE, **options})

    def stream(self, *requests: Any, **options: Any) -> Any:
        """The answers to a stream of requests; without any, it is left open for them."""
        method = METHODS["ModelStreamInfer"]
        ask = self.channel.stream_stream(
            method.path,
            request_serializer=_serialized,
            response_deserializer=method.response.FromString,
        )
        return ask(iter(requests) if requests else None, **{"timeout": PATIENCE, **options})

    async def refused(self, name: str, request: Any = None, **options: Any) -> grpc.aio.AioRpcError:
        """The error that a call ends with."""
        try:
            answered = await self.call(name, request, **options)
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"was answered: {answered}")


@contextlib.asynccontextmanager
async def serving(
    credentials: grpc.ChannelCredentials | None = None,
    options: tuple[tuple[str, Any], ...] = (),
    **replaced: Any,
) -> AsyncIterator[Client]:
    """Serve, and hand out a client.

    Args:
        credentials: of the client.
        options: of the client's channel.
        replaced: keys of `INFERENCE_SERVE`.
    """
    settings = serve_settings(**{"GRPC": "127.0.0.1:0", "GRACE": 5.0, **replaced})
    server = Server(settings, Gate(settings))
    await server.start()
    address = f"localhost:{server.port}"
    try:
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=options)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=options)
        async with channel:
            yield Client(channel, server)
    finally:
        await server.stop()


def request(model: str, rows: Any = ((1.0, 2.0, 3.0, 4.0),), **said: Any) -> pb.ModelInferRequest:
    """A request with one tensor `x`."""
    inputs = {"x": np.asarray(rows, np.float32)}
    return request_to_proto(InferRequest(model=model, inputs=inputs, **said))


def _serialized(message: Any) -> bytes:
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data
