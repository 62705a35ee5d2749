"""Running one job, in the process of a queue's worker."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from typing import Any

from django_inference.conf import InvalidPredictor, jobs_settings
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.jobs import transitions
from django_inference.jobs.announcing import announce
from django_inference.jobs.leases import Lease
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import enqueue, sweep_sometimes
from django_inference.jobs.patience import patiently
from django_inference.jobs.payloads import INPUTS, RESULT, keep, load
from django_inference.jobs.settings import max_attempts_of, predictor_jobs
from django_inference.registry import predictors
from django_inference.specs import PRIORITIES

logger = logging.getLogger("django_inference.jobs")

#: Seconds between two runs at the most.
LONGEST_BACKOFF = 60.0

#: What another run would not change.
_FINAL = (InvalidInput, PredictionFailed)
#: What another run may change: the model, this process's settings, or a storage.
_PASSING = (InferenceError, InvalidPredictor, OSError)


def run_job(job_id: uuid.UUID | str, *, engine_id: str = "") -> None:
    """Run a job, unless somebody runs it already or it has ended, and record its result.

    What the model raises is recorded too, and is not raised here: the queue's part is done.

    Args:
        job_id: of the row.
        engine_id: the queue's own id of the task that calls this.
    """
    job = patiently(lambda: transitions.claim(job_id, engine_id))
    if job is not None:
        with Lease(job) as lease:
            _attempt(job, lease)
    sweep_sometimes()


def _attempt(job: Job, lease: Lease) -> None:
    if job.attempts > max_attempts_of(job.predictor):
        died = "the process that ran it died each time"
        _failed(job, InferenceError(f"{died}, the last of {job.attempts - 1}"))
        return
    try:
        result = _predict(job, lease)
        version = _version(job)
        payload = keep(result)
    except BaseException as error:
        if not isinstance(error, Exception):
            # The worker is told to leave: somebody else may run the job at once.
            _put_back(job, error, 0.0)
            raise
        if lease.lost:
            return
        if isinstance(error, _PASSING) and not isinstance(error, _FINAL):
            _retry(job, error)
        else:
            _failed(job, error)
        return
    if patiently(lambda: transitions.succeed(job, payload.columns(RESULT), version)):
        announce(job)
    else:
        payload.remove()


def _predict(job: Job, lease: Lease) -> Any:
    predictor = predictors[job.predictor]
    inputs = load(job, INPUTS)
    seconds = predictor_jobs(job.predictor).timeout if job.timeout is None else job.timeout
    until = time.monotonic() + seconds
    priority = PRIORITIES[job.priority]
    if job.one:
        return predictor.predict_one(inputs, timeout=seconds, priority=priority)
    size = predictor.backend.options.max_batch_size
    if not isinstance(inputs, list) or len(inputs) <= size:
        return predictor.predict(inputs, timeout=seconds, priority=priority)
    results: list[Any] = []
    for start in range(0, len(inputs), size):
        left = until - time.monotonic()
        if left <= 0 or lease.lost:
            raise PredictionTimeout(
                f"{len(results)} of {len(inputs)} items are done after {seconds:g} s.",
                alias=job.predictor,
            )
        chunk = inputs[start : start + size]
        results += predictor.predict(chunk, timeout=left, priority=priority)
        lease.progress(len(results))
    return results


def _version(job: Job) -> str:
    """The version that answers now, where that is sure."""
    serving = predictors[job.predictor].backend.serving(time.monotonic() + 1.0)
    return serving.version if serving is not None else ""


def _retry(job: Job, error: Exception) -> None:
    if job.attempts >= max_attempts_of(job.predictor):
        _failed(job, error)
        return
    pause = jobs_settings().backoff * 2 ** (job.attempts - 1)
    wanted = getattr(error, "retry_after", None) or 0.0
    _put_back(job, error, min(max(pause, wanted), LONGEST_BACKOFF))


def _put_back(job: Job, error: BaseException, delay: float) -> None:
    columns = _columns(error)
    if patiently(lambda: transitions.put_back(job, delay, **columns)):
        logger.info("job waits job=%s attempts=%s: %s", job.pk, job.attempts, columns["error"])
        enqueue(job, delay=delay)


def _failed(job: Job, error: Exception) -> None:
    columns = _columns(error)
    said = columns["error_type"], columns["error"], columns["error_details"]
    if patiently(lambda: transitions.fail(job, *said)):
        logger.warning("job failed job=%s predictor=%s: %s", job.pk, job.predictor, said[1])
        announce(job)


def _columns(error: BaseException) -> dict[str, Any]:
    details = getattr(error, "details", "") or "".join(traceback.format_exception(error))
    kind = error.kind if isinstance(error, InferenceError) else type(error).__name__
    message = error.message if isinstance(error, InferenceError) else str(error)
    return transitions.error_columns(kind, message, details)
