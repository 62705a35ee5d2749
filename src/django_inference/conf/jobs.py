"""The setting `INFERENCE_JOBS`, and a predictor's key `JOBS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from django.conf import settings

from django_inference.conf.validation import CheckIds, InvalidPredictor, examine, given, types_of

_PLACE = "INFERENCE_JOBS"


class JobsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`INFERENCE_JOBS`, with its defaults.

    Attributes:
        engine: dotted path of what carries jobs to whoever runs them.
        engine_options: keyword arguments of the engine.
        storage: alias in `STORAGES` of where long inputs and results are kept.
        inline_limit: bytes of inputs or of a result that are kept in the row; longer ones
            are a file.
        lease: seconds after which a run that gives no sign of life is taken for dead.
        sweep_interval: seconds between two sweeps of one process.
        requeue_after: seconds after which a job that nobody has begun is enqueued once more;
            doubled each time.
        max_attempts: runs of one job at the most, those included whose process died.
        backoff: seconds before the second run; doubled each time, up to a minute.
        retention: days that a finished job is kept by `inference_jobs prune`; None keeps it.
    """

    engine: Annotated[str, msgspec.Meta(description="the dotted path of a class (str)")] = (
        "django_inference.jobs.engines.django_tasks.DjangoTasksEngine"
    )
    engine_options: dict[str, Any] = {}
    storage: Annotated[str, msgspec.Meta(min_length=1)] = "default"
    inline_limit: Annotated[int, msgspec.Meta(ge=0)] = 64 * 1024
    lease: Annotated[float, msgspec.Meta(ge=0.5)] = 15.0
    sweep_interval: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    requeue_after: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 5
    backoff: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    retention: Annotated[float, msgspec.Meta(ge=0)] | None = 7.0


class PredictorJobs(msgspec.Struct, frozen=True, kw_only=True):
    """`JOBS` of one predictor.

    Attributes:
        queue: name of the queue that its jobs go to.
        timeout: seconds that one run of a job may take.
        max_attempts: in place of the one of `INFERENCE_JOBS`.
    """

    queue: Annotated[str, msgspec.Meta(min_length=1)] = "default"
    timeout: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    max_attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None


def jobs_settings() -> JobsSettings:
    """Read `INFERENCE_JOBS`.

    Raises:
        InvalidPredictor: the first mistake in it.
    """
    found, mistakes = examine_jobs()
    if mistakes:
        raise mistakes[0]
    return found


def examine_jobs() -> tuple[JobsSettings, list[InvalidPredictor]]:
    """Read `INFERENCE_JOBS`; wrong values are replaced by their defaults."""
    raw = getattr(settings, _PLACE, {})
    if not isinstance(raw, Mapping):
        message = f"{_PLACE}: expected a dict, given {given(raw)}."
        return JobsSettings(), [InvalidPredictor(message, check_id="django_inference.E060")]
    values, mistakes = examine(
        raw,
        {name.upper(): type for name, type in types_of(JobsSettings).items()},
        place=_PLACE,
        check_ids=CheckIds(unknown="django_inference.E061", wrong="django_inference.E062"),
    )
    return JobsSettings(**{key.lower(): value for key, value in values.items()}), mistakes


def examine_predictor_jobs(
    alias: str, raw: Mapping[str, Any]
) -> tuple[PredictorJobs, list[InvalidPredictor]]:
    """Read `JOBS` of one predictor; wrong values are replaced by their defaults."""
    values, mistakes = examine(
        raw,
        types_of(PredictorJobs),
        alias=alias,
        place=f"INFERENCE[{alias!r}]['JOBS']",
        check_ids=CheckIds(unknown="django_inference.E063", wrong="django_inference.E064"),
    )
    return PredictorJobs(**values), mistakes
