"""Writing down a job."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError, router, transaction

from django_inference.backends.base import LONGEST_TIMEOUT
from django_inference.exceptions import InvalidInput
from django_inference.frames import as_item, as_payload
from django_inference.handle import Predictor
from django_inference.jobs import transitions
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import enqueue_on_commit
from django_inference.jobs.payloads import INPUTS, Payload, keep
from django_inference.specs import PRIORITIES, Priority

#: Characters that the column holds.
LONGEST_KEY = 255


def submit(
    predictor: Predictor,
    inputs: Any,
    *,
    owner: Any = None,
    priority: Priority = "normal",
    timeout: float | None = None,
    idempotency_key: str = "",
    one: bool = False,
    submitter: str = "",
    target: Any = None,
) -> Job:
    """Write down a job, to be enqueued by the commit of the current transaction.

    Args:
        predictor: that shall answer.
        inputs: as for `predict`; one item, as for `predict_one`, with `one`.
        owner: the user who asks, or None. One who is not logged in is None.
        priority: `high`, `normal` or `low`.
        timeout: seconds for one run; `JOBS["timeout"]` when left out.
        idempotency_key: a second submission with the same one, by the same owner or submitter
            to the same predictor, returns the first one's job.
        one: the inputs are one item.
        submitter: an opaque name of who asks without being a user.
        target: what a receiver of `job_finished` wants to find in `Job.target`; plain values.

    Raises:
        InvalidInput: the inputs cannot be kept, the priority is none, or the key was used
            with other inputs.
    """
    if priority not in PRIORITIES:
        raise InvalidInput(
            f"priority is one of {', '.join(PRIORITIES)}, not {priority!r}.",
            alias=predictor.alias,
        )
    try:
        inputs = as_item(inputs) if one else as_payload(inputs)
    except InvalidInput as error:
        error.alias = predictor.alias
        raise
    job = Job(
        predictor=predictor.alias,
        owner_id=getattr(owner, "pk", None),
        priority=PRIORITIES.index(priority),
        timeout=None if timeout is None else min(timeout, LONGEST_TIMEOUT),
        one=one,
        progress_total=len(inputs) if isinstance(inputs, list) and not one else 1,
        submitter=submitter,
        target=target,
    )
    if idempotency_key:
        if len(idempotency_key) > LONGEST_KEY or "\0" in idempotency_key:
            raise InvalidInput(
                f"an idempotency key has {LONGEST_KEY} characters at the most, and no NUL.",
                alias=predictor.alias,
            )
        job.idempotency_key = idempotency_key
        job.idempotency_digest = _digest(job)
        job.inputs_digest = _digest_of_inputs(inputs)
        if (earlier := _earlier(job)) is not None:
            return earlier
    payload = _keep(inputs, job)
    for column, value in payload.columns(INPUTS).items():
        setattr(job, column, value)
    try:
        with transaction.atomic(using=router.db_for_write(Job)):
            job.save(force_insert=True)
    except (OperationalError, InterfaceError):
        # Whether it was committed is not known: the file is left to the row, or to `prune`.
        raise
    except BaseException as error:
        payload.remove()
        # Somebody was quicker with the same key.
        if isinstance(error, IntegrityError) and idempotency_key and (earlier := _earlier(job)):
            return earlier
        raise
    enqueue_on_commit(job)
    return job


def resubmit(job: Job) -> bool:
    """As `Job.retry`."""
    if not transitions.retry(job):
        return False
    enqueue_on_commit(job)
    return True


def _keep(inputs: Any, job: Job) -> Payload:
    try:
        return keep(inputs, job.pk)
    except (TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"the inputs cannot be kept: {error}.", alias=job.predictor) from error


def _digest(job: Job) -> str:
    said = json.dumps([str(job.owner_id), job.submitter, job.predictor, job.idempotency_key])
    return hashlib.sha256(said.encode()).hexdigest()


def _digest_of_inputs(inputs: Any) -> str:
    # Not at the top: it needs numpy.
    from django_inference.packing import digest_of

    return digest_of(inputs)


def _earlier(job: Job) -> Job | None:
    """The job that has this key already.

    Raises:
        InvalidInput: its inputs are others.
    """
    found = Job.objects.filter(idempotency_digest=job.idempotency_digest).first()
    if found is not None and found.inputs_digest != job.inputs_digest:
        raise InvalidInput(
            f"the idempotency key {job.idempotency_key!r} was used with other inputs.",
            alias=job.predictor,
        )
    return found
