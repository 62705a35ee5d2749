"""The settings of the tests on a database that several processes share; see `test_databases`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.settings import *  # noqa: F403

NAME = os.environ["JOBS_DATABASE_NAME"]
#: The machine's own servers, as a developer has them.
SERVERS: dict[str, dict[str, Any]] = {
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "OPTIONS": {"timeout": 60, "transaction_mode": "IMMEDIATE"},
    },
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": 5432,
        "USER": "postgres",
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "127.0.0.1",
        "PORT": 3306,
        "USER": "root",
        "OPTIONS": {"charset": "utf8mb4"},
    },
}
KIND = os.environ["JOBS_DATABASE"]
DATABASES = {"default": SERVERS[KIND] | {"NAME": NAME, "TEST": {"NAME": NAME}}}
if KIND == "mariadb":
    import pymysql

    # Django asks for this release of mysqlclient, which has to be compiled.
    pymysql.version_info = (2, 2, 1, "final", 0)
    pymysql.install_as_MySQLdb()

# Each table is emptied after each test.
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_inference",
    "django_inference.jobs",
]
MEDIA_ROOT = Path(os.environ["JOBS_MEDIA"])
# What an actor runs; the tests themselves declare what they need.
INFERENCE = {
    "model": {
        "BACKEND": "django_inference.backends.local.LocalBackend",
        "RUNTIME": "tests.jobs.actor.double",
        "OPTIONS": {"timeout": 60.0, "batching": "always"},
    }
}
INFERENCE_JOBS = json.loads(os.environ.get("JOBS_SETTINGS", "{}"))
