"""What a call through a queue says to the worker, and what the worker says to it.

Celery carries plain values, so these structures travel as dicts.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from django_inference.backends.parcels import Parcel, Parcels
from django_inference.exceptions import InferenceError, InvalidInput, PredictionTimeout, RemoteError
from django_inference.host.protocol import Failure
from django_inference.specs import PRIORITIES

if TYPE_CHECKING:
    from django_inference.backends.base import BaseBackend
    from django_inference.backends.front import Front


class Question(msgspec.Struct, frozen=True):
    """One call, on its way to a worker.

    Attributes:
        inputs: of the call; None asks for the signature.
        name: of its files, without their endings.
        until: seconds since the epoch at which nobody waits any more: the clocks of the
            machines have to agree.
        priority: index of `specs.PRIORITIES`.
        storage: alias in `STORAGES` of what is too long for a message.
        limit: bytes that are not.
    """

    inputs: Parcel
    name: str
    until: float
    priority: int
    storage: str
    limit: int

    @property
    def parcels(self) -> Parcels:
        """For its inputs and its answer."""
        return Parcels(self.storage, self.limit)


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker says: a result or a failure."""

    result: Parcel = Parcel()
    failure: Failure | None = None


def ask(
    payload: Any, alias: str, deadline: float, priority: int, storage: str, limit: int
) -> Question:
    """Put a call into a message.

    Args:
        payload: named tensors, one array, or a list of items; None asks for the signature.
        alias: of the predictor.
        deadline: `time.monotonic()` at which the call is given up.
        priority: index of `specs.PRIORITIES`.
        storage: alias in `STORAGES`.
        limit: bytes that a message may carry.

    Raises:
        InvalidInput: the payload holds what cannot travel.
        RemoteError: the storage does not take what is too long for a message.
    """
    name = uuid.uuid4().hex
    until = time.time() + deadline - time.monotonic()
    try:
        inputs = Parcels(storage, limit).wrap(payload, f"{name}.in")
    except (TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput(str(error), alias=alias) from error
    except Exception as error:
        said = f"the storage {storage!r} does not take the inputs: {type(error).__name__}: {error}"
        raise RemoteError(said, alias=alias) from error
    return Question(inputs, name, until, priority, storage, limit)


def read(meta: dict[str, Any], question: Question, alias: str) -> Any:
    """Take the result out of what Celery's result backend says of a task.

    Raises:
        InferenceError: what the worker has met, or the answer cannot be read.
    """
    said = meta.get("result")
    if meta["status"] == "REVOKED":
        raise PredictionTimeout("it had waited too long when a worker took it.", alias=alias)
    if meta["status"] != "SUCCESS":
        message = f"the Celery worker failed: {type(said).__name__}: {said}"
        raise RemoteError(message, alias=alias)
    try:
        answer = msgspec.convert(said, Answer)
        if answer.failure is None:
            return question.parcels.open(answer.result)
    except Exception as error:
        message = f"the Celery worker's answer cannot be read: {type(error).__name__}: {error}"
        raise RemoteError(message, alias=alias) from error
    raise answer.failure.error(alias)


def clean_up(question: Question, meta: dict[str, Any] | None = None) -> None:
    """Remove the files of a call that is over.

    Args:
        question: that was asked.
        meta: what the result backend says; None where it has said nothing in time.
    """
    question.parcels.remove(question.inputs)
    if meta is None:
        # Where the worker is not that far yet, it removes by itself what comes too late.
        question.parcels.remove_named(f"{question.name}.out")
        return
    with contextlib.suppress(msgspec.ValidationError):
        question.parcels.remove(msgspec.convert(meta.get("result"), Answer).result)


def respond(plain: Any, find: Callable[[], tuple[BaseBackend, Front]]) -> dict[str, Any]:
    """Answer a question, in the worker.

    Args:
        plain: the question.
        find: the backend that runs the model there, and what its calls go to.
    """
    try:
        question = msgspec.convert(plain, Question)
        backend, front = find()
        answer = Answer(result=_result(question, backend, front))
    except Exception as error:
        if not isinstance(error, InferenceError):
            error = RemoteError(f"the Celery worker failed: {type(error).__name__}: {error}")
        answer = Answer(failure=Failure.of(error))
    told: dict[str, Any] = msgspec.to_builtins(answer)
    return told


def _result(question: Question, backend: BaseBackend, front: Front) -> Parcel:
    parcels = question.parcels
    payload = parcels.open(question.inputs)
    left = max(0.0, question.until - time.time())
    if payload is None:
        result = msgspec.to_builtins(backend.signature(backend.deadline(left)))
    else:
        result = front.predict(payload, timeout=left, priority=PRIORITIES[question.priority])
    parcel = parcels.wrap(result, f"{question.name}.out")
    if time.time() >= question.until:
        parcels.remove(parcel)
        raise PredictionTimeout("the answer came too late.")
    return parcel
