"""The settings `INFERENCE`, `INFERENCE_HOST`, `INFERENCE_JOBS` and `INFERENCE_SERVE`, read live.

Nothing is kept between two calls, so `override_settings` works in tests.

Every `examine_…` function returns what could be understood together with all the mistakes,
which is what `manage.py check` prints; its twin without the prefix raises the first one.
"""

from __future__ import annotations

from django_inference.conf.host import examine_host, host_settings
from django_inference.conf.jobs import (
    JobsSettings,
    PredictorJobs,
    examine_jobs,
    jobs_settings,
)
from django_inference.conf.paths import (
    default_artifact_dir,
    default_python,
    default_runtime_dir,
)
from django_inference.conf.predictors import (
    PredictorSettings,
    examine_options,
    examine_predictor,
    parse_options,
    parse_predictor,
    predictor_settings,
    raw_predictors,
)
from django_inference.conf.rest import RestSettings, examine_rest_classes, rest_classes
from django_inference.conf.serve import (
    ApiKey,
    ServeSettings,
    examine_serve,
    examine_serve_hooks,
    serve_settings,
)
from django_inference.conf.validation import InvalidPredictor

__all__ = [
    "ApiKey",
    "InvalidPredictor",
    "JobsSettings",
    "PredictorJobs",
    "PredictorSettings",
    "RestSettings",
    "ServeSettings",
    "default_artifact_dir",
    "default_python",
    "default_runtime_dir",
    "examine_host",
    "examine_jobs",
    "examine_options",
    "examine_predictor",
    "examine_rest_classes",
    "examine_serve",
    "examine_serve_hooks",
    "host_settings",
    "jobs_settings",
    "parse_options",
    "parse_predictor",
    "predictor_settings",
    "raw_predictors",
    "rest_classes",
    "serve_settings",
]
