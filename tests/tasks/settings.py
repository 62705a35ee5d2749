"""The test site with durable jobs over Django's tasks; `TASKS_DATABASE` is where they are kept."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.site.settings import *  # noqa: F403
from tests.site.settings import FOLDER
from tests.site.settings import INSTALLED_APPS as SITE_APPS

INSTALLED_APPS = [*SITE_APPS, "django_inference.jobs", "django_tasks_db", "tests.fields.pictures"]


def _database() -> dict[str, Any]:
    if not (told := os.environ.get("TASKS_DATABASE")):
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            # As the documentation has it.
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            },
        }
    database: dict[str, Any] = json.loads(told)
    if database["ENGINE"].endswith(".mysql"):
        import pymysql

        pymysql.install_as_MySQLdb()
    return database


DATABASES = {"default": _database()}
TASKS = {
    "default": {
        "BACKEND": "django_tasks_db.DatabaseBackend",
        "QUEUES": ["default", "pictures"],
    }
}
INFERENCE_JOBS = {
    "LEASE": float(os.environ.get("TASKS_LEASE", "3")),
    "SWEEP_INTERVAL": 1.0,
    "MAX_ATTEMPTS": 50,
    "INLINE_LIMIT": 2000,
}
MEDIA_ROOT = FOLDER / "media"
