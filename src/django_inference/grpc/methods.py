"""The methods of a servicer as gRPC calls them.

A servicer is an object with coroutine methods, named as the methods of its service. Each is
given a message and a `Call`, and returns a message; a streaming one is given an asynchronous
iterator of messages and yields messages. What they raise becomes a code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from django_inference.exceptions import InvalidInput
from django_inference.grpc.admission import USER
from django_inference.grpc.codes import failure
from django_inference.serving.access import Action, Gate, Refused
from django_inference.wire.protos.pool import Method, methods


class Call:
    """One call, for the servicer that answers it.

    Attributes:
        user: whose call it is.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], gate: Gate) -> None:
        self.user: Any = USER.get()
        self._context = context
        self._gate = gate

    def time_left(self) -> float | None:
        """Seconds until the client gives up; None where it has not said."""
        left: float | None = self._context.time_remaining()
        return left

    async def check(self, alias: str, action: Action) -> None:
        """Ask whether the caller may do something; to be called before any model is touched.

        Raises:
            Refused: no.
        """
        await self._gate.check(self.user, alias, action)

    async def may(self, alias: str, action: Action) -> bool:
        """As `check`, without raising."""
        try:
            await self.check(alias, action)
        except Refused:
            return False
        return True


def handlers(service: str, servicer: object, gate: Gate) -> grpc.GenericRpcHandler:
    """What a server is given of a servicer; a method that it has not is UNIMPLEMENTED.

    Args:
        service: the full name, as in `inference.GRPCInferenceService`.
        servicer: that answers its calls.
        gate: says who may do what.

    Raises:
        KeyError: there is no such service.
    """
    found = {
        name: _handler(method, getattr(servicer, name), gate)
        for name, method in methods(service).items()
        if hasattr(servicer, name)
    }
    return grpc.method_handlers_generic_handler(service, found)


def _handler(
    method: Method, behaviour: Callable[..., Any], gate: Gate
) -> grpc.RpcMethodHandler[Any, Any]:
    # Without a deserializer, bytes come in: whoever is not let in has nothing parsed.
    if method.client_streams and method.server_streams:
        return grpc.stream_stream_rpc_method_handler(
            _streaming(method, behaviour, gate), None, _serialize
        )
    assert not method.client_streams and not method.server_streams, method.path
    return grpc.unary_unary_rpc_method_handler(_single(method, behaviour, gate), None, _serialize)


def _single(method: Method, behaviour: Callable[..., Any], gate: Gate) -> Callable[..., Any]:
    async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            response: Message = await behaviour(_parse(method, request), Call(context, gate))
        except Exception as error:
            await _abort(error, method, context)
            raise
        return response

    return answer


def _streaming(method: Method, behaviour: Callable[..., Any], gate: Gate) -> Callable[..., Any]:
    async def answers(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Message]:
        parsed = (_parse(method, request) async for request in requests)
        try:
            async for response in behaviour(parsed, Call(context, gate)):
                yield response
        except Exception as error:
            await _abort(error, method, context)

    return answers


async def _abort(
    error: Exception, method: Method, context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    said = failure(error, method.path)
    await context.abort(said.code, said.message, said.trailers)


def _parse(method: Method, data: bytes) -> Message:
    try:
        return method.request.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"the message is no {method.request.DESCRIPTOR.name}.") from error


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
