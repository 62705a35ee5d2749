"""Clients of other projects, as they are, against the protocol at the root and at a prefix."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.model import answer
from tests.servers.running import ROOT, Site
from tests.servers.web import PATIENCE

CLIENTS = ROOT / ".peers/clients/bin/python"

pytestmark = pytest.mark.skipif(
    not CLIENTS.exists(), reason="the clients are not there; `make peers` installs them"
)

X = [[float(8 * row + column) for column in range(8)] for row in range(2)]
Y = answer({"x": X})["y"]
#: Where a Django site serves the protocol, by WSGI and by ASGI, and where nothing else does.
SERVED = (
    ("gunicorn gthread", ""),
    ("gunicorn gthread", "/some/prefix"),
    ("uvicorn", ""),
    ("granian alone", ""),
)


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    """Of servers that share one host: `HOST:PORT/PREFIX`."""
    site = Site("mlp", "upper", SITE_OPEN_INFERENCE="1")
    try:
        servers = {name: site.serve(name) for name, _ in SERVED}
        for server in servers.values():
            server.wait_listening("/v2/health/live")
        for alias in ("mlp", "upper"):
            # Waits for its load.
            server.client.get(f"/v2/models/{alias}").raise_for_status()
        yield [f"127.0.0.1:{servers[name].port}{prefix}" for name, prefix in SERVED]
    finally:
        wrong = site.end()
    assert not wrong, "\n".join(wrong)


def found_by(script: str, addresses: list[str]) -> list[Any]:
    """What a client says of each address."""
    done = subprocess.run(
        [CLIENTS, Path(ROOT, "tests/peers", script), *addresses],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_tritonclient(addresses: list[str]) -> None:
    everywhere = found_by("triton_http.py", addresses)
    assert len(everywhere) == 2 * len(addresses)
    orders = [found for found in everywhere if "load" in found]
    assert [everywhere.index(found) for found in orders] == [0, len(everywhere) - 1]
    for found in orders:
        assert found["load"] == found["unload"] == []
        assert found["unloaded ready"] is False
    for found in everywhere:
        assert found["live"] is True and found["ready"] is True
        assert found["server"]["name"] == "django-inference"
        assert "binary_tensor_data" in found["server"]["extensions"]
        assert found["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}]
        assert found["model"]["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]
        assert found["model"]["platform"] == "onnx"
        assert found["model ready"] is True and found["no model ready"] is False
        assert found["y"] == [Y] * len(found["y"]) and len(found["y"]) == 10
        assert found["id"] == "seven"
        assert found["index"] == {"mlp": "READY", "upper": "READY"}
        assert found["texts"] == [["HELLO", "GRÜSS"]] * 2
        errors = found["errors"]
        said = {what: status for what, (status, _) in errors.items() if what != "load"}
        assert said == {
            "model": "404",
            "version": "404",
            "input": "400",
            "shape": "400",
            "output": "400",
            "metadata": "404",
            "unload": "403",
            "token": "401",
            "config": "400",
        }
        assert errors["load"][0] in ("401", "403")
        assert "'z'" in errors["output"][1] and "float32 [-1, 8]" in errors["shape"][1]


def test_the_sdk_of_kserve(addresses: list[str]) -> None:
    for found in found_by("kserve_rest.py", addresses):
        assert found["live"] is found["ready"] is found["model ready"] is True
        assert found["no model ready"] is False
        assert found["answers"] == [["seven", "mlp", "y", Y]] * 3
        assert found["error"][0] == 404 and "'nope'" in found["error"][1]


def test_the_client_generated_from_the_protocol(addresses: list[str]) -> None:
    for found in found_by("generated_rest.py", addresses):
        assert found["server"] == "django-inference"
        assert found["model"]["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]
        for given in found["answers"]:
            assert given["model_name"] == "mlp" and given["id"] == "seven"
            (y,) = given["outputs"]
            assert (y["name"], y["datatype"], y["shape"]) == ("y", "FP32", [2, 4])
            assert y["data"] == [value for row in Y for value in row]
        assert "'z'" in found["unknown output"] and "'nope'" in found["unknown model"]
