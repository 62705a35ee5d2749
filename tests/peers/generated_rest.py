"""The client that is generated from the protocol's OpenAPI document, as it comes.

`python generated_rest.py HOST:PORT[/PREFIX] …`. Runs in an environment of its own.
Prints as JSON what it found at each address.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput, TensorData

X = np.arange(16, dtype=np.float32).reshape(2, 8)


def request(output: str = "y") -> InferenceRequest:
    x = RequestInput(
        name="x", shape=list(X.shape), datatype="FP32", data=TensorData.parse_obj(X.tolist())
    )
    return InferenceRequest(id="seven", inputs=[x], outputs=[RequestOutput(name=output)])


def look(address: str) -> dict[str, Any]:
    client = OpenInferenceClient(base_url=f"http://{address}")
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("mlp")
    model = client.read_model_metadata("mlp")
    (version,) = model.versions or []
    client.check_model_version_readiness("mlp", version)
    answer = client.model_version_infer("mlp", version, request=request())
    found = {
        "server": client.read_server_metadata().name,
        "model": json.loads(model.json()),
        "answers": [
            json.loads(answer.json()),
            json.loads(client.model_infer("mlp", request=request()).json()),
        ],
    }
    try:
        client.model_infer("mlp", request=request("z"))
    except BadRequestError as error:
        found["unknown output"] = str(error)
    try:
        client.check_model_readiness("nope")
    except NotFoundError as error:
        found["unknown model"] = str(error)
    return found


if __name__ == "__main__":
    print(json.dumps([look(address) for address in sys.argv[1:]]))
