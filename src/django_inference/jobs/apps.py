"""The Django app of durable jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed
from django.db.models.signals import post_delete

if TYPE_CHECKING:
    from django_inference.handle import Predictor
    from django_inference.jobs.models import Job


class JobsConfig(AppConfig):
    """Registers checks and receivers; dials neither a broker nor the database."""

    name = "django_inference.jobs"
    label = "django_inference_jobs"
    verbose_name = "Inference jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Runs in every process of the site, in those of the queue's workers too."""
        from django_inference import checks as predictor_checks
        from django_inference.jobs import checks, engines, pruning, sweeping

        register(checks.check_jobs, predictor_checks.TAG)
        setting_changed.connect(engines.reset, dispatch_uid="django_inference.jobs.engines.reset")
        post_delete.connect(
            pruning.remove_files_of,
            sender=self.get_model("Job"),
            dispatch_uid="django_inference.jobs.pruning.remove_files_of",
        )
        sweeping.sweep_in_workers()

    def submit(self, predictor: Predictor, inputs: Any, **options: Any) -> Job:
        """How `Predictor.submit` gets here: it lies below, and may not import this room."""
        from django_inference.jobs.submission import submit

        return submit(predictor, inputs, **options)
