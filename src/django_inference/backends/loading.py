"""From the dotted path in `BACKEND` to the class."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from django_inference.backends.base import BaseBackend
from django_inference.backends.source import nearby_modules
from django_inference.conf import InvalidPredictor, PredictorSettings
from django_inference.words import nearest

BUILT_IN = (
    "django_inference.backends.celery.CeleryBackend",
    "django_inference.backends.dummy.DummyBackend",
    "django_inference.backends.host.HostBackend",
    "django_inference.backends.local.LocalBackend",
    "django_inference.backends.open_inference.OpenInferenceBackend",
    "django_inference.backends.tensorflow_serving.TensorFlowServingBackend",
)


def backend_class(settings: PredictorSettings) -> type[BaseBackend]:
    """Import the backend of a predictor.

    Raises:
        InvalidPredictor: it cannot be imported, or is no backend.
    """
    module_name, _, name = settings.backend.rpartition(".")
    if not module_name:
        raise _invalid(settings, "E005", "it is not a dotted path", BUILT_IN)
    try:
        module = import_module(module_name)
    except Exception as error:
        others = [f"{module}.{name}" for module in nearby_modules(module_name)]
        reason = f"{type(error).__name__}: {error}"
        raise _invalid(settings, "E005", reason, (*BUILT_IN, *others)) from error
    backend = getattr(module, name, None)
    if isinstance(backend, type) and issubclass(backend, BaseBackend):
        return backend
    names = [
        f"{module_name}.{key}"
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseBackend) and value is not BaseBackend
    ]
    if not hasattr(module, name):
        reason = f"the module {module_name!r} has no {name!r}"
        raise _invalid(settings, "E005", reason, (*names, *BUILT_IN))
    raise _invalid(settings, "E006", "it is not a subclass of BaseBackend", (*names, *BUILT_IN))


def _invalid(
    settings: PredictorSettings, number: str, reason: str, choices: Iterable[str]
) -> InvalidPredictor:
    choices = [choice for choice in choices if choice != settings.backend]
    by_name = {choice.rpartition(".")[2]: choice for choice in reversed(choices)}
    last = settings.backend.rpartition(".")[2]
    near = nearest(settings.backend, by_name.values()) or by_name.get(nearest(last, by_name), "")
    return InvalidPredictor(
        f"INFERENCE[{settings.alias!r}]['BACKEND']: expected the dotted path of a backend, given "
        f"{settings.backend!r}: {reason}.",
        hint=f"Did you mean {near!r}?" if near else f"There are {', '.join(BUILT_IN)}.",
        alias=settings.alias,
        key="BACKEND",
        check_id=f"django_inference.{number}",
    )
