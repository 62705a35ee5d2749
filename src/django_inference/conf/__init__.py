"""The settings `INFERENCE` and `INFERENCE_HOST`, read live.

Nothing is kept between two calls, so `override_settings` works in tests.

Every `examine_…` function returns what could be understood together with all the mistakes,
which is what `manage.py check` prints; its twin without the prefix raises the first one.
"""

from __future__ import annotations

from django_inference.conf.host import examine_host, host_settings
from django_inference.conf.paths import default_python, default_runtime_dir
from django_inference.conf.predictors import (
    PredictorSettings,
    examine_options,
    examine_predictor,
    parse_options,
    parse_predictor,
    predictor_settings,
    raw_predictors,
)
from django_inference.conf.validation import InvalidPredictor

__all__ = [
    "InvalidPredictor",
    "PredictorSettings",
    "default_python",
    "default_runtime_dir",
    "examine_host",
    "examine_options",
    "examine_predictor",
    "host_settings",
    "parse_options",
    "parse_predictor",
    "predictor_settings",
    "raw_predictors",
]
