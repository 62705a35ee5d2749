"""Small models of ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tests.contract.kinds import INPUTS, WEIGHTS, Made, numpy_type

_NAMES = {
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "float8_e4m3fn": "FLOAT8E4M3FN",
    "float8_e5m2": "FLOAT8E5M2",
    "str": "STRING",
}
_NODES: dict[str, list[Any]] = {
    "plain": [helper.make_node("MatMul", ["x", "weights"], ["y"])],
    "coupled": [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ],
    "state": [
        helper.make_node("Mul", ["x", "rate"], ["rated"]),
        helper.make_node("Mul", ["rated", "scales"], ["y"]),
        helper.make_node("Add", ["state", "x"], ["next"]),
    ],
    "time": [helper.make_node("CumSum", ["x", "zero"], ["y"])],
    "ragged": [
        helper.make_node("Greater", ["x", "none"], ["found"]),
        helper.make_node("NonZero", ["found"], ["where"]),
        helper.make_node("Transpose", ["where"], ["y"]),
    ],
    "lookup": [helper.make_node("Gather", ["weights", "x"], ["y"])],
    "same": [helper.make_node("Identity", ["x"], ["y"])],
}
_CONSTANTS = [
    numpy_helper.from_array(WEIGHTS, "weights"),
    numpy_helper.from_array(np.array(0), "zero"),
    numpy_helper.from_array(np.array(0, np.float32), "none"),
]


def make(folder: Path, kind: str, dtype: str = "float32") -> Made:
    """Write a model, and open a session of it."""
    inputs: list[Any] = [("x", dtype, ["n", 3])] if kind == "same" else INPUTS[kind]
    y = "int64" if kind == "ragged" else dtype
    outputs = [("y", y, None)]
    if kind == "state":
        outputs.append(("next", "float32", None))
    graph = helper.make_graph(
        _NODES[kind],
        "g",
        [helper.make_tensor_value_info(name, _type(of), shape) for name, of, shape in inputs],
        [helper.make_tensor_value_info(name, _type(of), shape) for name, of, shape in outputs],
        [c for c in _CONSTANTS if any(c.name in node.input for node in _NODES[kind])],
    )
    opset = 17 if kind == "coupled" else 21
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    path = folder / f"{kind}-{dtype}.onnx"
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def direct(payload: Any) -> Any:
        # Types that numpy lacks cannot be given to it from Python.
        feed = {name: np.asarray(payload[name], numpy_type(of)) for name, of, _ in inputs}
        names = [each.name for each in session.get_outputs()]
        return dict(zip(names, session.run(None, feed), strict=True))

    return Made({"MODEL": path, "RUNTIME_OPTIONS": {"threads": 1}}, direct)


def _type(dtype: str) -> int:
    return int(getattr(TensorProto, _NAMES.get(dtype, dtype.upper())))
