"""By whose signature a request is read."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from django_inference.driving import InThread
from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.registry import predictors
from django_inference.serving.steps import SignatureOf, WhoServes
from django_inference.specs import State
from django_inference.tensors import Signature


def serving_signature(
    predictor: Predictor, deadline: float
) -> Generator[Any, Any, tuple[str, Signature | None]]:
    """The steps that find out what the model takes that is about to answer.

    Where it has a fallback, who will answer shows when it has, and to wait for the first one
    would leave the other no time.

    Returns:
        The version, empty where it is not known, and the signature.
    """
    backend = predictor.backend
    if backend.options.fallback is not None:
        return "", (yield InThread(lambda: _of_either(predictor, deadline)))
    serving = yield WhoServes(predictor, deadline)
    version = serving.version if serving is not None else ""
    return version, (yield SignatureOf(backend, version, deadline))


def _of_either(predictor: Predictor, deadline: float) -> Signature | None:
    """Of a model or of its fallback, which has to take the same: of whichever is there."""
    other = predictors[predictor.backend.options.fallback]
    for each in (predictor, other):
        status = each.status()
        if status.state is State.READY:
            return status.signature
    now = time.monotonic()
    try:
        return predictor.backend.signature(now + (deadline - now) / 2)
    except InferenceError:
        return other.backend.signature(deadline)
