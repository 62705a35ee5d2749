"""Which services the server has, and who answers their calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django_inference.grpc.health import Health
from django_inference.grpc.open_inference import InferenceServicer
from django_inference.grpc.tensorflow_serving import ModelServicer, PredictionServicer

#: By full name: what makes the servicer. A servicer is written as `methods` has it.
SERVICERS: Mapping[str, Callable[[Health], object]] = {
    "inference.GRPCInferenceService": InferenceServicer,
    "tensorflow.serving.PredictionService": lambda health: PredictionServicer(),
    "tensorflow.serving.ModelService": lambda health: ModelServicer(),
}


def servicers(health: Health) -> dict[str, object]:
    """Every servicer by the name of its service.

    Args:
        health: of the server.
    """
    return {name: make(health) for name, make in SERVICERS.items()}
