"""The Open Inference Protocol's service.

Source: the protocol's gRPC API, and Triton's additions to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

from django_inference.exceptions import InferenceError
from django_inference.grpc.codes import failure
from django_inference.grpc.health import Health
from django_inference.grpc.methods import Call
from django_inference.grpc.statistics import statistics_of
from django_inference.registry import predictors
from django_inference.serving import open_inference as serving
from django_inference.serving.access import Refused
from django_inference.serving.parameters import timeout_of
from django_inference.serving.streams import ainfer_stream
from django_inference.wire.open_inference import InferRequest, InferResponse, TensorMetadata
from django_inference.wire.open_inference_proto import request_from_proto, response_to_proto
from django_inference.wire.protos import open_inference_pb2 as pb

#: A request of a stream asks with it for a last, empty answer, if need be, that says so.
WANTS_FINAL, IS_FINAL = "triton_enable_empty_final_response", "triton_final_response"

#: Bytes above which tensors are copied in a thread.
LONG = 1 << 20


class InferenceServicer:
    """Answers `inference.GRPCInferenceService`.

    Args:
        health: of the server.
    """

    def __init__(self, health: Health) -> None:
        self._health = health

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        """It answers, so it lives."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, call: Call
    ) -> pb.ServerReadyResponse:
        """Whether every model is there that is loaded at the start."""
        ready = not self._health.drains and await asyncio.to_thread(serving.server_ready)
        return pb.ServerReadyResponse(ready=ready)

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        """Whether a model answers without being loaded first; one that is not there does not."""
        await call.check(request.name, "read")
        try:
            ready = await asyncio.to_thread(serving.model_ready, request.name, request.version)
        except serving.NotServed:
            ready = False
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, call: Call
    ) -> pb.ServerMetadataResponse:
        """What this server is."""
        await call.check("", "read")
        said = serving.server_metadata()
        extensions = [*said.extensions, "statistics"]
        return pb.ServerMetadataResponse(
            name=said.name, version=said.version, extensions=extensions
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, call: Call
    ) -> pb.ModelMetadataResponse:
        """What a model takes and gives."""
        await call.check(request.name, "read")
        said = await asyncio.to_thread(serving.model_metadata, request.name, request.version)
        response = pb.ModelMetadataResponse(
            name=said.name, versions=said.versions, platform=said.platform
        )
        _describe(response.inputs, said.inputs)
        _describe(response.outputs, said.outputs)
        return response

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        """One answer to one request."""
        await call.check(request.model_name, "infer")
        said, raw = request_from_proto(request)
        return await _written(await serving.ainfer(_in_time(said, call)), raw)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], call: Call
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Any number of answers to each request, one request after the other.

        An error ends the answers to one request, and not the stream.
        """
        async for request in self._health.until_drained(requests):
            try:
                async for response in self._answers(request, call):
                    yield pb.ModelStreamInferResponse(infer_response=response)
            except (InferenceError, Refused) as error:
                said = failure(error, "ModelStreamInfer")
                answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
                yield pb.ModelStreamInferResponse(error_message=said.message, infer_response=answer)

    async def _answers(
        self, request: pb.ModelInferRequest, call: Call
    ) -> AsyncIterator[pb.ModelInferResponse]:
        await call.check(request.model_name, "infer")
        said, raw = request_from_proto(request)
        wants_final = said.parameters.pop(WANTS_FINAL, False) is True
        answers = ainfer_stream(_in_time(said, call))
        async for answer in answers:
            if wants_final:
                answer.parameters = {**answer.parameters, IS_FINAL: False}
            yield await _written(answer, raw)
        if wants_final:
            last = InferResponse(
                model=said.model, version=said.version, id=said.id, parameters={IS_FINAL: True}
            )
            yield response_to_proto(last)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, call: Call
    ) -> pb.RepositoryIndexResponse:
        """Every model that the caller may look at."""
        await call.check("", "read")
        aliases = [alias for alias in predictors if await call.may(alias, "read")]
        ask = partial(serving.repository_index, aliases, only_ready=request.ready)
        response = pb.RepositoryIndexResponse()
        for model in await asyncio.to_thread(ask):
            response.models.add(
                name=model.name, version=model.version, state=model.state, reason=model.reason
            )
        return response

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model, and wait until it is ready."""
        alias = _alias(request)
        await call.check(alias, "load")
        await asyncio.to_thread(serving.load, alias, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Give a model's memory back."""
        alias = _alias(request)
        await call.check(alias, "unload")
        await asyncio.to_thread(serving.unload, alias)
        return pb.RepositoryModelUnloadResponse()

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        """What was counted of one model, or of all that the caller may look at."""
        await call.check(request.name, "read")
        aliases = [request.name] if request.name else list(predictors)
        aliases = [alias for alias in aliases if await call.may(alias, "read")]
        return await asyncio.to_thread(statistics_of, aliases, request.version)


def _describe(tensors: Any, described: Iterable[TensorMetadata]) -> None:
    for tensor in described:
        tensors.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _alias(request: Any) -> str:
    # In KServe's messages the model has the number that Triton's repository has.
    alias: str = request.model_name or request.repository_name
    return alias


def _in_time(request: InferRequest, call: Call) -> InferRequest:
    left = call.time_left()
    if left is not None:
        seconds = timeout_of(request.parameters, max(left, 1e-6))
        request.parameters = {**request.parameters, "timeout": max(1, int(seconds * 1e6))}
    return request


async def _written(response: InferResponse, raw: bool) -> pb.ModelInferResponse:
    write = partial(response_to_proto, response, raw=raw)
    size = sum(array.nbytes for array in response.outputs.values())
    return await asyncio.to_thread(write) if size > LONG else write()
