"""KServe's gRPC client, as it comes: `python kserve_grpc.py HOST:PORT`.

Runs in an environment of its own. Prints as JSON what it found.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

X = np.arange(16, dtype=np.float32).reshape(2, 8)


def request(model: str = "mlp", *, typed: bool = False, **parameters: Any) -> InferRequest:
    x = InferInput("x", list(X.shape), "FP32", data=X.ravel().tolist() if typed else None)
    if not typed:
        x.set_data_from_numpy(X, binary_data=True)
    return InferRequest(model, [x], request_id="seven", parameters=parameters or None)


async def main(address: str) -> None:
    client = InferenceGRPCClient(address)

    async def infer(**kwargs: Any) -> Any:
        answer = await client.infer(request(**kwargs))
        (y,) = answer.outputs
        return [answer.id, answer.model_name, y.name, y.as_numpy().tolist()]

    words = InferInput("text", [2], "BYTES", data=["hello", "grüß"])
    said = await client.infer(InferRequest("words", [words]))
    found: dict[str, Any] = {
        "live": await client.is_server_live(),
        "ready": await client.is_server_ready(),
        "model ready": await client.is_model_ready("mlp"),
        "unknown ready": await client.is_model_ready("nope"),
        "answers": [
            await infer(),
            await infer(typed=True),
            await infer(typed=True, binary_data_output=True),
        ],
        "texts": [
            value.decode() if isinstance(value, bytes) else value
            for value in said.outputs[0].as_numpy().tolist()
        ],
        "errors": {},
    }
    for name, call in (
        ("model", client.infer(request("nope"))),
        ("token", client.infer(request(), headers=[("authorization", "Bearer x")])),
    ):
        try:
            await call
        except grpc.aio.AioRpcError as error:
            found["errors"][name] = [error.code().name, error.details()]
    await client.close()
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
