"""The test site with pages of jobs, which a database worker runs."""

from __future__ import annotations

from tests.tasks.settings import *  # noqa: F403
from tests.tasks.settings import INFERENCE as DECLARED
from tests.tasks.settings import INSTALLED_APPS as TASKS_APPS

INSTALLED_APPS = [*TASKS_APPS, "rest_framework", "django_htmx"]
ROOT_URLCONF = "tests.pages.urls"
MIDDLEWARE = [
    "django_inference.middleware.InferenceMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
STATIC_URL = "/static/"
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]
}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
INFERENCE = {**DECLARED, "sizes": {"RUNTIME": "tests.pages.functions.sizes"}}
# A poll that is answered late must not find the lease of a slow machine run out.
INFERENCE_JOBS = {"LEASE": 15.0, "SWEEP_INTERVAL": 1.0, "INLINE_LIMIT": 2000}
