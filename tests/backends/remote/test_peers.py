"""Against a real Triton and a real MLServer, by both wires."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from django.core.cache import caches

from django_inference import InvalidInput, RemoteError
from django_inference.specs import State
from tests.backends.remote.conftest import Remote
from tests.peers.running import Peer, Triton

pytestmark = pytest.mark.servers

X = np.arange(6, dtype=np.float32).reshape(2, 3)

NUMBERS = {
    "bool": "bool",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "fp16": "float16",
    "fp32": "float32",
    "fp64": "float64",
}


@pytest.fixture(params=["triton", "mlserver"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["rest", "grpc"])
def url(peer: Peer, request: pytest.FixtureRequest) -> str:
    found: str = getattr(peer, request.param)
    return found


def extremes(dtype: str) -> Any:
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.array([[True, False]])
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    return np.array([[limits.min, limits.max]], dtype=kind)


async def test_named_tensors_items_and_map(url: str, remote: Remote) -> None:
    predictor = remote(url, max_batch_size=8)
    assert np.array_equal(predictor.predict({"x": X})["y"], X * 2)
    assert np.array_equal((await predictor.apredict(X))["y"], X * 2)
    assert np.array_equal(predictor.predict_one(X[0])["y"], X[0] * 2)
    items = [np.full(1 + place % 2, place, np.float32) for place in range(20)]
    for answers in (predictor.predict(items), [*predictor.map(items)]):
        assert [answer["y"].tolist() for answer in answers] == [
            (2 * item).tolist() for item in items
        ]
    # More rows than the server takes at once, so they are cut.
    rows = np.arange(20, dtype=np.float32)[:, None]
    assert np.array_equal(predictor.predict(rows)["y"], rows * 2)
    status = predictor.status()
    assert status.state is State.READY
    assert status.endpoints[0].healthy
    assert predictor.signature is not None
    assert str(predictor.signature.inputs[0]) == "x float32 [-1, -1]"


def test_what_a_server_sends_is_the_callers_own(url: str, remote: Remote) -> None:
    answer = remote(url).predict(X)["y"]
    answer += 1
    assert np.array_equal(answer, X * 2 + 1)


async def test_many_tasks_at_once(url: str, remote: Remote) -> None:
    predictor = remote(url)
    answers = await asyncio.gather(*(predictor.apredict(X + place) for place in range(20)))
    for place, answer in enumerate(answers):
        assert np.array_equal(answer["y"], (X + place) * 2)


def test_event_loops_that_come_and_go(url: str, remote: Remote) -> None:
    predictor = remote(url)
    for _ in range(3):
        assert np.array_equal(asyncio.run(predictor.apredict(X))["y"], X * 2)


@pytest.mark.parametrize("binary", [None, False], ids=["as-the-server-can", "json"])
def test_every_datatype(url: str, peer: Peer, remote: Remote, binary: bool | None) -> None:
    predictor = remote(url, model="kinds", binary=binary)
    texts = np.array([["ä", "text"]], dtype=object)
    inputs = {name: extremes(dtype) for name, dtype in NUMBERS.items()}
    if peer.rest == url and isinstance(peer, Triton) and binary is False:
        with pytest.raises(InvalidInput, match="FP16 data via JSON is not supported"):
            predictor.predict({**inputs, "bytes": texts})
        return
    answer = predictor.predict({**inputs, "bytes": texts})
    for name, sent in inputs.items():
        assert answer[f"{name}_out"].dtype == sent.dtype
        assert np.array_equal(answer[f"{name}_out"], sent)
    assert [text.decode() for text in answer["bytes_out"].ravel()] == ["ä", "text"]


def test_a_model_that_takes_no_batches(triton: Peer, remote: Remote) -> None:
    for url in (triton.rest, triton.grpc):
        predictor = remote(url, model="whole")
        assert predictor.predict({"x": [1, 2, 3]})["total"].tolist() == [6]
        assert predictor.predict_one([1, 2, 3])["total"].tolist() == [6]
        answers = predictor.predict([[1, 2, 3], {"x": [4, 5, 6]}])
        assert [answer["total"].tolist() for answer in answers] == [[6], [15]]


async def test_a_stream(triton: Peer, remote: Remote) -> None:
    predictor = remote(triton.grpc, model="count")
    assert [chunk["y"].item() for chunk in predictor.stream([3.0])] == [0, 1, 2]
    assert [chunk["y"].item() async for chunk in predictor.astream([2.0])] == [0, 1]
    assert [*predictor.stream([0.0])] == []


def test_a_model_that_raises(url: str, remote: Remote) -> None:
    with pytest.raises(RemoteError, match="does not like this") as raised:
        remote(url).predict(-X - 1)
    assert raised.value.alias == "default"
    assert "127.0.0.1" not in raised.value.for_client()


def test_an_unknown_model(url: str, remote: Remote) -> None:
    with pytest.raises(RemoteError, match="has no model 'nope'") as raised:
        remote(url, model="nope").predict(X)
    assert url in str(raised.value)
    assert "'default'" in str(raised.value)


def test_inputs_that_do_not_fit_are_refused_before_they_are_sent(url: str, remote: Remote) -> None:
    predictor = remote(url)
    predictor.predict(X)
    sent = predictor.status().endpoints[0].requests
    with pytest.raises(InvalidInput, match="the inputs are x float32"):
        predictor.predict({"z": X})
    with pytest.raises(InvalidInput, match="item 1: "):
        predictor.predict([X[0], "text"])
    assert predictor.status().endpoints[0].requests == sent


def test_what_the_server_refuses_is_the_callers_mistake(triton: Peer, remote: Remote) -> None:
    for url in (triton.rest, triton.grpc):
        with pytest.raises(InvalidInput, match="batch-size must be <= 8") as raised:
            remote(url).predict(np.zeros((20, 1), np.float32))
        # A client of the site is told this message.
        assert "127.0.0.1" not in raised.value.message


def test_only_the_outputs_that_are_wanted(triton: Peer, remote: Remote) -> None:
    inputs = {name: extremes(dtype) for name, dtype in NUMBERS.items()}
    inputs["bytes"] = np.array([[b"\\xff", b""]], dtype=object)
    for url in (triton.rest, triton.grpc):
        predictor = remote(url, model="kinds", outputs=["bytes_out"])
        answer = predictor.predict(inputs)
        assert answer.keys() == {"bytes_out"}
        assert answer["bytes_out"].tolist() == inputs["bytes"].tolist()


def test_answers_are_kept_under_the_version_of_the_server(triton: Peer, remote: Remote) -> None:
    for url in (triton.rest, triton.grpc):
        predictor = remote(url, cache="default", cache_timeout=60)
        caches["default"].clear()
        for _ in range(3):
            assert np.array_equal(predictor.predict(X)["y"], X * 2)
        counts = predictor.status().cache
        assert counts is not None
        assert (counts.hits, counts.misses) == (2, 1)


def test_reload_and_unload_are_orders_to_the_server(mlserver: Peer, remote: Remote) -> None:
    for url in (mlserver.rest, mlserver.grpc):
        predictor = remote(url)
        predictor.unload()
        with pytest.raises(RemoteError, match="has no model 'double'"):
            predictor.predict(X)
        predictor.reload()
        assert np.array_equal(predictor.predict(X)["y"], X * 2)
