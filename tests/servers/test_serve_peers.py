"""gRPC clients of other projects, as they are, against `inference_serve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.model import answer, write_words
from tests.servers.running import Site
from tests.servers.serving import CLIENTS, ModelServer, found_by

pytestmark = pytest.mark.skipif(
    not CLIENTS.exists(), reason="the clients are not there; `make peers` installs them"
)

X = [[float(8 * row + column) for column in range(8)] for row in range(2)]
Y = answer({"x": X})["y"]
ALIASES = ("mlp", "words", "upper", "counter", "slow")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    site = Site(*ALIASES)
    try:
        write_words(site.folder / "words.onnx")
        server = ModelServer(site, "--no-rest")
        for alias in ALIASES:
            site.wait_ready(alias)
        yield server
    finally:
        wrong = site.end()
    assert not wrong, "\n".join(wrong)


def test_tritonclient(server: ModelServer) -> None:
    everything = found_by("triton_grpc.py", server.grpc)
    assert len(everything) == 2
    for found in everything:
        _check_triton(found)
    # The second client does not ask for it.
    assert [found["stream"][7:] for found in everything] == [[["end", [], True]], []]
    last = everything[-1]
    assert last["unload"] == [] and last["unloaded ready"] is False
    assert [len(found["y"]) for found in everything] == [7, 8]


def _check_triton(found: dict[str, Any]) -> None:
    assert found["live"] is found["ready"] is found["model ready"] is True
    assert found["server"]["name"] == "django-inference"
    assert {"model_repository", "statistics"} <= set(found["server"]["extensions"])
    assert found["model"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "8"]}]
    assert found["model"]["outputs"] == [{"name": "y", "datatype": "FP32", "shape": ["-1", "4"]}]
    assert found["model"]["platform"] == "onnx"
    assert found["load"] == []
    assert found["y"] == [Y] * len(found["y"])
    assert found["id"] == "seven"
    assert found["texts"] == ["hello", "grüß"] and found["items"] == ['"HELLO"']
    assert found["index"] == dict.fromkeys(ALIASES, "READY")
    assert found["statistics"]["name"] == "mlp"
    assert int(found["statistics"]["inference_count"]) >= 2
    assert int(found["statistics"]["memory_usage"][0]["byte_size"]) > 2**20
    chunks = [["count", [str(number)], False] for number in range(3)]
    assert found["stream"][:3] == chunks
    assert found["stream"][3] == ["one", Y, False]
    kind, said = found["stream"][4]
    assert kind == "error" and "'nope'" in said
    assert found["stream"][5:7] == [["end", ["0"], False], ["end", ["1"], False]]
    assert {what: code for what, (code, _) in found["errors"].items()} == {
        "model": "NOT_FOUND",
        "version": "NOT_FOUND",
        "input": "INVALID_ARGUMENT",
        "shape": "INVALID_ARGUMENT",
        "output": "INVALID_ARGUMENT",
        "metadata": "NOT_FOUND",
        "load": "PERMISSION_DENIED",
        "unload": "PERMISSION_DENIED",
        "token": "UNAUTHENTICATED",
        "config": "INVALID_ARGUMENT",
        "not there": "UNIMPLEMENTED",
        "shared memory": "UNIMPLEMENTED",
        "late": "DEADLINE_EXCEEDED",
        "late there": "DEADLINE_EXCEEDED",
    }
    assert found["unknown ready"] is False
    assert "'z'" in found["errors"]["output"][1]
    assert "float32 [-1, 8]" in found["errors"]["shape"][1]


def test_the_sdk_of_kserve(server: ModelServer) -> None:
    found = found_by("kserve_grpc.py", server.grpc)
    assert found["live"] is found["ready"] is found["model ready"] is True
    assert found["answers"] == [["seven", "mlp", "y", Y]] * 3
    assert found["texts"] == ["hello", "grüß"]
    codes = {what: code for what, (code, _) in found["errors"].items()}
    assert codes == {"model": "NOT_FOUND", "token": "UNAUTHENTICATED"}
    assert found["unknown ready"] is False
