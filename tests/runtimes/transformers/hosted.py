"""The runtime in a worker, which finds a torchvision that is only half there."""

from __future__ import annotations

from django_inference.artifacts import Artifact
from django_inference.runtimes.transformers import TransformersRuntime


class Writer(TransformersRuntime):
    """The runtime `transformers`."""

    def load(self, artifact: Artifact | None) -> None:
        import tests.torchvision_ops  # noqa: F401

        super().load(artifact)
