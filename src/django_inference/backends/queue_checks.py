"""What can be seen of a predictor whose calls go through a queue, without a broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from django.core.checks import CheckMessage, Error
from django.core.files.storage import storages

from django_inference.backends.loading import backend_class
from django_inference.backends.source import find_module
from django_inference.conf import InvalidPredictor, PredictorSettings, examine_options
from django_inference.conf.validation import did_you_mean

#: What is said of things that only the workers' machines need: code, framework, artifact.
_THERE = {f"django_inference.{each}" for each in ("E010", "E011", "E017", "E026", "W002")}
#: Result backends that tell an answer to nobody, or to one listener only.
_SILENT = ("", "disabled", "rpc", "amqp")


def inner_settings(settings: PredictorSettings) -> PredictorSettings:
    """Of the backend by which a worker runs the model."""
    options = settings.options
    backend = options.get("backend", PredictorSettings(alias="").backend)
    return msgspec.structs.replace(
        settings, backend=backend, options=options.get("backend_options", {})
    )


def check_queued(
    settings: PredictorSettings, find_app: Callable[[str | None], Any]
) -> list[CheckMessage]:
    """Look for mistakes in the options of `CeleryBackend`.

    Args:
        settings: of the predictor.
        find_app: finds the Celery app by its dotted path.
    """
    if find_module("celery") is None:
        text = "the module 'celery' is not installed."
        hint = 'pip install "django-inference[celery]"'
        return [_error(settings, "BACKEND", "", "E075", text, hint)]
    return [*_app(settings, find_app), *_storage(settings), *_inner(settings)]


def _app(
    settings: PredictorSettings, find_app: Callable[[str | None], Any]
) -> Iterator[CheckMessage]:
    dotted = settings.options.get("app")
    if dotted is not None and not isinstance(dotted, str):
        # Of the wrong type, which is another check's business.
        return
    try:
        app = find_app(dotted)
        backend = str(app.conf.result_backend or "")
    except Exception as error:
        # What the site's own module raises may be anything.
        text = f"there is no Celery app: {type(error).__name__}: {error}"
        hint = "Make one as Celery's guide for Django says, and import it in the project's package."
        yield _error(settings, "OPTIONS", "app", "E076", text, hint)
        return
    if backend.partition(":")[0] in _SILENT:
        text = f"the Celery app has the result backend {backend or 'disabled'!r}."
        hint = "Answers come back by one that every process can read: redis://, cache+…, db+…."
        yield _error(settings, "OPTIONS", "app", "E077", text, hint)


def _storage(settings: PredictorSettings) -> Iterator[CheckMessage]:
    storage = settings.options.get("storage", "default")
    if isinstance(storage, str) and storage not in storages.backends:
        text = f"STORAGES has no alias {storage!r}."
        hint = did_you_mean(storage, storages.backends)
        yield _error(settings, "OPTIONS", "storage", "E078", text, hint)


def _inner(settings: PredictorSettings) -> Iterator[CheckMessage]:
    inner = inner_settings(settings)
    if not isinstance(inner.backend, str) or not isinstance(inner.options, dict):
        return
    try:
        backend = backend_class(inner)
    except InvalidPredictor as wrong:
        yield _error(settings, "OPTIONS", "backend", "E079", wrong.message, wrong.hint)
        return
    if inner.backend == settings.backend:
        text = "the workers would have to ask the workers."
        yield _error(settings, "OPTIONS", "backend", "E079", text)
        return
    for mistake in examine_options(inner, backend.options_class):
        yield _error(settings, "OPTIONS", "backend_options", "E079", mistake.message, mistake.hint)
    yield from (each for each in backend.check(inner) if each.id not in _THERE)


def _error(
    settings: PredictorSettings, key: str, option: str, number: str, text: str, hint: str = ""
) -> CheckMessage:
    place = f"INFERENCE[{settings.alias!r}][{key!r}]" + (f"[{option!r}]" if option else "")
    return Error(f"{place}: {text}", hint=hint or None, id=f"django_inference.{number}")
