"""A small real site for the tests with real servers; its environment says the rest.

`SITE_FOLDER` holds what belongs to one test: the models, the database, the host's folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["SITE_FOLDER"])

BASE_DIR = FOLDER
SECRET_KEY = "only for tests"
DEBUG = os.environ.get("SITE_DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "tests.site.urls"
WSGI_APPLICATION = "tests.site.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.staticfiles",
    "django_inference",
    "tests.site",
]
MIDDLEWARE = ["django_inference.middleware.InferenceMiddleware"]
if os.environ.get("SITE_MIDDLEWARE") == "0":
    MIDDLEWARE = []
STATIC_URL = "static/"
STATIC_ROOT = FOLDER / "static"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DECLARED: dict[str, dict[str, Any]] = {
    "mlp": {"MODEL": FOLDER / "mlp.onnx"},
    "words": {"MODEL": FOLDER / "words.onnx"},
    "slow": {"RUNTIME": "tests.site.functions.slow", "OPTIONS": {"max_batch_size": 4}},
    "shaken": {
        "RUNTIME": "tests.site.functions.slow",
        "OPTIONS": {"max_batch_size": 8, "replicas": 2, "timeout": 30.0},
    },
    "upper": {"RUNTIME": "tests.site.functions.upper"},
    "counter": {"RUNTIME": "tests.site.counter.Counter"},
    "late": {"RUNTIME": "tests.site.functions.slow", "OPTIONS": {"preload": False}},
    "layers": {"MODEL": FOLDER / "layers", "RUNTIME": "tensorflow", "OPTIONS": {"timeout": 60.0}},
    "session": {
        "MODEL": FOLDER / "session",
        "RUNTIME": "tensorflow1",
        "RUNTIME_OPTIONS": {
            "inputs": {"x": "input:0"},
            "outputs": {"y": "output:0"},
            "feed": {"keep_prob:0": 1.0},
        },
        "OPTIONS": {"timeout": 60.0},
    },
    "people": {
        "MODEL": FOLDER / "best.pt",
        "RUNTIME": "tests.site.detectors.Detector",
        "TRUSTED": True,
        "OPTIONS": {"timeout": 60.0},
    },
    "exported": {
        "MODEL": FOLDER / "best.onnx",
        "RUNTIME": "yolo",
        "OPTIONS": {"timeout": 60.0},
    },
}
DECLARED["session_here"] = DECLARED["session"] | {
    "BACKEND": "django_inference.backends.local.LocalBackend",
    "OPTIONS": {"timeout": 60.0, "preload": True},
}
INFERENCE = {alias: DECLARED[alias] for alias in os.environ["SITE_PREDICTORS"].split()}
INFERENCE_HOST = {
    "RUNTIME_DIR": FOLDER / "host",
    "LINGER": float(os.environ["SITE_LINGER"]),
    # Notes which process started the host, then becomes the interpreter.
    "PYTHON": FOLDER / "python",
}

REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["tests.site.keys.Keys"]}
INFERENCE_SERVE = {"AUTHENTICATION": "tests.site.keys.user_of"}
