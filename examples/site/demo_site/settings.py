"""Settings of the demo site. What is worth copying is at the top.

Predictions need no database, no sessions and no accounts. Jobs need the first, and a visitor
finds their own by the second.
"""

from __future__ import annotations

import os
from pathlib import Path

from demo_site.wheels import in_package

BASE_DIR = Path(__file__).resolve().parent.parent

# --- django-inference ------------------------------------------------------------------

INSTALLED_APPS = [
    # First, since it has templates in the place of those of the jobs.
    "demo_site",
    "django_inference",
    # Predictions that are made sometime, whatever dies meanwhile: rows in the database.
    "django_inference.jobs",
    # What runs them: `manage.py db_worker`. A site with Celery has that instead.
    "django_tasks_db",
    # Their pages follow them without being loaded again; without it, they come again.
    "django_htmx",
    # A job may have an owner, and owners are users.
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "rest_framework",
    # The description of the API, and its page: scripts and styles come from the second app,
    # not from elsewhere.
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    # When a server process starts, this asks for the models below, without waiting for
    # them. Leave it out, and each is loaded by the first request for it.
    "django_inference.middleware.InferenceMiddleware",
    "demo_site.middleware.DemoMiddleware",
    "django.middleware.security.SecurityMiddleware",
    # By which a visitor is known: nobody else sees their jobs.
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# One entry a model; views call it as `predictors["faces"].predict_one(photo)`. Each model
# lives in one process of the model host, and all the web workers share it.
#
# Your own weights would lie in a folder of yours: "MODEL": BASE_DIR / "models/notes". The
# demo takes them out of packages, so that it has nothing to download.
INFERENCE = {
    # A runtime of the site's own. Its weights come with its code, so there is no MODEL.
    "faces": {
        "RUNTIME": "demo_site.runtimes.faces.FaceDetector",
        # Keyword arguments of that class. Changing one makes a new version of the model.
        "RUNTIME_OPTIONS": {"longest_side": 1024},
        # Photos are searched one by one, so a large batch would only let the first wait.
        "OPTIONS": {"max_batch_size": 4, "timeout": 20.0},
    },
    # A TensorFlow SavedModel: the built-in runtime, with the sound decoded before it.
    "notes": {
        "MODEL": in_package("basic_pitch", "saved_models/icassp_2022/nmp"),
        "RUNTIME": "demo_site.runtimes.notes.NoteFinder",
        # A row is a sound of up to a minute: four of them are work enough at a time.
        "OPTIONS": {"max_batch_size": 4, "timeout": 20.0},
    },
    # An ONNX file: requests that arrive together are answered by one run of the network.
    "types": {
        "MODEL": in_package("magika", "models/standard_v3_3/model.onnx"),
        "RUNTIME": "demo_site.runtimes.filetypes.FileTypes",
        "RUNTIME_OPTIONS": {
            "descriptions": str(in_package("magika", "config/content_types_kb.min.json")),
        },
        "OPTIONS": {"max_batch_size": 64},
        # Who may call it by the API, how often, and with how much; see the reference.
        "REST": {"throttle": {"rows": "10000/min"}, "max_body_bytes": 10_000_000},
    },
}

# What carries jobs from the web workers to those who run them: here a table of the database.
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
INFERENCE_JOBS = {
    # Photos are longer than what is kept in a row: they are files of a storage, with names that
    # nobody guesses. Nothing but the pages and the endpoints of a job gives them out.
    "INLINE_LIMIT": 64 * 1024,
    "STORAGE": "jobs",
    # Days, for `manage.py inference_jobs prune`.
    "RETENTION": 1,
}

INFERENCE_HOST = {
    # The socket, lock and log of the model host. None picks a folder for this user and
    # project; the demo sets its own, so that it cannot meet another host of yours.
    "RUNTIME_DIR": os.environ.get("DEMO_RUNTIME_DIR"),
    # Seconds that the host outlives its last web worker: long enough for a restart of the
    # server to find the models still loaded.
    "LINGER": 10,
}

# --- The rest of Django ----------------------------------------------------------------

# What the site keeps: the demo has a folder of its own, which goes when the demo does.
DATA_DIR = Path(os.environ.get("DEMO_DATA_DIR", BASE_DIR))
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "demo.sqlite3",
        # For several processes that write: each waits for its turn, and readers for nobody.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "jobs": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": DATA_DIR / "jobs"},
    },
}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

# It signs the sessions: the demo makes one for itself. A site of your own reads its key from
# the environment likewise, and has no other.
SECRET_KEY = os.environ.get("DEMO_SECRET_KEY") or "for a demo on the loopback interface only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

ROOT_URLCONF = "demo_site.urls"
WSGI_APPLICATION = "demo_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    },
]

LANGUAGE_CODE = "en-gb"
USE_I18N = False
TIME_ZONE = "UTC"

# The API is open, as the pages are: without accounts there is nobody to ask for. A visitor
# is known by their session alone.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "django-inference demo",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # Each model with its own tensors, examples and errors.
    "PREPROCESSING_HOOKS": ["django_inference.rest.openapi.each_predictor"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
STATIC_URL = "static/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s pid=%(process)d %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"django_inference": {"level": "INFO"}},
}
