"""KServe's REST client, as it comes: `python kserve_rest.py HOST:PORT[/PREFIX] …`.

Runs in an environment of its own. Prints as JSON what it found at each address.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

X = np.arange(16, dtype=np.float32).reshape(2, 8)


def request(*, binary: bool, **parameters: Any) -> InferRequest:
    x = InferInput("x", list(X.shape), "FP32")
    x.set_data_from_numpy(X, binary_data=binary)
    return InferRequest("mlp", [x], request_id="seven", parameters=parameters or None)


async def look(address: str) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    url = f"http://{address}"

    async def infer(**kwargs: Any) -> Any:
        answer = await client.infer(url, request(**kwargs), "mlp")
        (y,) = answer.outputs
        return [answer.id, answer.model_name, y.name, y.as_numpy().tolist()]

    found: dict[str, Any] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, "mlp"),
        "no model ready": await client.is_model_ready(url, "nope"),
        "answers": [
            await infer(binary=True),
            await infer(binary=False),
            await infer(binary=True, binary_data_output=True),
        ],
    }
    try:
        await client.infer(url, request(binary=True), "nope")
    except httpx.HTTPStatusError as error:
        found["error"] = [error.response.status_code, str(error)]
    await client.close()
    return found


async def main(addresses: list[str]) -> None:
    print(json.dumps([await look(address) for address in addresses]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
