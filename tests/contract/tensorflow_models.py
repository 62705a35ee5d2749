"""Small models of TensorFlow: SavedModels, Keras files, frozen graphs, and LiteRT's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.contract.kinds import INPUTS, WEIGHTS, Made, numpy_type


def _computed(kind: str, x: Any, *more: Any) -> dict[str, Any]:
    import tensorflow as tf

    if kind == "plain":
        return {"y": tf.matmul(x, WEIGHTS)}
    if kind == "coupled":
        return {"y": x - tf.reduce_mean(x, axis=0, keepdims=True)}
    if kind == "state":
        rate, scales, state = more
        return {"y": x * rate * scales, "next": state + x}
    if kind == "time":
        return {"y": tf.cumsum(x, axis=0)}
    if kind == "ragged":
        return {"y": tf.where(x > 0)}
    if kind == "lookup":
        return {"y": tf.gather(WEIGHTS, x)}
    return {"y": tf.identity(x)}


def _inputs(kind: str, dtype: str) -> list[tuple[str, Any, list[Any]]]:
    import tensorflow as tf

    inputs = [("x", dtype, [None, 3])] if kind == "same" else INPUTS[kind]
    return [
        (
            name,
            tf.string if of == "str" else tf.as_dtype(of),
            [None if isinstance(axis, str) else axis for axis in axes],
        )
        for name, of, axes in inputs
    ]


def _fed(inputs: list[tuple[str, Any, list[Any]]], payload: Any) -> dict[str, Any]:
    return {
        name: np.asarray(payload[name], numpy_type("str" if of == "string" else of.name))
        for name, of, _ in inputs
    }


def saved_model(folder: Path, kind: str, dtype: str = "float32") -> Made:
    """A SavedModel."""
    import tensorflow as tf

    module = tf.Module()
    module.served = _named(kind, dtype)
    path = folder / f"{kind}-{dtype}"
    tf.saved_model.save(module, str(path), signatures=module.served)
    model = tf.saved_model.load(str(path))
    function = model.signatures["serving_default"]

    def direct(payload: Any) -> Any:
        assert model
        feed = _fed(_inputs(kind, dtype), payload)
        found = function(**{name: tf.constant(array) for name, array in feed.items()})
        return {name: _plain(each.numpy()) for name, each in found.items()}

    return Made({"MODEL": path}, direct)


def _named(kind: str, dtype: str) -> Any:
    """The function with the names of its arguments, which signatures go by."""
    import tensorflow as tf

    specs = [tf.TensorSpec(axes, of, name=name) for name, of, axes in _inputs(kind, dtype)]
    if kind == "state":

        def state(x: Any, rate: Any, scales: Any, state: Any) -> Any:
            return _computed(kind, x, rate, scales, state)

        return tf.function(state, input_signature=specs)

    def one(x: Any) -> Any:
        return _computed(kind, x)

    return tf.function(one, input_signature=specs)


def keras(folder: Path, kind: str, dtype: str = "float32") -> Made:
    """A Keras file."""
    import keras

    (*_, (_, of, axes)) = inputs = _inputs(kind, dtype)
    if kind == "ragged" or len(inputs) > 1:
        raise NotImplementedError
    x = keras.Input(batch_shape=axes, dtype=of.name, name="x")
    y = {
        "plain": lambda: keras.layers.Dense(3, name="y")(x),
        "coupled": lambda: keras.ops.subtract(x, keras.ops.mean(x, axis=0, keepdims=True)),
        "time": lambda: keras.ops.cumsum(x, axis=0),
        "lookup": lambda: keras.layers.Embedding(3, 3)(x),
        "same": lambda: keras.layers.Identity(dtype=dtype, name="y")(x),
    }[kind]()
    model = keras.Model(x, {"y": y})
    path = folder / f"{kind}-{dtype}.keras"
    model.save(path)

    def direct(payload: Any) -> Any:
        feed = _fed(inputs, payload)["x"]
        return {"y": _plain(keras.ops.convert_to_numpy(model(feed)["y"]))}

    return Made({"MODEL": path}, direct)


def graph(folder: Path, kind: str, dtype: str = "float32") -> Made:
    """A frozen graph of TensorFlow 1."""
    import tensorflow as tf

    inputs = _inputs(kind, dtype)
    made = tf.Graph()
    with made.as_default():
        fed = [tf.compat.v1.placeholder(of, axes, name=name) for name, of, axes in inputs]
        found = _computed(kind, *fed)
    path = folder / f"{kind}-{dtype}.pb"
    path.write_bytes(made.as_graph_def().SerializeToString())
    session = tf.compat.v1.Session(graph=made)

    def direct(payload: Any) -> Any:
        feed = {f"{name}:0": array for name, array in _fed(inputs, payload).items()}
        return {name: _plain(each) for name, each in session.run(found, feed).items()}

    options = {
        "inputs": {name: f"{name}:0" for name, _, _ in inputs},
        "outputs": {name: each.name for name, each in found.items()},
    }
    declared = {"MODEL": path, "RUNTIME": "tensorflow1", "RUNTIME_OPTIONS": options}
    return Made(declared, direct)


def litert(folder: Path, kind: str, dtype: str = "float32") -> Made:
    """A file of LiteRT."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    module = tf.Module()
    module.served = _named(kind, dtype)
    concrete = module.served.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    path = folder / f"{kind}-{dtype}.tflite"
    path.write_bytes(converter.convert())
    inputs = _inputs(kind, dtype)

    def direct(payload: Any) -> Any:
        run = Interpreter(model_path=str(path)).get_signature_runner()
        feed = {name: _whole(array) for name, array in _fed(inputs, payload).items()}
        try:
            found = run(**feed)
        except ValueError as error:
            if "Invalid tensor size" not in str(error):
                raise
            # It has run, but the library cannot show a tensor without values.
            details = run.get_output_details()
            found = {name: np.empty(each["shape"]) for name, each in details.items()}
        return {name: _plain(np.array(each)) for name, each in found.items()}

    return Made({"MODEL": path}, direct)


def _plain(array: Any) -> Any:
    """What numpy lacks, as callers see it."""
    array = _whole(np.asarray(array))
    return array.astype("float32") if array.dtype.kind == "V" else array


def _whole(array: Any) -> Any:
    """Half a byte as a whole one."""
    half = array.dtype.name in ("int4", "uint4")
    return array.astype(f"{array.dtype.name[:-1]}8") if half else array
