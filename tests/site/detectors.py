"""A detector that runs where torchvision is only half there, see `tests.torchvision_ops`."""

from __future__ import annotations

from django_inference.artifacts import Artifact
from django_inference.runtimes.ultralytics import UltralyticsRuntime


class Detector(UltralyticsRuntime):
    """The runtime `ultralytics`."""

    def load(self, artifact: Artifact | None) -> None:
        import tests.torchvision_ops  # noqa: F401

        super().load(artifact)
