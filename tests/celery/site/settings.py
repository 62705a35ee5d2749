"""The settings of the test site, with Celery. Its environment names the broker.

`SITE_BROKER` is its URL, `SITE_RESULTS` that of the result backend.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.celery.site.declared import DECLARED

FOLDER = Path(os.environ["SITE_FOLDER"])

BASE_DIR = FOLDER
SECRET_KEY = "only for tests"
USE_TZ = True
ROOT_URLCONF = "tests.site.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_inference",
    "django_inference.jobs",
    # Not used here: `tests.tasks.questions` looks into its table.
    "django_tasks_db",
]
MEDIA_ROOT = FOLDER / "media"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        # Many processes write: each waits for its turn.
        "OPTIONS": {
            "timeout": 60,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=wal",
        },
    }
}
if os.environ.get("SITE_POSTGRESQL"):
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "USER": "postgres",
        "NAME": os.environ["SITE_POSTGRESQL"],
    }

INFERENCE: dict[str, dict[str, Any]] = {
    alias: DECLARED[alias] for alias in os.environ["SITE_PREDICTORS"].split()
}
INFERENCE_HOST = {
    "RUNTIME_DIR": FOLDER / "host",
    "LINGER": float(os.environ["SITE_LINGER"]),
    "PYTHON": FOLDER / "python",
}
INFERENCE_JOBS = {
    "ENGINE": "django_inference.jobs.engines.celery.CeleryEngine",
    "LEASE": 3.0,
    "SWEEP_INTERVAL": 1.0,
    "REQUEUE_AFTER": float(os.environ.get("SITE_REQUEUE_AFTER", "300")),
    "MAX_ATTEMPTS": 50,
    "BACKOFF": 0.2,
    "INLINE_LIMIT": 2000,
}

CELERY_BROKER_URL = os.environ["SITE_BROKER"]
CELERY_RESULT_BACKEND = os.environ.get("SITE_RESULTS") or None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_QUEUE_MAX_PRIORITY = 9
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
