"""The model that the site serves, and what it must answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS, HIDDEN, CLASSES = 8, 16, 4
_random = np.random.default_rng(7)
# Whole numbers, so that sums are exact: an answer is right or wrong, whatever shares its batch.
_first = _random.integers(-3, 4, (ROWS, HIDDEN)).astype(np.float32)
_second = _random.integers(-3, 4, (HIDDEN, CLASSES)).astype(np.float32)


def write_mlp(path: Path) -> None:
    """A perceptron with one hidden layer, as ONNX."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["sums"]),
            helper.make_node("Relu", ["sums"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "second"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", ROWS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(_first, "first"), numpy_helper.from_array(_second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))


def write_layers(path: Path) -> None:
    """The same as a SavedModel: `python -m tests.servers.model PATH`."""
    import tensorflow as tf

    module = tf.Module()
    rows = tf.TensorSpec((None, ROWS), tf.float32, name="x")

    @tf.function(input_signature=[rows])  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.nn.relu(x @ _first) @ _second}

    tf.saved_model.save(module, str(path), signatures=serve)


def inputs(number: int) -> dict[str, Any]:
    """One to three rows, which differ from those of every other number below 1,000."""
    random = np.random.default_rng(number)
    rows = random.integers(-4, 5, (1 + number % 3, ROWS))
    rows[:, 0] = number
    return {"x": rows.tolist()}


def answer(given: dict[str, Any]) -> dict[str, Any]:
    """What the model must say."""
    x = np.asarray(given["x"], np.float32)
    return {"y": (np.maximum(x @ _first, 0) @ _second).tolist()}


if __name__ == "__main__":
    write_layers(Path(sys.argv[1]))
