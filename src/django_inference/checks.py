"""What `manage.py check` says about `INFERENCE` and `INFERENCE_HOST`.

Everything is looked at, so that one mistake does not hide the next. Each kind of mistake
has an ID of its own, listed in docs/reference/checks.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from django_inference.backends.loading import backend_class
from django_inference.conf import (
    InvalidPredictor,
    PredictorSettings,
    examine_host,
    examine_options,
    examine_predictor,
    raw_predictors,
)

TAG = "inference"
MIDDLEWARE = "django_inference.middleware.InferenceMiddleware"

#: What is said only for want of a key that is there but wrong: the default was looked at.
_CONSEQUENCES = {
    "MODEL": {"E015", "E026"},
    "RUNTIME": {"E013", "E016", "E026"},
    "RUNTIME_OPTIONS": {"E013"},
    "TRUSTED": {"E018"},
    "SHA256": {"E018"},
}


def check_predictors(**kwargs: Any) -> list[CheckMessage]:
    """Look at the keys of each predictor and at the types of their values."""
    try:
        raw_predictors()
    except InvalidPredictor as mistake:
        return [_error(mistake)]
    return [_error(mistake) for _, mistakes in _predictors() for mistake in mistakes]


def check_backends(**kwargs: Any) -> list[CheckMessage]:
    """Look at each predictor's backend and its `OPTIONS`; ask the backend for the rest."""
    return [
        message
        for predictor, mistakes in _predictors()
        for message in _check_backend(predictor, mistakes)
    ]


def check_host(**kwargs: Any) -> list[CheckMessage]:
    """Look at `INFERENCE_HOST`."""
    host, mistakes = examine_host()
    found: list[CheckMessage] = [_error(mistake) for mistake in mistakes]
    if not os.access(host.python, os.X_OK):
        found.append(
            Error(
                f"INFERENCE_HOST['PYTHON']: {host.python!r} cannot be run.",
                hint="Set it to the path of the interpreter that the models' frameworks are "
                "installed for.",
                id="django_inference.E024",
            )
        )
    return found


def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """Look for the middleware that asks for the models when a server process starts."""
    if not any(_predictors()) or any(map(_is_inference_middleware, settings.MIDDLEWARE)):
        return []
    return [
        Warning(
            f"{MIDDLEWARE!r} is not in MIDDLEWARE: each model is loaded by the first request "
            "that needs it, which waits for that.",
            hint="Put it first in MIDDLEWARE: it asks for the models when a server process "
            "starts, without holding up the start.",
            id="django_inference.W001",
        )
    ]


def _predictors() -> Iterator[tuple[PredictorSettings, list[InvalidPredictor]]]:
    try:
        raw = raw_predictors()
    except InvalidPredictor:
        return
    for alias, entry in raw.items():
        yield examine_predictor(alias, entry)


def _check_backend(
    predictor: PredictorSettings, mistakes: list[InvalidPredictor]
) -> Iterator[CheckMessage]:
    mistaken = {mistake.meant or mistake.key for mistake in mistakes}
    if mistaken & {"", "BACKEND"}:
        return
    try:
        backend = backend_class(predictor)
    except InvalidPredictor as mistake:
        yield _error(mistake)
        return
    yield from map(_error, examine_options(predictor, backend.options_class))
    told = {
        f"django_inference.{number}" for key in mistaken for number in _CONSEQUENCES.get(key, ())
    }
    yield from (message for message in backend.check(predictor) if message.id not in told)


def _is_inference_middleware(dotted: str) -> bool:
    if dotted == MIDDLEWARE:
        return True
    try:
        middleware, ours = import_string(dotted), import_string(MIDDLEWARE)
    except ImportError:
        return False
    return isinstance(middleware, type) and issubclass(middleware, ours)


def _error(mistake: InvalidPredictor) -> CheckMessage:
    return Error(mistake.message, hint=mistake.hint or None, id=mistake.check_id)
