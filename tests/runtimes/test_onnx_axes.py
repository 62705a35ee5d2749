"""The batch axis of ONNX models, by the names of their dimensions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from django_inference import predictors
from django_inference.runtimes.onnx_axes import batch_axes
from tests.backends.conftest import LOCAL

VOICE = """<ir_version: 8, opset_import: ["": 17]>
g (float[n, 4] x, float[2, n, 3] state, int64 rate, float[3] scales)
=> (float[n, 4] y, float[2, n, 3] next, int64 used) <float one = {1}>
{
    r = Cast <to = 1>(rate)
    y = Mul(x, r)
    more = Mul(state, scales)
    next = Add(more, one)
    used = Identity(rate)
}"""
CUMULATED = """<ir_version: 8, opset_import: ["": 17]>
g (float[DIMS, 2] x) => (float[DIMS, 2] y) <int64 axis = {0}> { y = CumSum(x, axis) }"""


@pytest.mark.parametrize(
    ("dims", "axis"),
    [
        (["batch", 3], 0),
        ([None, 3], 0),
        (["unk__12", 3], 0),
        (["rows", 3], 0),
        (["seq", "batch", 3], 1),
        (["time", "N", 3], 1),
        (["sequence_length", 3], None),
        (["T", 3], None),
        ([], None),
        (["batch_size", "seq"], 0),
        ([4, "batch"], 0),
    ],
)
def test_names_of_dimensions(dims: list[Any], axis: int | None) -> None:
    assert batch_axes({"x": dims}, {"y": dims}) == {"x": axis, "y": axis}


def test_what_lacks_the_batch_of_another_input_belongs_to_the_call() -> None:
    inputs = {"x": ["n", 512], "state": [2, "n", 128], "rate": [], "scales": [3], "ids": [None, 2]}
    axes = batch_axes(inputs, {"y": ["unk__1", 1], "next": [2, "n", 128]})
    assert axes == {
        **{"x": 0, "state": 1, "rate": None, "scales": None, "ids": 0},
        **{"y": 0, "next": 1},
    }


def test_a_scalar_a_state_and_a_parameter_are_served(settings: Any, tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(VOICE), tmp_path / "voice.onnx")
    settings.INFERENCE = {"voice": {"MODEL": tmp_path / "voice.onnx", "BACKEND": LOCAL}}
    predictor = predictors["voice"]
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for step in range(30):
            rows, rate = 1 + step % 3, 1 + number % 2
            x = np.full((rows, 4), number, np.float32)
            state = np.full((2, rows, 3), number, np.float32)
            given = {"x": x, "state": state, "rate": rate, "scales": [1.0, 2.0, 3.0]}
            answer = predictor.predict(given)
            right = {"y": x * rate, "next": state * [1, 2, 3] + 1, "used": np.array(rate)}
            if not all(np.array_equal(answer[name], right[name]) for name in right):
                wrong.append((number, step, answer))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    (replica,) = predictor.status().replicas
    assert replica.batching in ("proven", "proven at load")
    item = predictor.predict_one(
        {"x": [1, 2, 3, 4], "state": np.zeros((2, 3)), "rate": 2, "scales": [1, 1, 1]}
    )
    assert item["y"].tolist() == [2, 4, 6, 8]
    assert item["next"].shape == (2, 3)


@pytest.mark.parametrize("dims", ["seq, batch", "N, M", "time, features"])
def test_time_on_axis_0_is_neither_cut_nor_joined(settings: Any, tmp_path: Path, dims: str) -> None:
    onnx.save(onnx.parser.parse_model(CUMULATED.replace("DIMS", dims)), tmp_path / "sum.onnx")
    settings.INFERENCE = {"sum": {"MODEL": tmp_path / "sum.onnx", "BACKEND": LOCAL}}
    predictor = predictors["sum"]
    assert predictor.predict({"x": np.ones((100, 1, 2), np.float32)})["y"][-1, 0, 0] == 100
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for step in range(30):
            x = np.full((3, 1, 2), number + step, np.float32)
            answer = predictor.predict({"x": x})["y"]
            if not np.array_equal(answer, x.cumsum(axis=0)):
                wrong.append((number, step, answer))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture(autouse=True)
def no_model_is_left() -> Any:
    yield
    predictors.reset()
