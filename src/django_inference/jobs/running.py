"""Running one job, in the process of a queue's worker."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from typing import Any

from django_inference.backends.degraded import degraded
from django_inference.conf import InvalidPredictor, jobs_settings
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.handle import Predictor
from django_inference.jobs import transitions
from django_inference.jobs.announcing import announce
from django_inference.jobs.leases import Lease
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import enqueue, sweep_sometimes
from django_inference.jobs.patience import patiently
from django_inference.jobs.payloads import INPUTS, RESULT, Payload, keep, load
from django_inference.jobs.settings import max_attempts_of, timeout_of
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
        said = f"the process that ran it has died, at the run {job.attempts - 1}."
        _failed(job, InferenceError(said))
        return
    try:
        result, version = _predict(job, lease)
        payload = keep(result, job.pk)
    except _FINAL as error:
        _failed(job, error)
    except _PASSING as error:
        _retry(job, error)
    except Exception as error:
        _failed(job, error)
    except BaseException as error:
        # The worker is told to leave: somebody else may run the job at once.
        _put_back(job, error, 0.0)
        raise
    else:
        _succeeded(job, payload, version)


def _predict(job: Job, lease: Lease) -> tuple[Any, str]:
    """The result, and the version that has made it."""
    predictor = predictors[job.predictor]
    inputs = load(job, INPUTS)
    seconds = timeout_of(job)
    priority = PRIORITIES[job.priority]
    with degraded() as by_others:
        if job.one:
            result = predictor.predict_one(inputs, timeout=seconds, priority=priority)
        elif isinstance(inputs, list) and len(inputs) > predictor.backend.options.max_batch_size:
            result = _predict_many(job, lease, inputs, seconds)
        else:
            result = predictor.predict(inputs, timeout=seconds, priority=priority)
    return result, "" if by_others else _version(predictor)


def _predict_many(job: Job, lease: Lease, items: list[Any], seconds: float) -> list[Any]:
    """Over batches and replicas, and no longer than somebody wants the result."""
    until = time.monotonic() + seconds
    results: list[Any] = []
    priority = PRIORITIES[job.priority]
    for result in predictors[job.predictor].map(items, timeout=seconds, priority=priority):
        results.append(result)
        lease.progress(len(results))
        if lease.lost or time.monotonic() > until:
            raise PredictionTimeout(
                f"{len(results)} of {len(items)} items are done after {seconds:g} s.",
                alias=job.predictor,
            )
    return results


def _version(predictor: Predictor) -> str:
    """The version that answers now; empty where that is not sure."""
    try:
        serving = predictor.backend.serving(time.monotonic() + 1.0)
    except InferenceError:
        return ""
    return serving.version if serving is not None else ""


def _succeeded(job: Job, payload: Payload, version: str) -> None:
    if patiently(lambda: transitions.succeed(job, payload.columns(RESULT), version)):
        announce(job)
    else:
        payload.remove()


def _retry(job: Job, error: Exception) -> None:
    if job.attempts >= max_attempts_of(job.predictor):
        _failed(job, error)
        return
    pause = jobs_settings().backoff * 2 ** (job.attempts - 1)
    wanted = getattr(error, "retry_after", None) or 0.0
    _put_back(job, error, min(max(pause, wanted), LONGEST_BACKOFF))


def _put_back(job: Job, error: BaseException, delay: float) -> None:
    columns = _columns(error)
    if patiently(lambda: transitions.put_back(job, delay, columns)):
        logger.info("job waits job=%s attempts=%s: %s", job.pk, job.attempts, job.error)
        enqueue(job, delay=delay)


def _failed(job: Job, error: Exception) -> None:
    columns = _columns(error)
    if patiently(lambda: transitions.fail(job, columns)):
        logger.warning("job failed job=%s predictor=%s: %s", job.pk, job.predictor, job.error)
        announce(job)


def _columns(error: BaseException) -> dict[str, Any]:
    if isinstance(error, InferenceError):
        kind, message, details = error.kind, error.message, error.details
    else:
        kind, message, details = type(error).__name__, str(error), ""
    said = details or "".join(traceback.format_exception(error))
    return transitions.error_columns(kind, message, said)
