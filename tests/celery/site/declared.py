"""The predictors of the site; the tests call some of them from outside the workers, too."""

from __future__ import annotations

from typing import Any

CELERY = "django_inference.backends.celery.CeleryBackend"
SLOW = "tests.site.functions.slow"

DECLARED: dict[str, dict[str, Any]] = {
    "shaken": {"RUNTIME": SLOW, "OPTIONS": {"max_batch_size": 8, "replicas": 2}},
    "aside": {"RUNTIME": SLOW, "JOBS": {"queue": "aside"}, "OPTIONS": {"timeout": 60.0}},
    "queued": {
        "RUNTIME": SLOW,
        "BACKEND": CELERY,
        "OPTIONS": {
            "queue": "models",
            "timeout": 60.0,
            "inline_limit": 20_000,
            "backend_options": {"max_batch_size": 8, "max_queue": 1000},
        },
    },
    "idle": {"RUNTIME": SLOW, "BACKEND": CELERY, "OPTIONS": {"queue": "models"}},
    "mirror": {
        "RUNTIME": "tests.celery.site.runtimes.Mirror",
        "BACKEND": CELERY,
        "OPTIONS": {"queue": "models", "timeout": 60.0, "inline_limit": 20_000},
    },
}
