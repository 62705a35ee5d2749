"""What calls are answered, and what is said of errors."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import numpy as np
import pytest

from django_inference import exceptions, predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_proto import (
    request_to_proto,
    response_from_proto,
)
from django_inference.wire.protos import open_inference_pb2 as pb
from django_inference.wire.protos.google_rpc_pb2 import RetryInfo, Status
from tests.grpc.calling import PATIENCE, request, serving
from tests.grpc.conftest import raising
from tests.grpc.functions import CLOSED
from tests.hosts import eventually

Code = grpc.StatusCode


def items(model: str, *values: object) -> pb.ModelInferRequest:
    elements = np.array([json.dumps(value).encode() for value in values], dtype=object)
    return request_to_proto(InferRequest(model=model, inputs={"items": elements}, id="7"))


async def test_a_prediction_of_a_real_model() -> None:
    async with serving() as client:
        said = await client.call("ModelInfer", request("mlp", id="7"))
        assert (said.model_name, said.id) == ("mlp", "7")
        x = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
        expected = predictors["mlp"].predict({"x": x})["y"]
        assert response_from_proto(said).outputs["y"].tolist() == expected.tolist()
        assert said.raw_output_contents and not said.outputs[0].HasField("contents")


async def test_typed_contents_are_answered_with_typed_contents() -> None:
    asked = pb.ModelInferRequest(model_name="mlp")
    tensor = asked.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend([1.0, 2.0, 3.0, 4.0])
    async with serving() as client:
        said = await client.call("ModelInfer", asked)
    assert not said.raw_output_contents
    assert len(said.outputs[0].contents.fp32_contents) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exceptions.InvalidInput("too short"), Code.INVALID_ARGUMENT),
        (exceptions.ModelNotReady("soon", retry_after=2.4), Code.UNAVAILABLE),
        (exceptions.ModelLoadFailed("/a/path"), Code.UNAVAILABLE),
        (exceptions.Overloaded("many"), Code.RESOURCE_EXHAUSTED),
        (exceptions.PredictionTimeout("late"), Code.DEADLINE_EXCEEDED),
        (exceptions.RemoteError("far"), Code.UNAVAILABLE),
        (exceptions.ModelCrashed("gone"), Code.INTERNAL),
        (exceptions.PredictionFailed("/a/path"), Code.INTERNAL),
        (RuntimeError("a secret of the server"), Code.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.name,
)
async def test_an_error_has_its_code(told: DummyBackend, error: Exception, code: Code) -> None:
    told.returns(raising(error))
    async with serving() as client:
        said = await client.refused("ModelInfer", request("told"))
    assert said.code() is code
    assert "path" not in (said.details() or "") and "secret" not in (said.details() or "")


async def test_an_error_says_when_to_come_again(told: DummyBackend) -> None:
    told.returns(raising(exceptions.ModelNotReady("soon", retry_after=2.4)))
    async with serving() as client:
        said = await client.refused("ModelInfer", request("told"))
    trailers = dict(iter(said.trailing_metadata()))
    assert (trailers["retry-after"], trailers["grpc-retry-pushback-ms"]) == ("3", "3000")
    details = trailers["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status = Status.FromString(details)
    hint = RetryInfo()
    assert status.code == Code.UNAVAILABLE.value[0] and status.message == said.details()
    assert status.details[0].Unpack(hint) and hint.retry_delay.seconds == 3


async def test_a_model_that_is_not_there_is_not_ready() -> None:
    async with serving() as client:
        for name, version in (("nope", ""), ("mlp", "7")):
            asked = pb.ModelReadyRequest(name=name, version=version)
            assert (await client.call("ModelReady", asked)).ready is False


async def test_a_method_that_is_not_there() -> None:
    async with serving() as client:
        ask: Any = client.channel.unary_unary("/inference.GRPCInferenceService/ModelConfig")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await ask(b"", timeout=PATIENCE)
    assert refusal.value.code() is Code.UNIMPLEMENTED


async def test_the_client_s_deadline_is_the_model_s() -> None:
    began = time.monotonic()
    async with serving() as client:
        # The first call loads.
        await client.call("ModelInfer", items("slow", 0.0))
        said = await client.refused("ModelInfer", items("slow", 3.0), timeout=0.2)
        assert said.code() is Code.DEADLINE_EXCEEDED
        # It waits for the one that runs no longer than its own deadline says.
        said = await client.refused("ModelInfer", items("slow", 0.0), timeout=0.2)
        assert said.code() is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 15.0


async def test_a_client_that_hangs_up_ends_its_stream() -> None:
    async with serving() as client:
        stream = client.stream(items("counter", None))
        for number in range(3):
            answer = await stream.read()
            (result,) = response_from_proto(answer.infer_response).outputs["results"]
            assert json.loads(result) == {"number": number}
        stream.cancel()
        await asyncio.to_thread(eventually, CLOSED.is_set)


async def test_a_stream_outlives_a_mistake() -> None:
    broken = request("mlp")
    broken.raw_input_contents[0] = b"123"
    async with serving() as client:
        answers = [answer async for answer in client.stream(broken, request("mlp", id="2"))]
    assert "3 bytes of data" in answers[0].error_message
    assert answers[1].infer_response.id == "2" and not answers[1].error_message


async def test_a_message_that_is_too_long() -> None:
    rows = np.zeros((2048, 4), np.float32)
    async with serving(MAX_MESSAGE_BYTES=32_000) as client:
        said = await client.refused("ModelInfer", request("mlp", rows))
        assert said.code() is Code.RESOURCE_EXHAUSTED
        # It is as long when it is unpacked.
        said = await client.refused(
            "ModelInfer", request("mlp", rows), compression=grpc.Compression.Gzip
        )
        assert said.code() is Code.RESOURCE_EXHAUSTED
        assert (await client.call("ModelInfer", request("mlp"))).model_name == "mlp"


async def test_too_many_calls_at_once() -> None:
    async with serving(MAX_CONCURRENT=1) as client:
        first = client.stream(items("counter", None))
        await first.read()
        said = await client.refused("ModelInfer", request("mlp"))
        assert said.code() is Code.RESOURCE_EXHAUSTED
        first.cancel()


async def test_a_repository_as_kserve_s_messages_name_it(told: DummyBackend) -> None:
    # Its message has the model's name where Triton's has the repository's.
    asked = pb.RepositoryModelLoadRequest(repository_name="told")
    async with serving(AUTHENTICATION="tests.grpc.functions.by_name") as client:
        await client.call("RepositoryModelLoad", asked, metadata=(("name", "staff"),))


async def test_statistics_of_all_models_and_of_one() -> None:
    async with serving() as client:
        await client.call("ModelInfer", request("mlp"))
        said = await client.call("ModelStatistics")
        assert [model.name for model in said.model_stats] == ["mlp", "told", "slow", "counter"]
        (mlp,) = (
            await client.call("ModelStatistics", pb.ModelStatisticsRequest(name="mlp"))
        ).model_stats
        assert mlp.inference_stats.success.count >= 1 and mlp.inference_stats.fail.count == 0
        assert mlp.inference_stats.compute_infer.ns > 0
        assert sum(batch.compute_infer.count for batch in mlp.batch_stats) == mlp.execution_count
        said = await client.refused("ModelStatistics", pb.ModelStatisticsRequest(name="nope"))
        assert said.code() is Code.NOT_FOUND
