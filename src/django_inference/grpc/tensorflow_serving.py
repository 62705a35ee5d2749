"""TensorFlow Serving's services.

Source: tensorflow_serving/apis.
"""

from __future__ import annotations

import asyncio

from django_inference.exceptions import InvalidInput
from django_inference.grpc.methods import Call
from django_inference.grpc.tensorflow_messages import (
    choice_of,
    say_classes,
    say_signature,
    say_values,
    say_who,
)
from django_inference.serving.access import Action
from django_inference.serving.payloads import payload_of
from django_inference.serving.tensorflow_inputs import from_examples
from django_inference.serving.tensorflow_serving import (
    Prediction,
    apredict,
    model_metadata,
    model_status,
)
from django_inference.serving.tensorflow_versions import Choice, Unsupported
from django_inference.wire.example_protos import examples_of
from django_inference.wire.protos import tensorflow_error_pb2 as error
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.tensor_proto import from_proto, to_proto

_CLASSIFY, _REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
#: The only thing that GetModelMetadata can be asked for.
_SIGNATURES = "signature_def"


class PredictionServicer:
    """Answers `tensorflow.serving.PredictionService`."""

    async def Predict(self, request: tfs.PredictRequest, call: Call) -> tfs.PredictResponse:
        """Tensors in, tensors out, in the fields of their types as TensorFlow Serving has it."""
        choice = await _allowed(request.model_spec, call)
        # What cannot be read is refused before the model is touched.
        tensors = {name: from_proto(tensor, name) for name, tensor in request.inputs.items()}
        answer = await apredict(
            choice,
            lambda signature: payload_of(tensors, signature),
            wanted=tuple(request.output_filter),
            timeout=call.time_left(),
        )
        response = tfs.PredictResponse()
        say_who(response.model_spec, choice, answer.version)
        for name, value in answer.tensors.items():
            response.outputs[name].MergeFrom(to_proto(value, name, typed=True))
        return response

    async def Classify(
        self, request: tfs.ClassificationRequest, call: Call
    ) -> tfs.ClassificationResponse:
        """Examples in, classes with their scores out."""
        choice = await _allowed(request.model_spec, call)
        answer = await _of_examples(choice, request.input, call)
        response = tfs.ClassificationResponse()
        say_who(response.model_spec, choice, answer.version)
        say_classes(response.result, answer)
        return response

    async def Regress(self, request: tfs.RegressionRequest, call: Call) -> tfs.RegressionResponse:
        """Examples in, a number for each out."""
        choice = await _allowed(request.model_spec, call)
        answer = await _of_examples(choice, request.input, call)
        response = tfs.RegressionResponse()
        say_who(response.model_spec, choice, answer.version)
        say_values(response.result, answer)
        return response

    async def MultiInference(
        self, request: tfs.MultiInferenceRequest, call: Call
    ) -> tfs.MultiInferenceResponse:
        """Classify and regress the same examples, which each signature is given once."""
        choices = [await _allowed(task.model_spec, call) for task in request.tasks]
        if not choices:
            raise InvalidInput("there are no tasks.")
        for task in request.tasks:
            if task.method_name not in (_CLASSIFY, _REGRESS):
                raise Unsupported(
                    f"the method of a task is {_CLASSIFY!r} or {_REGRESS!r}, not "
                    f"{task.method_name[:200]!r}."
                )
        if len({(choice.model, choice.version, choice.label) for choice in choices}) > 1:
            raise InvalidInput("all the tasks have to be of one model.")
        answers = {
            choice.signature_name: await _of_examples(choice, request.input, call)
            for choice in dict.fromkeys(choices)
        }
        response = tfs.MultiInferenceResponse()
        for choice, task in zip(choices, request.tasks, strict=True):
            answer = answers[choice.signature_name]
            result = response.results.add()
            say_who(result.model_spec, choice, answer.version)
            if task.method_name == _CLASSIFY:
                say_classes(result.classification_result, answer)
            else:
                say_values(result.regression_result, answer)
        return response

    async def GetModelMetadata(
        self, request: tfs.GetModelMetadataRequest, call: Call
    ) -> tfs.GetModelMetadataResponse:
        """What a model takes and gives, as a SignatureDef."""
        choice = await _allowed(request.model_spec, call, "read")
        if set(request.metadata_field) != {_SIGNATURES}:
            raise InvalidInput(f"'metadata_field' has to name what there is: {_SIGNATURES!r}.")
        found = await asyncio.to_thread(model_metadata, choice)
        signatures = tfs.SignatureDefMap()
        for name, signature in found.by_name.items():
            say_signature(signatures.signature_def[name], signature)
        response = tfs.GetModelMetadataResponse()
        response.model_spec.name = choice.model
        response.model_spec.version.value = found.version
        packed = response.metadata[_SIGNATURES]
        packed.type_url = f"type.googleapis.com/{signatures.DESCRIPTOR.full_name}"
        packed.value = signatures.SerializeToString(deterministic=True)
        return response


class ModelServicer:
    """Answers `tensorflow.serving.ModelService`."""

    async def GetModelStatus(
        self, request: tfs.GetModelStatusRequest, call: Call
    ) -> tfs.GetModelStatusResponse:
        """How the versions of a model fare."""
        choice = await _allowed(request.model_spec, call, "read")
        response = tfs.GetModelStatusResponse()
        for version in await asyncio.to_thread(model_status, choice):
            status = response.model_version_status.add()
            status.version = version.version
            status.state = getattr(tfs.ModelVersionStatus, version.state)
            status.status.error_code = getattr(error, version.error_code)
            status.status.error_message = version.error_message
        return response

    async def HandleReloadConfigRequest(
        self, request: tfs.ReloadConfigRequest, call: Call
    ) -> tfs.ReloadConfigResponse:
        """Refused, whoever asks.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            "the site's settings say which models there are; `manage.py inference reload` loads "
            "one again."
        )


async def _allowed(spec: tfs.ModelSpec, call: Call, action: Action = "infer") -> Choice:
    choice = choice_of(spec)
    await call.check(choice.model, action)
    return choice


async def _of_examples(choice: Choice, asked: tfs.Input, call: Call) -> Prediction:
    return await apredict(choice, from_examples(examples_of(asked)), timeout=call.time_left())
