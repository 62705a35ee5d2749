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


def write_words(path: Path) -> None:
    """What is given back is the text that was given, as ONNX."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["text"], ["same"])],
        "words",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(path))


def write_layers(path: Path) -> None:
    """The same as a SavedModel."""
    import tensorflow as tf

    module = tf.Module()
    rows = tf.TensorSpec((None, ROWS), tf.float32, name="x")

    @tf.function(input_signature=[rows])  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        return {"y": tf.nn.relu(x @ _first) @ _second}

    tf.saved_model.save(module, str(path), signatures=serve)


def write_session(path: Path) -> None:
    """The same as a checkpoint of TensorFlow 1, with a placeholder that training needs."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, (None, ROWS), "input")
        keep_prob = tf.placeholder(tf.float32, (), "keep_prob")
        hidden = tf.nn.relu(x @ tf.get_variable("first", initializer=_first))
        hidden = tf.nn.dropout(hidden, rate=1 - keep_prob)
        tf.identity(hidden @ tf.get_variable("second", initializer=_second), "output")
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(path / "model"), 100)


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


#: `python -m tests.servers.model layers PATH`
WRITERS = {"layers": write_layers, "session": write_session}

if __name__ == "__main__":
    WRITERS[sys.argv[1]](Path(sys.argv[2]))
