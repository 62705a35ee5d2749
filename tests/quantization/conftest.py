from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from pytest_django import Settings

from django_inference import Predictor, predictors

LOCAL = "django_inference.backends.local.LocalBackend"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A network that reads digits, as ONNX, with pictures that it was not trained with."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    network = MLPClassifier((256,), max_iter=60, random_state=0, tol=1e-2).fit(x[:1000], y[:1000])
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    _write(path, network.coefs_, network.intercepts_)
    return SimpleNamespace(path=path, x=x[1000:], y=y[1000:])


def _write(path: Path, matrices: list[Any], offsets: list[Any]) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    weights = [
        numpy_helper.from_array(array.astype(np.float32), f"{kind}{number}")
        for kind, arrays in (("w", matrices), ("b", offsets))
        for number, array in enumerate(arrays)
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["p0"], "first"),
        helper.make_node("Add", ["p0", "b0"], ["s0"], "first/add"),
        helper.make_node("Relu", ["s0"], ["h0"], "relu"),
        helper.make_node("MatMul", ["h0", "w1"], ["p1"], "second"),
        helper.make_node("Add", ["p1", "b1"], ["scores"], "second/add"),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


@pytest.fixture
def declare(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Predictor]]:
    """Declares the predictor `model` and returns it; keyword arguments are its keys."""
    settings.BASE_DIR = tmp_path

    def declare(**entry: Any) -> Predictor:
        settings.INFERENCE = {"model": {"BACKEND": LOCAL, **entry}}
        return predictors["model"]

    yield declare
    predictors.reset()


def quantize(*arguments: Any) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("inference", "quantize", *map(str, arguments), stdout=out)
    return out.getvalue()


def pasted(printed: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The entry of a predictor after what was printed has been put into the settings."""
    lines = [line for line in printed.splitlines() if line.startswith("INFERENCE[")]
    assert lines
    names: dict[str, Any] = {"INFERENCE": {"model": dict(entry)}}
    exec("\n".join(lines), names)
    found: dict[str, Any] = names["INFERENCE"]["model"]
    return found
