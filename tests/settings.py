"""The Django settings of the tests; a test declares the predictors it needs itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "tests.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "django_inference",
    "django_inference.jobs",
    "tests.fields.pictures",
    "tests.querysets.gallery",
]
MIDDLEWARE: list[str] = []
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MEDIA_ROOT = Path(tempfile.gettempdir()) / "inference-tests"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INFERENCE: dict[str, dict[str, object]] = {}
# A queue in the hands of the test; those of the real ones have settings of their own.
INFERENCE_JOBS = {"ENGINE": "tests.jobs.carriers.KeepingEngine"}
