"""From a predictor's settings to the spec of a model that runs on this machine."""

from __future__ import annotations

import os
import sys
from typing import Any

from django_inference import runtimes
from django_inference.artifacts.location import OF_DJANGO, is_remote
from django_inference.backends.source import find_module
from django_inference.conf import InvalidPredictor, PredictorSettings
from django_inference.specs import (
    EngineOptions,
    Golden,
    ModelSpec,
    PythonEnvironment,
    Supervision,
)

UNSUPERVISED = Supervision()


def model_spec(
    settings: PredictorSettings,
    options: EngineOptions,
    supervision: Supervision = UNSUPERVISED,
) -> ModelSpec:
    """Say what a process needs to load and run the model.

    Raises:
        InvalidPredictor: no runtime is known for the artifact.
    """
    try:
        runtime = runtimes.resolve(settings.runtime, settings.model)
    except LookupError as error:
        place = f"INFERENCE[{settings.alias!r}]['RUNTIME']"
        raise InvalidPredictor(
            f"{place}: {error.args[0]}", alias=settings.alias, key="RUNTIME"
        ) from error
    code = runtimes.code_of_user(runtime, settings.runtime_options)
    return ModelSpec(
        alias=settings.alias,
        runtime=runtime,
        runtime_options=settings.runtime_options,
        artifact=settings.model,
        sha256=settings.sha256,
        trusted=settings.trusted,
        options=EngineOptions(
            **{name: getattr(options, name) for name in EngineOptions.__struct_fields__}
        ),
        golden=tuple(
            Golden(_listed(one.input), _listed(one.expected), one.tolerance)
            for one in settings.golden
        ),
        supervision=supervision,
        environment=None if code is None else _environment(code),
        artifact_environment=_environment("") if _is_of_django(settings.model) else None,
    )


def _is_of_django(model: str | None) -> bool:
    return model is not None and is_remote(model) and model.partition(":")[0] in OF_DJANGO


def _listed(value: Any) -> Any:
    """Lists for arrays: a golden answer travels as plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(one) for one in value]
    return value


def _environment(code: str) -> PythonEnvironment:
    module, _, _ = code.rpartition(".")
    source = find_module(module) if module else None
    return PythonEnvironment(
        settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        # An empty entry means the current folder, which is another one in another process.
        path=tuple(os.path.abspath(entry) for entry in sys.path),
        source=source.origin or "" if source is not None and source.has_location else "",
    )
