"""What is the same for every backend, seen through those that run here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest

from django_inference import InvalidPredictor
from django_inference.exceptions import InvalidInput, PredictionTimeout
from tests.backends.conftest import DUMMY, LOCAL, Declare
from tests.sample_runtimes import nap

ARRAYS = "tests.sample_runtimes.Arrays"
HOST = "django_inference.backends.host.HostBackend"


class Frozen(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@pytest.mark.parametrize("backend", [DUMMY, LOCAL, HOST])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeouts": 3}, ["timeouts", "'timeout'"]),
        ({"timeout": "3"}, ["timeout", "3"]),
        ({"timeout": 0}, ["timeout"]),
        ({"max_batch_size": 0}, ["max_batch_size"]),
        ({"max_batch_delay": -1.0}, ["max_batch_delay"]),
        ({"preload": 1}, ["preload"]),
    ],
)
def test_options_that_make_no_sense_are_refused_with_the_alias(
    declare: Declare, backend: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InvalidPredictor) as caught:
        declare(BACKEND=backend, RUNTIME="callable", OPTIONS=options)
    said = str(caught.value)
    assert "'default'" in said
    assert all(word in said for word in words), said


def test_what_only_one_backend_takes_is_unknown_to_the_others(declare: Declare) -> None:
    with pytest.raises(InvalidPredictor, match="replicas"):
        declare(RUNTIME="callable", OPTIONS={"replicas": 2})
    with pytest.raises(InvalidPredictor, match="replicas"):
        declare(RUNTIME="callable", BACKEND=HOST, OPTIONS={"replicas": 0})


@pytest.mark.parametrize("inputs", [Frozen(x=[[1, 2, 3, 4]]), MappingProxyType({"x": [[1] * 4]})])
def test_any_mapping_is_named_tensors(declare: Declare, inputs: Any) -> None:
    answer = declare(RUNTIME=ARRAYS).predict(inputs)
    assert np.array_equal(answer["y"], 2 * np.array(inputs["x"]))


def test_one_array_is_the_only_input(declare: Declare) -> None:
    predictor = declare(RUNTIME=ARRAYS)
    assert predictor.predict(np.ones((2, 4)))["y"].shape == (2, 4)


def test_lists_and_tuples_are_items(declare: Declare) -> None:
    predictor = declare(hooks={})
    assert predictor.predict([1, "a"]) == [1, "a"]
    assert predictor.predict((1, "a")) == [1, "a"]
    assert predictor.predict([]) == []
    assert predictor.predict_one([1, 2]) == [1, 2]
    assert predictor.predict_one({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("inputs", ["text", b"bytes", 3, None, {1, 2}, iter([1]), object()])
def test_what_is_neither_tensors_nor_items_is_refused(declare: Declare, inputs: Any) -> None:
    with pytest.raises(InvalidInput, match=r"predict_one\(\)") as caught:
        declare(hooks={}).predict(inputs)
    assert type(inputs).__name__ in str(caught.value)
    assert caught.value.alias == "default"


async def test_the_async_twins_say_the_same(declare: Declare) -> None:
    predictor = declare(hooks={"predict": lambda items: [item * 2 for item in items]})
    assert await predictor.apredict([1, 2]) == [2, 4]
    assert await predictor.apredict_one(3) == 6
    with pytest.raises(InvalidInput, match=r"predict_one\(\)"):
        await predictor.apredict("text")
    await predictor.apreload(wait=True)
    there, here = await predictor.astatus(), predictor.status()
    # The memory of a process changes from one look to the next; nothing else does.
    assert [msgspec.structs.replace(replica, memory=0) for replica in there.replicas] == [
        msgspec.structs.replace(replica, memory=0) for replica in here.replicas
    ]
    assert (there.state, there.version, there.backend) == (here.state, here.version, here.backend)
    assert await predictor.asignature() == predictor.signature
    await predictor.areload()
    await predictor.aunload()


def test_the_timeout_is_the_options_unless_the_call_says_otherwise(declare: Declare) -> None:
    predictor = declare(
        hooks={"predict": nap},
        OPTIONS={"timeout": 0.1},
    )
    predictor.preload(wait=True, timeout=10)
    began = time.monotonic()
    with pytest.raises(PredictionTimeout):
        predictor.predict_one(0.3)
    assert time.monotonic() - began < 0.29
    assert predictor.predict_one(0.3, timeout=10) is None


@pytest.mark.parametrize("timeout", [float("inf"), 1e18])
async def test_a_call_may_wait_for_ever(declare: Declare, timeout: float) -> None:
    predictor = declare(hooks={}, OPTIONS={"timeout": timeout})
    assert predictor.predict_one(1) == await predictor.apredict_one(1) == 1
    assert predictor.predict_one(1, timeout=timeout) == 1
    predictor.preload(wait=True, timeout=timeout)


async def test_the_timeout_of_an_awaited_call(declare: Declare) -> None:
    predictor = declare(
        hooks={"predict": nap},
        OPTIONS={"timeout": 10},
    )
    await predictor.apreload(wait=True)
    with pytest.raises(PredictionTimeout):
        await predictor.apredict_one(0.3, timeout=0.05)
    assert await predictor.apredict([0.0]) == [None]


@pytest.mark.parametrize("timeout", [1e7, 1e12, float("inf")])
def test_a_timeout_may_be_longer_than_the_system_can_count(
    declare: Declare, timeout: float
) -> None:
    predictor = declare(BACKEND=LOCAL, RUNTIME="tests.sample_runtimes.nap")
    assert predictor.predict_one(0.0, timeout=timeout) is None
