"""Machine-learning models in Django: declared in settings, loaded once per machine.

    from django_inference import predictors

    predictors["detector"].predict({"images": array})

The names below are imported when they are first used: the processes of the model host
import this package too, and need no Django.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_inference.backends.degraded import degraded
    from django_inference.conf import InvalidPredictor
    from django_inference.exceptions import (
        CheckpointError,
        EngineUnavailable,
        InferenceError,
        InvalidInput,
        JobCancelled,
        ModelCrashed,
        ModelLoadFailed,
        ModelNotReady,
        Overloaded,
        PredictionFailed,
        PredictionTimeout,
        RemoteError,
    )
    from django_inference.handle import Predictor
    from django_inference.registry import predictor, predictors
    from django_inference.runtimes.base import Runtime, TensorRuntime
    from django_inference.tensors import Signature, TensorSpec

__all__ = [
    "CheckpointError",
    "EngineUnavailable",
    "InferenceError",
    "InvalidInput",
    "InvalidPredictor",
    "JobCancelled",
    "ModelCrashed",
    "ModelLoadFailed",
    "ModelNotReady",
    "Overloaded",
    "PredictionFailed",
    "PredictionTimeout",
    "Predictor",
    "RemoteError",
    "Runtime",
    "Signature",
    "TensorRuntime",
    "TensorSpec",
    "degraded",
    "predictor",
    "predictors",
]

__version__ = "0.1.0"

_HOME = {
    "InvalidPredictor": "conf",
    "Predictor": "handle",
    "degraded": "backends.degraded",
    "predictor": "registry",
    "predictors": "registry",
    "Runtime": "runtimes.base",
    "TensorRuntime": "runtimes.base",
    "Signature": "tensors",
    "TensorSpec": "tensors",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME.get(name, 'exceptions')}")
    value = globals()[name] = getattr(module, name)
    return value
