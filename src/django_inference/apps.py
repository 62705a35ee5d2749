"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed


class InferenceConfig(AppConfig):
    """Registers checks and receivers; loads no model and dials nothing."""

    name = "django_inference"
    verbose_name = "Inference"

    def ready(self) -> None:
        """Runs in every process: in `migrate`, and in parents that fork afterwards."""
        from django_inference import checks, registry

        register(checks.check_predictors, checks.TAG)
        register(checks.check_backends, checks.TAG)
        register(checks.check_rest, checks.TAG)
        register(checks.check_host, checks.TAG)
        register(checks.check_serve, checks.TAG)
        register(checks.check_middleware, checks.TAG)
        setting_changed.connect(registry.reset, dispatch_uid="django_inference.registry.reset")
