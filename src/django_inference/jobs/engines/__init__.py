"""What carries jobs from those who submit them to those who run them: existing queues."""

from __future__ import annotations

import threading
from typing import Any

from django.utils.module_loading import import_string

from django_inference.conf import InvalidPredictor, JobsSettings, jobs_settings
from django_inference.jobs.engines.base import BaseEngine

_lock = threading.Lock()
_made: BaseEngine | None = None


def engine() -> BaseEngine:
    """The engine of this process, made at the first call. It has dialed nobody yet.

    Raises:
        InvalidPredictor: `INFERENCE_JOBS` does not name one, or its options do not fit.
    """
    global _made
    if _made is None:
        with _lock:
            if _made is None:
                settings = jobs_settings()
                _made = construct(engine_class(settings), settings)
    return _made


def engine_class(settings: JobsSettings) -> type[BaseEngine]:
    """Import the class that `ENGINE` names.

    Raises:
        InvalidPredictor: it cannot be imported, or is no engine.
    """
    try:
        found = import_string(settings.engine)
    except ImportError as error:
        raise _mistake(f"{settings.engine!r} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, BaseEngine):
        raise _mistake(f"{settings.engine!r} is not a subclass of BaseEngine")
    return found


def reset(*, setting: str, **kwargs: Any) -> None:
    """Receiver of `setting_changed`: what `override_settings` changes takes effect."""
    global _made
    if setting in ("INFERENCE_JOBS", "TASKS"):
        _made = None


def construct(kind: type[BaseEngine], settings: JobsSettings) -> BaseEngine:
    """Make the engine.

    Raises:
        InvalidPredictor: its options do not fit.
    """
    try:
        return kind(**settings.engine_options)
    except TypeError as error:
        raise InvalidPredictor(
            f"INFERENCE_JOBS['ENGINE_OPTIONS']: {error}.",
            key="ENGINE_OPTIONS",
            check_id="django_inference.E066",
        ) from error


def _mistake(problem: str) -> InvalidPredictor:
    return InvalidPredictor(
        f"INFERENCE_JOBS['ENGINE']: {problem}.", key="ENGINE", check_id="django_inference.E065"
    )
