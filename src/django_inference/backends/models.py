"""From a predictor's settings to the spec of a model that runs on this machine."""

from __future__ import annotations

import os
import sys

from django_inference import runtimes
from django_inference.conf import InvalidPredictor, PredictorSettings
from django_inference.specs import EngineOptions, ModelSpec, PythonEnvironment


def model_spec(
    settings: PredictorSettings, options: EngineOptions, *, replicas: int = 1
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
    return ModelSpec(
        alias=settings.alias,
        runtime=runtime,
        runtime_options=settings.runtime_options,
        artifact=settings.model,
        sha256=settings.sha256,
        trusted=settings.trusted,
        options=EngineOptions(
            max_batch_size=options.max_batch_size,
            max_batch_delay=options.max_batch_delay,
            warmup=options.warmup,
        ),
        replicas=replicas,
        environment=None if runtimes.is_built_in(runtime) else _environment(),
    )


def _environment() -> PythonEnvironment:
    # An empty entry means the current folder, which is another one in another process.
    path = tuple(os.path.abspath(entry) for entry in sys.path)
    return PythonEnvironment(
        settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""), path=path
    )
