"""tritonclient over gRPC, as it comes: `python triton_grpc.py HOST:PORT`.

Runs in an environment of its own. Prints as JSON what it found, first with the synchronous
client and then with the other; each of them loads a model, and the last unloads it.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import queue
import sys
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import tritonclient.grpc as plain
import tritonclient.grpc.aio as aio
from tritonclient.utils import InferenceServerException

STAFF, GUEST, UNKNOWN = ({"authorization": f"Bearer {key}"} for key in ("staff", "guest", "x"))
X = np.arange(16, dtype=np.float32).reshape(2, 8)
PATIENCE = 30.0


async def wait(value: Any) -> Any:
    """Whichever client it is."""
    return await value if inspect.isawaitable(value) else value


def tensor(name: str, array: Any) -> Any:
    datatype = "BYTES" if array.dtype.kind == "O" else "FP32"
    found = plain.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array)
    return found


def texts(*values: str) -> Any:
    return np.array(values, dtype=object)


#: Requests of one stream: a model that streams, one that does not, and a mistake.
STREAMED: list[dict[str, Any]] = [
    {"model_name": "counter", "inputs": [tensor("items", texts("3"))], "request_id": "count"},
    {"model_name": "mlp", "inputs": [tensor("x", X)], "request_id": "one"},
    {"model_name": "nope", "inputs": [tensor("x", X)], "request_id": "none"},
    {
        "model_name": "counter",
        "inputs": [tensor("items", texts("2"))],
        "request_id": "end",
        "enable_empty_final_response": True,
    },
]


def streamed(result: Any, error: Any) -> list[Any]:
    if error is not None:
        return ["error", error.message()]
    response = result.get_response()
    final = response.parameters["triton_final_response"].bool_param
    results = result.as_numpy("results")
    y = result.as_numpy("y")
    values = results if results is not None else y if y is not None else np.array([])
    return [response.id, [_plain(value) for value in values.tolist()], final]


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def stream(client: Any) -> list[Any]:
    answers: queue.Queue[list[Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(streamed(result, error)))
    for request in STREAMED:
        client.async_stream_infer(**request)
    found = [answers.get(timeout=PATIENCE) for _ in range(8)]
    client.stop_stream()
    return found


async def astream(client: Any) -> list[Any]:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for request in STREAMED:
            yield request

    return [streamed(result, error) async for result, error in client.stream_infer(requests())]


async def look(module: Any, address: str, *, is_last: bool) -> dict[str, Any]:
    client = module.InferenceServerClient(address)

    async def failure(call: Any, *args: Any, **kwargs: Any) -> list[str]:
        try:
            await wait(call(*args, **kwargs))
        except InferenceServerException as error:
            return [str(error.status()).removeprefix("StatusCode."), error.message()]
        return []

    async def infer(alias: str, *inputs: Any, **kwargs: Any) -> Any:
        return await wait(client.infer(alias, list(inputs), **kwargs))

    async def y(**kwargs: Any) -> Any:
        return (await infer("mlp", tensor("x", X), **kwargs)).as_numpy("y").tolist()

    model = await wait(client.get_model_metadata("mlp", as_json=True))
    (version,) = model["versions"]
    found: dict[str, Any] = {
        "live": await wait(client.is_server_live()),
        "ready": await wait(client.is_server_ready()),
        "server": await wait(client.get_server_metadata(as_json=True)),
        "model": model,
        "load": await failure(client.load_model, "mlp", headers=STAFF),
        "model ready": await wait(client.is_model_ready("mlp")),
        "unknown ready": await wait(client.is_model_ready("nope")),
        "y": [
            await y(),
            await y(outputs=[plain.InferRequestedOutput("y")]),
            await y(priority=1, timeout=5_000_000),
            await y(model_version=version),
            await y(headers=GUEST),
            await y(compression_algorithm="gzip"),
            await y(client_timeout=PATIENCE),
        ],
    }
    found["id"] = (await infer("mlp", tensor("x", X), request_id="seven")).get_response().id
    said = await infer("words", tensor("text", texts("hello", "grüß")))
    found["texts"] = [value.decode() for value in said.as_numpy("same").tolist()]
    said = await infer("upper", tensor("text", texts("hello")))
    found["items"] = [value.decode() for value in said.as_numpy("results").tolist()]
    index = await wait(client.get_model_repository_index(as_json=True))
    found["index"] = {entry["name"]: entry["state"] for entry in index["models"]}
    counts = await wait(client.get_inference_statistics("mlp", as_json=True))
    found["statistics"] = counts["model_stats"][0]
    found["stream"] = stream(client) if module is plain else await astream(client)
    x = tensor("x", X)
    found["errors"] = {
        "model": await failure(client.infer, "nope", [x]),
        "version": await failure(client.infer, "mlp", [x], model_version="17"),
        "input": await failure(client.infer, "mlp", [tensor("z", X)]),
        "shape": await failure(client.infer, "mlp", [tensor("x", X[:, :3].copy())]),
        "output": await failure(
            client.infer, "mlp", [x], outputs=[plain.InferRequestedOutput("z")]
        ),
        "metadata": await failure(client.get_model_metadata, "nope"),
        "load": await failure(client.load_model, "mlp"),
        "unload": await failure(client.unload_model, "mlp", headers=GUEST),
        "token": await failure(client.infer, "mlp", [x], headers=UNKNOWN),
        "config": await failure(client.load_model, "mlp", headers=STAFF, config="{}"),
        "not there": await failure(client.get_model_config, "mlp"),
        "shared memory": await failure(client.get_system_shared_memory_status),
        "late": await failure(
            client.infer,
            "slow",
            [tensor("items", texts('{"seconds": 0.5, "value": 1}'))],
            client_timeout=0.1,
        ),
        "late there": await failure(
            client.infer,
            "slow",
            [tensor("items", texts('{"seconds": 0.5, "value": 1}'))],
            timeout=100_000,
        ),
    }
    if is_last:
        found["unload"] = await failure(client.unload_model, "mlp", headers=STAFF)
        found["unloaded ready"] = await wait(client.is_model_ready("mlp"))
        found["y"].append(await y())
    await wait(client.close())
    return found


async def main(address: str) -> None:
    found = [await look(module, address, is_last=module is aio) for module in (plain, aio)]
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
