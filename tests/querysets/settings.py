"""A site that fills a table; its environment says where that is."""

from __future__ import annotations

import json
import os
from typing import Any

SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django_inference", "tests.querysets.gallery"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, dict[str, Any]] = {"default": json.loads(os.environ["DATABASE"])}
if DATABASES["default"]["ENGINE"].endswith(".mysql"):
    import pymysql

    pymysql.install_as_MySQLdb()
INFERENCE = {
    "twice": {
        "BACKEND": "django_inference.backends.local.LocalBackend",
        "RUNTIME": "tests.backends.mapping.journalled",
        "OPTIONS": {"max_batch_size": 4, "timeout": 60.0, "batching": "always"},
    }
}
