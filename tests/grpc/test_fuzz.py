"""Bytes that no client would send: each is answered with a code, and the server lives.

A few hundred by default; `--fuzz 100` sends a hundred times as many.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import grpc
import numpy as np
import pytest

from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_proto import request_to_proto
from django_inference.wire.protos import open_inference_pb2 as pb
from django_inference.wire.protos import tensorflow_pb2 as tf
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.protos.pool import methods
from tests.grpc.calling import METHODS, PATIENCE, Client, serving

Code = grpc.StatusCode
#: What a client's mistake is answered with; anything else is ours.
MISTAKES = (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED)
TENSORFLOW = methods("tensorflow.serving.PredictionService")

Made = Callable[[random.Random], bytes]


def noise(random: random.Random) -> bytes:
    return random.randbytes(random.randrange(200))


def broken(random: random.Random) -> bytes:
    """A request that is all right but for a few bytes."""
    inputs = {"x": np.zeros((2, 4), np.float32), "y": np.array([b"a", b"bc"], dtype=object)}
    data = bytearray(
        request_to_proto(
            InferRequest(model="mlp", inputs=inputs, parameters={"priority": 1, "timeout": 10**6})
        ).SerializeToString()
    )
    for _ in range(random.randrange(1, 4)):
        match random.randrange(3):
            case 0:
                data[random.randrange(len(data))] = random.randrange(256)
            case 1:
                del data[random.randrange(len(data)) :]
                data += random.randbytes(3)
            case 2:
                start = random.randrange(len(data))
                data[start:start] = data[start : start + 20]
    return bytes(data)


def claimed(random: random.Random) -> bytes:
    """A message that is one, whose tensors are not what it says."""
    message = pb.ModelInferRequest(model_name=random.choice(["mlp", "counter", ""]))
    for _ in range(random.randrange(1, 4)):
        tensor = message.inputs.add(
            name=random.choice(["x", "x", "y", "items", "\0"]),
            datatype=random.choice(["FP32", "BYTES", "INT64", "FP16", "BOOL", "BF16", "fp32", ""]),
        )
        tensor.shape.extend(random.choice([0, 1, 4, -1, 2**31, 2**62, 2**63 - 1]) for _ in range(2))
        match random.randrange(4):
            case 0:
                tensor.contents.fp32_contents.extend([1.0] * random.randrange(6))
            case 1:
                tensor.contents.bytes_contents.extend([b"[" * 5000, b"\xff"])
            case 2:
                message.raw_input_contents.append(random.randbytes(random.randrange(40)))
            case 3:
                tensor.shape.extend([1] * random.randrange(100))
    name = random.choice(["priority", "timeout", "sequence_id", "shared_memory_region"])
    message.parameters[name].int64_param = random.choice([-1, 0, 2**63 - 1])
    return message.SerializeToString()


def predicted(random: random.Random) -> bytes:
    """The same for TensorFlow Serving's messages."""
    message = tfs.PredictRequest()
    message.model_spec.name = random.choice(["mlp", "mlp", "counter", ""])
    message.model_spec.signature_name = random.choice(["", "serving_default", "other", "\0"])
    for _ in range(random.randrange(1, 3)):
        tensor = message.inputs[random.choice(["x", "x", "y", "@signature", ""])]
        tensor.dtype = random.choice([tf.DT_FLOAT, tf.DT_STRING, tf.DT_INT64, tf.DT_INVALID])
        for _ in range(random.randrange(4)):
            tensor.tensor_shape.dim.add(size=random.choice([0, 1, 2, 4, -1, 2**62]))
        match random.randrange(4):
            case 0:
                tensor.float_val.extend([1.0] * random.randrange(6))
            case 1:
                tensor.string_val.extend([b"a", b"\xff"])
            case 2:
                tensor.tensor_content = random.randbytes(random.choice([0, 3, 16, 32]))
            case 3:
                tensor.tensor_shape.unknown_rank = True
    return message.SerializeToString()


async def send(client: Client, path: str, data: bytes) -> Code:
    ask = client.channel.unary_unary(
        path, request_serializer=lambda data: data, response_deserializer=lambda data: data
    )
    try:
        await ask(data, timeout=PATIENCE)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


#: What is not noise is sent where it belongs.
PATHS: dict[Made, str] = {
    broken: METHODS["ModelInfer"].path,
    claimed: METHODS["ModelInfer"].path,
    predicted: TENSORFLOW["Predict"].path,
}


@pytest.mark.parametrize("made", [noise, broken, claimed, predicted])
async def test_every_call_is_answered(
    made: Made, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    paths = [
        method.path
        for method in (*METHODS.values(), *TENSORFLOW.values())
        if not method.server_streams
    ]
    async with serving() as client:
        for turn in range(150 * request.config.getoption("--fuzz")):
            path = PATHS.get(made) or paths[turn % len(paths)]
            data = made(chance)
            code = await send(client, path, data)
            assert code is Code.OK or code in MISTAKES, (path, code, data)
        assert await send(client, METHODS["ServerLive"].path, b"") is Code.OK
    assert not caplog.records


async def test_a_stream_of_broken_messages(request: pytest.FixtureRequest) -> None:
    chance = random.Random(7)
    async with serving() as client:
        for _ in range(20 * request.config.getoption("--fuzz")):
            stream = client.stream()
            try:
                await stream.write(chance.choice([noise, broken, claimed])(chance))
                await stream.done_writing()
                while await stream.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                assert error.code() in MISTAKES
