"""What the settings say of the jobs of one predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_inference.conf import PredictorJobs, jobs_settings
from django_inference.registry import predictors

if TYPE_CHECKING:
    from django_inference.jobs.models import Job

_DEFAULT = PredictorJobs()


def predictor_jobs(alias: str) -> PredictorJobs:
    """`JOBS` of a predictor; the defaults for one that this process does not know."""
    return predictors[alias].backend.settings.jobs if alias in predictors else _DEFAULT


def max_attempts_of(alias: str) -> int:
    """How often a job of a predictor is run at the most."""
    return predictor_jobs(alias).max_attempts or jobs_settings().max_attempts


def timeout_of(job: Job) -> float:
    """Seconds that one run of a job may take."""
    return predictor_jobs(job.predictor).timeout if job.timeout is None else job.timeout
