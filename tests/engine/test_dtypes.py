"""Types that numpy has from an extension only, and answers that no caller could be sent."""

from __future__ import annotations

import datetime
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.tensors import Signature, TensorSpec
from tests.engine.engines import loaded

FLOATS = [
    *("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e3m4"),
    *("float6_e2m3fn", "float4_e2m1fn"),
]
STAND_INS = dict.fromkeys(FLOATS, "float32") | {
    "int4": "int8",
    "uint4": "uint8",
    "int2": "int8",
}


def declared(dtype: str) -> Signature:
    return Signature((TensorSpec("x", dtype, (-1, 2)),), (TensorSpec("y", dtype, (-1, 2)),))


@pytest.mark.parametrize(("dtype", "stand_in"), STAND_INS.items())
def test_callers_see_a_type_of_numpys_own(dtype: str, stand_in: str) -> None:
    seen = []

    def predict(inputs: Any) -> Any:
        seen.append(inputs["x"].dtype.name)
        return {"y": inputs["x"]}

    engine = loaded("Arrays", signature=declared(dtype), predict=predict)
    assert engine.runner.signature == declared(stand_in)
    batch, items = engine.run({"x": [[1, 0], [1, 1]]}, [{"x": [1, 1]}])
    assert (batch["y"].dtype.name, batch["y"].tolist()) == (stand_in, [[1, 0], [1, 1]])
    assert (items[0]["y"].dtype.name, items[0]["y"].tolist()) == (stand_in, [1, 1])
    assert set(seen) == {dtype}


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *(("int4", 8), ("int4", -9), ("uint4", -1), ("uint4", 16), ("float8_e4m3fn", 1e4)),
        *(("float8_e5m2", 1e6), ("float4_e2m1fn", 7.0), ("float4_e2m1fn", float("nan"))),
    ],
)
def test_a_number_that_such_a_type_lacks_is_refused(dtype: str, value: float) -> None:
    engine = loaded("Arrays", signature=declared(dtype), predict=lambda inputs: {"y": inputs["x"]})
    good, bad = engine.run({"x": [[1, 1]]}, {"x": [[1, value]]})
    assert good["y"].tolist() == [[1, 1]]
    assert isinstance(bad, InvalidInput)
    assert "range" in bad.message or "from 0 to 255" in bad.message


def test_a_type_that_nobody_knows_fails_the_load() -> None:
    with pytest.raises(ValueError, match="y qint9"):
        loaded(
            "Arrays",
            signature=Signature(declared("float32").inputs, (TensorSpec("y", "qint9", (-1,)),)),
        )


@pytest.mark.parametrize(
    ("output", "plain"),
    [
        (np.ones((1, 2), ml_dtypes.bfloat16), np.float32),
        (np.ones((1, 2), ml_dtypes.float8_e5m2), np.float32),
        (np.ones((1, 2), ml_dtypes.uint4), np.uint8),
        (torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True), np.float32),
        (np.ma.array(np.ones((1, 2))), np.float64),
    ],
)
def test_outputs_of_every_type_become_plain_arrays(output: Any, plain: Any) -> None:
    engine = loaded("Arrays", predict=lambda inputs: {"y": output})
    (answer,) = engine.run({"x": [[1, 2, 3, 4]]})
    assert type(answer["y"]) is np.ndarray
    assert (answer["y"].dtype, answer["y"].tolist()) == (plain, [[1, 1]])


UNSENDABLE = [object(), {1, object()}, 1j, 2**70, "\ud800", np.zeros(1, "i4, f4")]


@pytest.mark.parametrize("answer", UNSENDABLE)
def test_a_model_whose_example_has_no_answer_that_can_be_sent_fails_to_load(answer: Any) -> None:
    with pytest.raises(PredictionFailed, match="cannot be sent"):
        loaded("Items", predict=lambda items: [answer for _ in items], warmup=lambda: 1)
    with pytest.raises((PredictionFailed, TypeError), match="cannot be sent"):
        loaded("Arrays", predict=lambda inputs: {"y": [answer] * len(inputs["x"])})


def test_what_can_be_sent_loads() -> None:
    answers = [{1}, datetime.date(2024, 1, 1), ml_dtypes.bfloat16(1), np.array([None, "a"]), None]
    for answer in answers:
        loaded("Items", predict=lambda items, answer=answer: [answer], warmup=lambda: 1)
