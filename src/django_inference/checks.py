"""What `manage.py check` says about `INFERENCE`, `INFERENCE_HOST` and `INFERENCE_SERVE`.

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
    examine_rest_classes,
    examine_serve,
    examine_serve_hooks,
    raw_predictors,
)
from django_inference.conf.fallbacks import fallback_mistake, fallbacks_of

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


def check_rest(**kwargs: Any) -> list[CheckMessage]:
    """Import the classes that each predictor's `REST` names."""
    return [
        _error(mistake)
        for predictor, _ in _predictors()
        for mistake in examine_rest_classes(predictor.alias, predictor.rest)
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


def check_serve(**kwargs: Any) -> list[CheckMessage]:
    """Look at `INFERENCE_SERVE`, and import what it names."""
    serve, mistakes = examine_serve()
    found: list[CheckMessage] = [_error(each) for each in mistakes + examine_serve_hooks(serve)]
    open_to = [address for address in (serve.grpc, serve.rest) if address and _is_open(address)]
    if open_to and serve.authentication is None and serve.client_ca is None:
        found.append(
            Warning(
                "INFERENCE_SERVE: whoever reaches "
                f"{' or '.join(open_to)} may call every model: nothing says whose call it is.",
                hint="Set INFERENCE_SERVE['AUTHENTICATION'], or listen at 127.0.0.1 only.",
                id="django_inference.W005",
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


def _is_open(address: str) -> bool:
    name = address.rpartition(":")[0].strip("[]")
    return name not in ("localhost", "::1") and not name.startswith("127.")


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
    wrong = examine_options(predictor, backend.options_class)
    yield from map(_error, wrong)
    if nowhere := fallback_mistake(predictor.alias, fallbacks_of(raw_predictors())):
        yield _error(nowhere)
    if not any(mistake.key == "cache" for mistake in wrong):
        yield from map(_error, _cache_mistakes(predictor))
    told = {
        f"django_inference.{number}" for key in mistaken for number in _CONSEQUENCES.get(key, ())
    }
    yield from (message for message in backend.check(predictor) if message.id not in told)


def _cache_mistakes(predictor: PredictorSettings) -> list[InvalidPredictor]:
    cache = predictor.options.get("cache")
    if cache is None:
        return []
    # Not at the top: a site that keeps no answers is spared the clients of caches.
    from django_inference.backends.cache_bytes import mistakes_in

    return mistakes_in(predictor.alias, cache)


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
