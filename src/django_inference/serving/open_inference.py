"""The Open Inference Protocol, version 2, on top of the predictors.

What waits for a model has an asynchronous twin. The rest may talk to the model host: in an
event loop, call it in a thread.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import django_inference
from django_inference import runtimes
from django_inference.backends.degraded import degraded
from django_inference.backends.host import HostBackend
from django_inference.driving import InThread, arun, run
from django_inference.handle import Predictor
from django_inference.serving.items import ITEMS, RESULTS, items_of, may_be_items
from django_inference.serving.lookup import NotServed, check_version, predictor_named
from django_inference.serving.nothing import answer_to_nothing, has_no_rows
from django_inference.serving.outputs import outputs_of
from django_inference.serving.parameters import priority_of, timeout_of
from django_inference.serving.payloads import payload_of, raw_payload
from django_inference.serving.repository import (
    load,
    model_ready,
    repository_index,
    server_ready,
    unload,
)
from django_inference.serving.signatures import serving_signature
from django_inference.serving.steps import Predict
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.datatypes import BYTES, datatype_named
from django_inference.wire.open_inference import (
    InferRequest,
    InferResponse,
    ModelMetadata,
    ServerMetadata,
    TensorMetadata,
)

__all__ = [
    "NotServed",
    "ainfer",
    "infer",
    "load",
    "model_metadata",
    "model_ready",
    "repository_index",
    "server_metadata",
    "server_ready",
    "unload",
]

NAME = "django-inference"
#: The parameter of a response that a fallback has given; it names the predictor that did.
DEGRADED = "degraded"
EXTENSIONS = ("binary_tensor_data", "model_repository", "schedule_policy")


def server_metadata() -> ServerMetadata:
    """What this server is."""
    return ServerMetadata(
        name=NAME, version=django_inference.__version__, extensions=list(EXTENSIONS)
    )


def model_metadata(alias: str, version: str = "") -> ModelMetadata:
    """What a model takes and gives; waits for its load where that is not known before.

    A model that declares no tensors takes items, see `serving.items`.

    Raises:
        NotServed: there is no such model or version.
        InferenceError: it cannot be loaded.
    """
    predictor = predictor_named(alias)
    deadline = predictor.backend.deadline(None)
    check_version(predictor, version, deadline)
    status = predictor.status()
    signature = status.signature or predictor.backend.signature(deadline)
    if signature is None:
        inputs = [TensorMetadata(name=ITEMS, datatype=BYTES, shape=[-1])]
        outputs = [TensorMetadata(name=RESULTS, datatype=BYTES, shape=[-1])]
    else:
        inputs = [_described(spec) for spec in signature.inputs]
        outputs = [_described(spec) for spec in signature.outputs]
    serves = status.version or predictor.status().version
    return ModelMetadata(
        name=alias,
        versions=[serves] if serves else [],
        platform=_platform(predictor),
        inputs=inputs,
        outputs=outputs,
    )


def infer(request: InferRequest) -> InferResponse:
    """Predict and wait.

    Raises:
        NotServed: there is no such model or version.
        InvalidInput: an input, an output's name or a parameter is wrong.
        InferenceError: what else a call may raise.
    """
    response: InferResponse = run(_steps(request))
    return response


async def ainfer(request: InferRequest) -> InferResponse:
    """As `infer`, without holding the event loop."""
    response: InferResponse = await arun(_steps(request))
    return response


def _steps(request: InferRequest) -> Generator[Any, Any, InferResponse]:
    predictor = predictor_named(request.model)
    backend = predictor.backend
    deadline = backend.deadline(timeout_of(request.parameters, backend.options.timeout))
    priority = priority_of(request.parameters)
    if request.version:
        yield InThread(lambda: check_version(predictor, request.version, deadline))
    signature: Signature | None = None
    if _is_read_by_signature(request):
        _, signature = yield from serving_signature(predictor, deadline)
    if request.raw is not None:
        payload: Any = raw_payload(request.raw, signature)
    else:
        items = items_of(request.inputs, signature)
        # The host's client copies into shared memory, from wherever it is.
        aligned = not isinstance(backend, HostBackend)
        payload = payload_of(request.inputs, signature, aligned=aligned) if items is None else items
    with degraded() as answers:
        result: Any = answer_to_nothing(payload, signature)
        if result is None:
            result = yield Predict(predictor, payload, deadline, priority)
    return InferResponse(
        model=request.model,
        version=request.version,
        id=request.id,
        parameters={DEGRADED: answers[-1].fallback} if answers else {},
        outputs=outputs_of(request, result),
    )


def _is_read_by_signature(request: InferRequest) -> bool:
    inputs = request.inputs
    return (
        request.raw is not None
        or any(array.dtype.kind == "O" for array in inputs.values())
        or may_be_items(inputs)
        or has_no_rows(inputs)
    )


def _described(spec: TensorSpec) -> TensorMetadata:
    # A datatype that the protocol has not is named all the same: it helps more than a gap.
    datatype = datatype_named(spec.dtype) or spec.dtype.upper()
    return TensorMetadata(name=spec.name, datatype=datatype, shape=list(spec.shape))


def _platform(predictor: Predictor) -> str:
    settings = predictor.backend.settings
    try:
        dotted = runtimes.resolve(settings.runtime, settings.model)
    except LookupError:
        # A model on another server.
        return "remote"
    names = {path: name for name, path in runtimes.BUILT_IN.items()}
    return names.get(dotted, "python")
