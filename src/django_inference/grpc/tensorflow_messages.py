"""What TensorFlow Serving's requests and responses have in common, read and written."""

from __future__ import annotations

from django_inference.exceptions import InvalidInput
from django_inference.serving.tensorflow_serving import Prediction, classified, regressed
from django_inference.serving.tensorflow_versions import Choice
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.protos import tensorflow_pb2 as tf
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.tensor_proto import type_named
from django_inference.wire.tensorflow_serving import DEFAULT_SIGNATURE

_PREDICT = "tensorflow/serving/predict"


def choice_of(spec: tfs.ModelSpec) -> Choice:
    """Which model a request is for.

    Raises:
        InvalidInput: it does not say.
    """
    if not spec.name:
        raise InvalidInput("the request does not say which model: model_spec.name is empty.")
    return Choice(
        model=spec.name,
        version=spec.version.value if spec.HasField("version") else None,
        label=spec.version_label,
        signature_name=spec.signature_name,
    )


def say_who(spec: tfs.ModelSpec, choice: Choice, version: int) -> None:
    """Say which model has answered; a version only where it is known."""
    spec.name = choice.model
    spec.signature_name = choice.signature_name or DEFAULT_SIGNATURE
    if version:
        spec.version.value = version


def say_classes(result: tfs.ClassificationResult, answer: Prediction) -> None:
    """Write the classes of each example, with their scores."""
    for example in classified(answer):
        classes = result.classifications.add().classes
        for label, score in example:
            classes.add(label=label, score=score)


def say_values(result: tfs.RegressionResult, answer: Prediction) -> None:
    """Write the number for each example."""
    for value in regressed(answer):
        result.regressions.add(value=value)


def say_signature(said: tf.SignatureDef, signature: Signature | None) -> None:
    """Write what a model takes and gives."""
    said.method_name = _PREDICT
    if signature is not None:
        for spec in signature.inputs:
            _say_tensor(said.inputs[spec.name], spec)
        for spec in signature.outputs:
            _say_tensor(said.outputs[spec.name], spec)


def _say_tensor(info: tf.TensorInfo, spec: TensorSpec) -> None:
    info.name = spec.name
    info.dtype = type_named(spec.dtype)
    info.tensor_shape.SetInParent()
    for length in spec.shape:
        info.tensor_shape.dim.add(size=length)
