"""What an attempt that failed means for the call and for the server."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelNotReady,
    Overloaded,
    PredictionTimeout,
    RemoteError,
)

#: Characters of a server's own words that are kept.
MOST_WORDS = 2_000

#: How servers of the protocols say with status 400 what is no fault of the input's.
_NOT_READY = re.compile(r"(?i)no available versions|model.{0,200}not (yet )?ready")
_UNKNOWN = re.compile(r"(?i)^request for unknown model|model .{0,200}not found")


class Failure(Exception):
    """One attempt to have one server answer has failed.

    Attributes:
        error: for the caller, where nobody else can be asked. It has no alias yet.
        elsewhere: another server may do better.
        again: so may the same one, a moment later.
        is_lost: there was no answer at all, which counts against the server.
    """

    def __init__(
        self,
        error: InferenceError,
        *,
        elsewhere: bool = False,
        again: bool = False,
        is_lost: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.elsewhere = elsewhere
        self.again = again
        self.is_lost = is_lost


def lost(url: str, reason: str) -> Failure:
    """There is no connection, or it broke before the answer was complete."""
    error = RemoteError(f"{url} does not answer: {reason or 'no connection'}.", retry_after=1.0)
    return Failure(error, elsewhere=True, again=True, is_lost=True)


def late(url: str, *, is_call_over: bool) -> Failure:
    """There was no answer in time: of the call, or of the attempt."""
    error = PredictionTimeout(f"{url} gave no answer in time.")
    goes_on = not is_call_over
    return Failure(error, elsewhere=goes_on, again=goes_on, is_lost=goes_on)


def not_ready(url: str, said: str, retry_after: float | None = None) -> Failure:
    """The server answers, and the model does not."""
    error = ModelNotReady(f"{url} is not ready: {said}", retry_after=retry_after or 1.0)
    return Failure(error, elsewhere=True, again=True)


def overloaded(url: str, said: str, retry_after: float | None = None) -> Failure:
    """The server has too much to do."""
    error = Overloaded(f"{url} is overloaded: {said}", retry_after=retry_after or 1.0)
    return Failure(error, elsewhere=True)


def unknown_model(url: str, model: str, said: str) -> Failure:
    """The server has no such model; another one may have."""
    return Failure(RemoteError(f"{url} has no model {model!r}: {said}"), elsewhere=True)


def refused(url: str, said: str) -> Failure:
    """The server wants other credentials."""
    return Failure(RemoteError(f"{url} refuses the credentials: {said}"))


def broken(url: str, said: str) -> Failure:
    """The server failed, or sent what cannot be read. It would do so again."""
    return Failure(RemoteError(f"{url} answered with an error: {said}"))


def invalid(said: str) -> Failure:
    """The input is wrong. The address is left out: clients of the site are told this."""
    return Failure(InvalidInput(f"the model's server does not take the input: {said}"))


def unreadable(url: str, error: Exception) -> Failure:
    """The answer is not of the protocol."""
    return Failure(RemoteError(f"{url} sent an answer that cannot be read: {cut(str(error))}"))


def of_status(
    status: int, body: bytes, headers: Mapping[str, str], *, url: str, model: str
) -> Failure:
    """What an HTTP answer that is none of 200 means.

    Args:
        status: of HTTP.
        body: an error of either protocol, or anything else.
        headers: by lower-case names.
        url: of the server.
        model: that was asked for.
    """
    said = words_of(body) or f"HTTP status {status}"
    retry_after = seconds(headers.get("retry-after"))
    if status in (400, 413, 422):
        return of_words(said, url=url, model=model) or invalid(said)
    if status == 404:
        return of_words(said, url=url, model=model) or unknown_model(url, model, said)
    if status == 429:
        return overloaded(url, said, retry_after)
    if status in (401, 403):
        return refused(url, said)
    if status == 503:
        return not_ready(url, said, retry_after)
    if status == 504:
        return Failure(PredictionTimeout(f"{url} gave up: {said}"))
    if status == 502:
        # Of a proxy before a server that is gone.
        return lost(url, said)
    return broken(url, said)


def of_words(said: str, *, url: str, model: str) -> Failure | None:
    """Triton and MLServer call some things bad requests that are not the input's fault."""
    if _NOT_READY.search(said):
        return not_ready(url, said)
    if _UNKNOWN.search(said):
        return unknown_model(url, model, said)
    return None


def words_of(body: bytes) -> str:
    """What a server says of an error: `{"error": …}`, FastAPI's `detail`, or plain text."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        ends = body if len(body) < 8 * MOST_WORDS else body[:MOST_WORDS] + body[-MOST_WORDS:]
        return cut(ends.decode("utf-8", "replace"))
    if isinstance(document, dict):
        for key in ("error", "error_message", "detail", "message"):
            if document.get(key):
                return cut(str(document[key]))
    return cut(str(document))


def seconds(header: str | None) -> float | None:
    """`Retry-After` as a number; a date is not looked at."""
    try:
        found = float(header or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found > 0 else None


def cut(said: str) -> str:
    """One line; of a long one, such as a traceback, the beginning and the end."""
    line = " ".join(said.split())
    half = MOST_WORDS // 2
    return line if len(line) <= MOST_WORDS else f"{line[:half]} … {line[-half:]}"
