"""Which runtime loads a model: by short name, by dotted path, or by the artifact's name.

Nothing here imports a framework or numpy, so `manage.py check` and every web worker can
ask.
"""

from __future__ import annotations

import builtins
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any

from django_inference.artifacts.location import Location, locate
from django_inference.runtimes import recognition
from django_inference.runtimes.base import BaseRuntime
from django_inference.runtimes.loading import import_object
from django_inference.runtimes.names import (
    OTHER_RUNTIMES,
    OTHER_TASKS,
    is_other_runtime,
    meant,
    task_meant,
)
from django_inference.words import suggestion

#: The dotted path of each built-in runtime, by its short name.
BUILT_IN: dict[str, str] = {
    "onnx": "django_inference.runtimes.onnx.OnnxRuntime",
    "tensorflow": "django_inference.runtimes.tensorflow.TensorFlowRuntime",
    "tensorflow1": "django_inference.runtimes.tensorflow1.TensorFlow1Runtime",
    "litert": "django_inference.runtimes.litert.LitertRuntime",
    # Before torch: a folder for a pipeline holds .safetensors, too.
    "transformers": "django_inference.runtimes.transformers.TransformersRuntime",
    "torch": "django_inference.runtimes.torch.TorchRuntime",
    "yolo": "django_inference.runtimes.yolo.YoloRuntime",
    "ultralytics": "django_inference.runtimes.ultralytics.UltralyticsRuntime",
    "sklearn": "django_inference.runtimes.sklearn.SklearnRuntime",
    "xgboost": "django_inference.runtimes.xgboost.XgboostRuntime",
    "lightgbm": "django_inference.runtimes.lightgbm.LightgbmRuntime",
    "catboost": "django_inference.runtimes.catboost.CatboostRuntime",
    "callable": "django_inference.runtimes.callable.CallableRuntime",
}


def resolve(runtime: str | None, artifact: str | None) -> str:
    """Return the dotted path of the runtime that a predictor means.

    Args:
        runtime: a short name, a dotted path, or None to go by the artifact's name.
        artifact: the path of the artifact; None for code without one.

    Raises:
        LookupError: there is no such runtime, or none for such an artifact.
    """
    if runtime is None:
        return _by_artifact(artifact)
    if runtime in BUILT_IN:
        return BUILT_IN[runtime]
    parts = runtime.split(".")
    is_path = len(parts) > 1 and all(part.isidentifier() for part in parts)
    if is_path and not is_other_runtime(runtime):
        return runtime
    if task := task_meant(runtime, OTHER_TASKS):
        raise LookupError(
            f"there is no runtime {runtime!r}, which is a task: set RUNTIME to 'transformers', "
            f'and RUNTIME_OPTIONS to {{"task": "{task}"}}.'
        )
    near = meant(runtime, BUILT_IN, OTHER_RUNTIMES)
    if near == "ultralytics" and artifact and artifact.endswith(".onnx"):
        near = "yolo"
    raise LookupError(
        f"there is no runtime {runtime!r}{f' (did you mean {near!r}?)' if near else ''}; "
        f"a runtime is one of {_listed(BUILT_IN)}, or the dotted path of a class or function."
    )


def mistaken(artifact: str | os.PathLike[str], dotted: str) -> str:
    """What is wrong with an artifact, so far as its first bytes tell; nothing for most.

    Args:
        artifact: on this disk.
        dotted: the path of the runtime that is to load it.
    """
    name = next((name for name, path in BUILT_IN.items() if path == dotted), "")
    return recognition.mistaken(artifact, name, BUILT_IN)


def code_of_user(dotted: str, options: Mapping[str, Any]) -> str | None:
    """The dotted path of the user's code that a predictor runs; None where it runs none.

    That is a runtime of their own, or what they name in an option of a built-in one: it
    needs their import path and settings just as much.
    """
    if dotted not in BUILT_IN.values():
        return dotted
    named = (options.get(option) for option in import_object(dotted).code_options)
    return next((path for path in named if isinstance(path, str)), None)


def create(dotted: str, options: Mapping[str, Any]) -> BaseRuntime:
    """Import a runtime and make an instance of it.

    Args:
        dotted: path of a `Runtime` or `TensorRuntime` subclass, or of a function, which
            becomes a `CallableRuntime`.
        options: its keyword arguments.

    Raises:
        ImportError: the path cannot be imported; the cause is kept.
        TypeError: it names neither, or does not take the options.
    """
    found = import_object(dotted)
    if isinstance(found, type):
        if not issubclass(found, BaseRuntime):
            raise TypeError(
                f"{dotted} is a class, but not a subclass of django_inference.Runtime "
                "or django_inference.TensorRuntime."
            )
        _check_options(dotted, found, options)
        return found(**options)
    # The plain name is the submodule's here, as soon as that has been imported.
    if not builtins.callable(found):
        raise TypeError(f"{dotted} is neither a runtime class nor a function.")

    from django_inference.runtimes.callable import CallableRuntime

    if "function" in options:
        raise TypeError(f"{dotted} is the function itself; it does not take the option 'function'.")
    return CallableRuntime(function=found, **options)


def _by_artifact(artifact: str | None) -> str:
    if artifact is None:
        raise LookupError("without MODEL, RUNTIME must name a runtime class or a function.")
    where = _located(artifact)
    names = os.listdir(artifact) if os.path.isdir(artifact) else [where.name]
    known = []
    for dotted in BUILT_IN.values():
        suffixes = import_object(dotted).suffixes
        if any(name.endswith(suffixes) for name in names):
            return dotted
        known += suffixes
    raise LookupError(
        f"no runtime is known for {where}, so RUNTIME must name one of {_listed(BUILT_IN)}, "
        "or the dotted path of a class or function. "
        f"Known by their names are files, and folders with a file, that end in {', '.join(known)}."
    )


def _located(artifact: str) -> Location:
    try:
        return locate(artifact)
    except ValueError as error:
        raise LookupError(f"MODEL: {error}") from error


def _check_options(dotted: str, runtime: type[BaseRuntime], options: Mapping[str, Any]) -> None:
    """Say which option is wrong before the class does so in Python's words for arguments."""
    signature = inspect.signature(runtime)
    try:
        signature.bind(**options)
    except TypeError as error:
        taken = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        unknown = [name for name in options if name not in taken]
        hint = suggestion(unknown[0], taken) if unknown else ""
        raise TypeError(
            f"{dotted} does not take these options: {error}{hint}; "
            f"its options are {_listed(taken) or 'none'}."
        ) from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
