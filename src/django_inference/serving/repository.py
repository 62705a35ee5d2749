"""Which models there are, and how they fare: the protocol's health and repository calls.

Everything here may talk to the model host: in an event loop, call it in a thread.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from django_inference.backends.base import BaseBackend
from django_inference.conf import InvalidPredictor
from django_inference.exceptions import InvalidInput, ModelLoadFailed
from django_inference.registry import predictors
from django_inference.serving.lookup import check_version, predictor_named
from django_inference.specs import State, Status
from django_inference.wire.open_inference import ModelIndex

_STATES = {
    State.READY: "READY",
    State.LOADING: "LOADING",
    State.DRAINING: "UNLOADING",
}
#: Those that were found ready once, by this process.
_seen: weakref.WeakSet[BaseBackend] = weakref.WeakSet()

_REASONS = {
    State.UNLOADED: "unloaded",
    State.FAILED: ModelLoadFailed.public,
}


def server_ready() -> bool:
    """Whether every model is ready that is loaded when a server starts.

    One that was ready when this process was asked before, or may rest by its `idle_unload`, and
    has given its memory back since, is no reason to wait: the next call loads it.
    """
    return all(_is_up(alias) for alias in predictors)


def model_ready(alias: str, version: str = "") -> bool:
    """Whether a model answers without being loaded first. Loads nothing.

    Raises:
        NotServed: there is none of that name, or it is ready and of another version.
    """
    predictor = predictor_named(alias)
    status = predictor.status()
    is_ready = status.state is State.READY
    if is_ready and version and version != status.version:
        check_version(predictor, version, predictor.backend.deadline(0.0))
    return is_ready


def repository_index(
    aliases: Iterable[str] | None = None, *, only_ready: bool = False
) -> list[ModelIndex]:
    """Every model, with the version that serves and its state. Loads nothing.

    Args:
        aliases: to be listed; None for all.
        only_ready: leave the others out.
    """
    found = [_indexed(alias) for alias in (predictors if aliases is None else aliases)]
    return [model for model in found if model.state == "READY" or not only_ready]


def load(alias: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Load a model, and wait until it is ready; one that is gets loaded anew beside itself.

    Raises:
        NotServed: there is none of that name.
        InvalidInput: the parameters would change what is declared in settings.
        InferenceError: it could not be loaded.
    """
    predictor = predictor_named(alias)
    for name in parameters or ():
        if name == "config" or name.startswith("file:"):
            raise InvalidInput(
                f"the parameter {name!r} is not supported: settings say what a model is.",
                alias=alias,
            )
    if predictor.status().state in (State.READY, State.FAILED):
        predictor.reload()
    predictor.preload(wait=True)


def unload(alias: str) -> None:
    """Give a model's memory back; running calls are answered first. The next call loads it.

    Raises:
        NotServed: there is none of that name.
    """
    predictor_named(alias).unload()


def _is_up(alias: str) -> bool:
    try:
        predictor = predictors[alias]
    except InvalidPredictor:
        return False
    if not predictor.backend.options.preload:
        return True
    state = predictor.status().state
    backend = predictor.backend
    if state is State.READY:
        _seen.add(backend)
        return True
    # What is not there is yet to come, or rests: its status does not say which.
    may_rest = backend in _seen or getattr(backend.options, "idle_unload", None) is not None
    return may_rest and state in (State.UNLOADED, State.DRAINING)


def _indexed(alias: str) -> ModelIndex:
    try:
        status = predictors[alias].status()
    except InvalidPredictor:
        status = Status(alias=alias, state=State.FAILED)
    return ModelIndex(
        name=alias,
        version=status.version,
        state=_STATES.get(status.state, "UNAVAILABLE"),
        reason=_REASONS.get(status.state, ""),
    )
