"""Errors as gRPC says them: a code, a message, and when to try again."""

from __future__ import annotations

import logging
from typing import NamedTuple, TypeAlias

import grpc
from django.conf import settings

from django_inference.exceptions import InferenceError
from django_inference.serving.access import Refused
from django_inference.wire.protos.google_rpc_pb2 import RetryInfo, Status

logger = logging.getLogger("django_inference.grpc")

#: By the HTTP status that says the same.
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
#: Characters of a message: it goes into the trailing metadata, which clients limit to 8 KiB.
LONGEST = 2000
DETAILS = "grpc-status-details-bin"


Trailers: TypeAlias = tuple[tuple[str, str | bytes], ...]


class Failure(NamedTuple):
    """What a client is told.

    Attributes:
        code: of gRPC.
        message: for people.
        trailers: metadata that goes with it.
    """

    code: grpc.StatusCode
    message: str
    trailers: Trailers = ()


def failure(error: Exception, method: str) -> Failure:
    """What a client is told of an error. Errors that are the server's are logged.

    Args:
        error: that ended the call.
        method: that was called, for the log.
    """
    if isinstance(error, Refused):
        return Failure(CODES[error.status_code], error.public)
    if not isinstance(error, InferenceError):
        logger.exception("grpc call failed method=%s", method, exc_info=error)
        return Failure(grpc.StatusCode.INTERNAL, "The server failed on this call.")
    code = CODES.get(error.status_code, grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        logger.error("grpc call failed method=%s: %s", method, error)
    message = error.for_client(debug=settings.DEBUG)[:LONGEST]
    seconds = error.retry_after_seconds
    return Failure(code, message, () if seconds is None else _retry(code, message, seconds))


def _retry(code: grpc.StatusCode, message: str, seconds: int) -> Trailers:
    number: int = code.value[0]
    status = Status(code=number, message=message)
    hint = RetryInfo()
    hint.retry_delay.seconds = seconds
    status.details.add().Pack(hint)
    return (
        ("retry-after", str(seconds)),
        # What gRPC's own retries go by, where a client has them switched on.
        ("grpc-retry-pushback-ms", str(seconds * 1000)),
        (DETAILS, status.SerializeToString()),
    )
