"""Whose call it is, before anything of it is read.

An interceptor, so that it holds for every service of the server, whoever has written it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

import grpc

from django_inference.grpc.codes import failure
from django_inference.serving.access import Caller, Gate
from django_inference.serving.users import Anonymous

_NOBODY = Anonymous()
#: Whose call it is, for the task that answers it.
USER: ContextVar[Any] = ContextVar("user", default=_NOBODY)

#: Whoever watches over a server has no credentials, and learns no more than that it is well.
OPEN = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Admission(grpc.aio.ServerInterceptor):
    """Asks the gate about each call that is not for everybody.

    Args:
        gate: that lets calls in.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Put the question before what answers the call."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or method in OPEN:
            return handler
        asked, answered = handler.request_streaming, handler.response_streaming
        arity = f"{'stream' if asked else 'unary'}_{'stream' if answered else 'unary'}"
        guarded = _before_stream if answered else _before
        make: Callable[..., Handler] = getattr(grpc, f"{arity}_rpc_method_handler")
        return make(
            guarded(getattr(handler, arity), self._admit, method),
            handler.request_deserializer,
            handler.response_serializer,
        )

    async def _admit(self, context: Context) -> Any:
        return await self._gate.admit(caller_of(context))


def caller_of(context: Context) -> Caller:
    """What a call says of whoever makes it."""
    metadata = {
        key: value if isinstance(value, str) else value.decode("latin-1")
        for key, value in context.invocation_metadata() or ()
    }
    of_certificate = context.auth_context()
    names = (
        *of_certificate.get("x509_common_name", ()),
        *of_certificate.get("x509_subject_alternative_name", ()),
    )
    return Caller(
        metadata=metadata,
        peer=context.peer(),
        names=tuple(name.decode("utf-8", "replace") for name in dict.fromkeys(names)),
    )


def _before(
    behaviour: Callable[..., Any], admit: Callable[..., Any], method: str
) -> Callable[..., Any]:
    async def answer(request: Any, context: Context) -> Any:
        await _ask(admit, method, context)
        return await behaviour(request, context)

    return answer


def _before_stream(
    behaviour: Callable[..., Any], admit: Callable[..., Any], method: str
) -> Callable[..., Any]:
    async def answers(requests: Any, context: Context) -> AsyncIterator[Any]:
        await _ask(admit, method, context)
        async for response in behaviour(requests, context):
            yield response

    return answers


async def _ask(admit: Callable[..., Any], method: str, context: Context) -> None:
    try:
        USER.set(await admit(context))
    except Exception as error:
        said = failure(error, method)
        await context.abort(said.code, said.message, said.trailers)
