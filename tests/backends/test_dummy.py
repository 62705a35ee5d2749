from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from django_inference.backends.dummy import Call, DummyBackend
from django_inference.exceptions import ModelNotReady
from django_inference.specs import State
from django_inference.tensors import Signature, TensorSpec
from tests.backends.conftest import DUMMY, Declare


def dummy(predictor: Any) -> DummyBackend:
    return cast(DummyBackend, predictor.backend)


def test_it_answers_what_the_options_say(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY, OPTIONS={"result": {"label": "cat"}})
    assert predictor.predict_one("photo") == {"label": "cat"}
    assert predictor.predict(["photo"]) == {"label": "cat"}
    assert declare(BACKEND=DUMMY).predict_one(1) is None


async def test_it_answers_what_it_was_told(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY)
    dummy(predictor).returns("a cat")
    assert predictor.predict_one(1) == await predictor.apredict_one(1) == "a cat"
    dummy(predictor).returns(lambda inputs: inputs * 2)
    assert predictor.predict([1]) == await predictor.apredict([1]) == [1, 1]
    dummy(predictor).returns(ModelNotReady("is not ready.", alias="default"))
    with pytest.raises(ModelNotReady):
        predictor.predict_one(1)
    with pytest.raises(ModelNotReady):
        await predictor.apredict([1])


async def test_it_remembers_what_it_was_asked(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY)
    x = np.ones(3)
    predictor.predict([1, 2])
    await predictor.apredict({"x": x})
    predictor.predict_one("a")
    await predictor.apredict_one("b")
    assert dummy(predictor).calls == [
        Call("predict", [1, 2]),
        Call("predict", {"x": x}),
        Call("predict_one", "a"),
        Call("predict_one", "b"),
    ]


def test_it_remembers_calls_that_raise(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY)
    dummy(predictor).returns(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        predictor.predict([1])
    assert dummy(predictor).calls == [Call("predict", [1])]


async def test_many_items_in_batches(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY, OPTIONS={"max_batch_size": 4})
    dummy(predictor).returns(lambda inputs: [item * 2 for item in inputs])
    assert list(predictor.map(range(10))) == [item * 2 for item in range(10)]
    assert [len(call.inputs) for call in dummy(predictor).calls] == [4, 4, 2]
    assert [item async for item in predictor.amap(range(10))] == [item * 2 for item in range(10)]


def test_it_claims_to_be_loaded(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY)
    assert predictor.status().state is State.UNLOADED
    for load in (predictor.preload, predictor.reload, lambda: predictor.predict_one(1)):
        load()
        assert predictor.status().state is State.READY
        predictor.unload()
        assert predictor.status().state is State.UNLOADED
    assert predictor.status().backend == DUMMY


def test_it_claims_the_signature_that_it_was_told(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY)
    assert predictor.signature is None
    signature = Signature((TensorSpec("x", "float32", (-1, 4)),))
    dummy(predictor).returns(None, signature=signature)
    assert predictor.signature == predictor.status().signature == signature
