"""This project as the server of itself: both protocols, both wires, certificates and keys."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from django_inference import InvalidInput, RemoteError
from django_inference.handle import Predictor
from tests.backends.remote.conftest import OPEN_INFERENCE, Remote
from tests.hosts import PATIENCE, eventually
from tests.peers import certificates
from tests.peers.our_settings import KEY
from tests.peers.running import ROOT

pytestmark = pytest.mark.servers

TENSORFLOW = "django_inference.backends.tensorflow_serving.TensorFlowServingBackend"
X = np.arange(6, dtype=np.float32).reshape(2, 3)
LABELS = np.array(["ä", ""], dtype=object)


class Server(NamedTuple):
    """A running server, and what its clients need."""

    urls: dict[str, str]
    folder: Path

    def options(self, **others: Any) -> dict[str, Any]:
        """Of a backend that may call it."""
        return {
            "model": "labelled",
            "token": KEY,
            "tls_ca": str(self.folder / "ca.pem"),
            "tls_certificate": str(self.folder / "client.pem"),
            "tls_key": str(self.folder / "client.key"),
            **others,
        }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    certificates.write(folder)
    output = folder / "log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "django", "inference_serve"),
                *("--settings", "tests.peers.our_settings", "--pythonpath", str(ROOT)),
                *("--grpc", "127.0.0.1:0", "--rest", "127.0.0.1:0"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "OUR_CERTIFICATES": str(folder)},
        )

    def listening() -> dict[str, str]:
        assert process.poll() is None, output.read_text()
        ports = dict(re.findall(r"^(gRPC|REST) listens at .*:(\d+)$", output.read_text(), re.M))
        if ports.keys() != {"gRPC", "REST"}:
            return {}
        return {
            "rest": f"https://127.0.0.1:{ports['REST']}",
            "grpc": f"grpcs://127.0.0.1:{ports['gRPC']}",
        }

    try:
        yield Server(eventually(listening), folder)
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(params=[OPEN_INFERENCE, TENSORFLOW], ids=["open-inference", "tensorflow-serving"])
def backend(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(params=["rest", "grpc"])
def url(server: Server, request: pytest.FixtureRequest) -> str:
    return server.urls[request.param]


@pytest.fixture
def predictor(server: Server, url: str, backend: str, remote: Remote) -> Predictor:
    return remote(url, backend=backend, **server.options())


def said(outputs: Any) -> list[str]:
    return [text.decode() for text in np.ravel(outputs["text"])]


async def test_tensors_and_items(predictor: Predictor) -> None:
    inputs = {"x": X, "label": LABELS}
    for answer in (predictor.predict(inputs), await predictor.apredict(inputs)):
        assert answer["y"].dtype == np.float32
        assert np.array_equal(answer["y"], X * 2)
        assert said(answer) == ["ä!", "!"]
    rows = [{"x": row, "label": label} for row, label in zip(X, LABELS, strict=True)]
    answers = predictor.predict(rows)
    assert [answer["y"].tolist() for answer in answers] == (X * 2).tolist()
    assert predictor.signature is not None
    assert {spec.name: spec.shape for spec in predictor.signature.inputs} == {
        "x": (-1, -1),
        "label": (-1,),
    }


async def test_a_model_that_takes_items(server: Server, url: str, remote: Remote) -> None:
    predictor = remote(url, **server.options(model="words", max_batch_size=2))
    items = ["ä", b"\xff", {"a": [1, 2.5, None]}, np.array([1, 2], np.uint8)]
    expected = [
        {"type": "str", "item": "ä"},
        {"type": "bytes", "item": b"\xff"},
        {"type": "dict", "item": {"a": [1, 2.5, None]}},
        {"type": "ndarray", "item": [1, 2]},
    ]
    assert predictor.predict(items) == expected
    assert await predictor.apredict(items) == expected
    assert predictor.predict_one("ä") == expected[0]
    assert [*predictor.map(items)] == expected
    answer = predictor.predict({"text": ["a", "b"]})
    assert len(answer["results"]) == 2
    with pytest.raises(InvalidInput, match="takes a list of items"):
        predictor.predict({"x": X})
    with pytest.raises(InvalidInput, match="item 1 cannot be sent"):
        predictor.predict(["a", object()])


async def test_a_stream(server: Server, remote: Remote) -> None:
    predictor = remote(*server.urls.values(), **server.options(model="words"))
    assert [*predictor.stream("to be or")] == ["to", "be", "or"]
    assert [word async for word in predictor.astream("not to be")] == ["not", "to", "be"]
    left = predictor.stream("to be")
    assert next(left) == "to"
    left.close()
    with pytest.raises(RemoteError, match="the stream was cut"):
        [*predictor.stream("to fail")]
    by_http = remote(server.urls["rest"], **server.options(model="words"))
    with pytest.raises(InvalidInput, match="over gRPC only"):
        next(by_http.stream("to be"))


def test_not_a_number(predictor: Predictor, url: str, backend: str) -> None:
    x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    answer = predictor.predict({"x": x, "label": LABELS[:1]})
    assert np.array_equal(answer["y"], x, equal_nan=True)


def test_what_is_wanted(server: Server, url: str, backend: str, remote: Remote) -> None:
    predictor = remote(url, backend=backend, **server.options(outputs=["y"]))
    assert predictor.predict({"x": X, "label": LABELS}).keys() == {"y"}


def test_a_wrong_input(predictor: Predictor) -> None:
    with pytest.raises(InvalidInput, match="the inputs are"):
        predictor.predict({"z": X})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": "no-key-that-anybody-has-given-out"}, "refuses the credentials"),
        ({"token": None, "token_from": "tests.peers.our_settings.nobody"}, "gave no token"),
        ({"tls_ca": None}, "does not answer"),
        ({"tls_ca": "/nowhere/ca.pem"}, "cannot be used"),
    ],
    ids=["token", "function", "authority", "no-file"],
)
def test_wrong_credentials(
    server: Server, url: str, remote: Remote, wrong: dict[str, Any], said: str
) -> None:
    predictor = remote(url, **server.options(**wrong, breaker_failures=1))
    with pytest.raises(RemoteError, match=said) as raised:
        predictor.predict({"x": X, "label": LABELS}, timeout=5.0)
    assert KEY not in str(raised.value)


def test_a_token_from_a_function(server: Server, url: str, remote: Remote) -> None:
    options = server.options(token=None, token_from="tests.peers.our_settings.token")
    assert said(remote(url, **options).predict({"x": X, "label": LABELS})) == ["ä!", "!"]


def test_too_long(server: Server, url: str, backend: str, remote: Remote) -> None:
    inputs = {"x": np.zeros((1, 100_000), np.float32), "label": LABELS[:1]}
    with pytest.raises(InvalidInput, match="larger than max|max_request_bytes"):
        remote(url, backend=backend, **server.options(max_request_bytes=1000)).predict(inputs)
    with pytest.raises(RemoteError, match="larger than max|max_response_bytes"):
        remote(url, backend=backend, **server.options(max_response_bytes=5000)).predict(inputs)
