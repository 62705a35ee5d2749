"""tritonclient over HTTP, as it comes: `python triton_http.py HOST:PORT[/PREFIX] …`.

Runs in an environment of its own. Prints as JSON what it found at each address, first with
the synchronous client and then with the other. The first of them at the first address, and
the other at the last, load and unload a model as well.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as plain
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

STAFF, GUEST, UNKNOWN = ({"Authorization": f"Bearer {key}"} for key in ("staff", "guest", "x"))
X = np.arange(16, dtype=np.float32).reshape(2, 8)


async def wait(value: Any) -> Any:
    """Whichever client it is."""
    return await value if inspect.isawaitable(value) else value


def tensor(name: str, array: Any, *, binary: bool) -> Any:
    datatype = "BYTES" if array.dtype.kind == "O" else "FP32"
    found = plain.InferInput(name, list(array.shape), datatype)
    found.set_data_from_numpy(array, binary_data=binary)
    return found


async def look(client: Any, *, may_order: bool) -> dict[str, Any]:
    async def failure(call: Any, *args: Any, **kwargs: Any) -> list[str]:
        try:
            await wait(call(*args, **kwargs))
        except InferenceServerException as error:
            return [str(error.status()), error.message()]
        return []

    async def y(**kwargs: Any) -> Any:
        return (await wait(client.infer("mlp", **kwargs))).as_numpy("y").tolist()

    blobs, lists = tensor("x", X, binary=True), tensor("x", X, binary=False)
    texts = np.array(["hello", "grüß"], dtype=object)
    wanted = plain.InferRequestedOutput("y", binary_data=True)
    as_list = plain.InferRequestedOutput("y", binary_data=False)
    found: dict[str, Any] = {}
    found["live"] = await wait(client.is_server_live())
    found["ready"] = await wait(client.is_server_ready())
    found["server"] = await wait(client.get_server_metadata())
    found["model"] = await wait(client.get_model_metadata("mlp"))
    if may_order:
        found["load"] = await failure(client.load_model, "mlp", headers=STAFF)
    found["model ready"] = await wait(client.is_model_ready("mlp"))
    found["no model ready"] = await wait(client.is_model_ready("nope"))
    found["y"] = [
        await y(inputs=[blobs]),
        await y(inputs=[lists]),
        await y(inputs=[blobs], outputs=[wanted]),
        await y(inputs=[blobs], outputs=[as_list]),
        await y(inputs=[lists], outputs=[as_list], priority=1, timeout=5_000_000),
        await y(inputs=[blobs], request_compression_algorithm="gzip"),
        await y(inputs=[lists], request_compression_algorithm="deflate"),
        await y(inputs=[blobs], response_compression_algorithm="gzip"),
    ]
    answered = await wait(client.infer("mlp", [blobs], request_id="seven"))
    found["id"] = answered.get_response()["id"]
    index = await wait(client.get_model_repository_index())
    found["index"] = {model["name"]: model["state"] for model in index}
    (version,) = [model["version"] for model in index if model["name"] == "mlp"]
    found["y"].append(await y(inputs=[blobs], model_version=version))
    found["texts"] = []
    for binary in (True, False):
        said = await wait(client.infer("upper", [tensor("text", texts, binary=binary)]))
        found["texts"].append([json.loads(text) for text in said.as_numpy("results").tolist()])
    found["errors"] = {
        "model": await failure(client.infer, "nope", [blobs]),
        "version": await failure(client.infer, "mlp", [blobs], model_version="17"),
        "input": await failure(client.infer, "mlp", [tensor("z", X, binary=True)]),
        "shape": await failure(client.infer, "mlp", [tensor("x", X[:, :3], binary=True)]),
        "output": await failure(
            client.infer, "mlp", [blobs], outputs=[plain.InferRequestedOutput("z")]
        ),
        "metadata": await failure(client.get_model_metadata, "nope"),
        "load": await failure(client.load_model, "mlp"),
        "unload": await failure(client.unload_model, "mlp", headers=GUEST),
        "token": await failure(client.infer, "mlp", [blobs], headers=UNKNOWN),
        "config": await failure(client.load_model, "mlp", headers=STAFF, config="{}"),
    }
    if may_order:
        found["unload"] = await failure(client.unload_model, "mlp", headers=STAFF)
        found["unloaded ready"] = await wait(client.is_model_ready("mlp"))
    found["y"].append(await y(inputs=[blobs]))
    await wait(client.close())
    return found


async def main(addresses: list[str]) -> None:
    # To load a model takes a while: each client does so once.
    orders = ((addresses[0], plain), (addresses[-1], aio))
    found = [
        await look(module.InferenceServerClient(address), may_order=(address, module) in orders)
        for address in addresses
        for module in (plain, aio)
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
