"""Random ONNX graphs: what may depend on other rows, and what may not, in any layout."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

WIDTH = 3
#: Layouts of the input: the names of its axes. `n` and `time` say what they are, the others do not.
LAYOUTS = (
    ("n", WIDTH),
    ("batch", WIDTH),
    (None, WIDTH),
    ("rows", WIDTH),
    (None, None, WIDTH),
    ("seq", "batch", WIDTH),
    ("batch", "seq", WIDTH),
    ("time", WIDTH),
    (2, "n", WIDTH),
    (4, WIDTH),
    (1, WIDTH),
)


class Graph(NamedTuple):
    """A model, and the layout of its input."""

    model: bytes
    layout: tuple[Any, ...]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Return a model of one to four operators with an input `x`, and perhaps a scalar `k`."""
    layout = draw(st.sampled_from(LAYOUTS))
    rank = len(layout)
    nodes: list[Any] = []
    constants: list[Any] = []
    current, is_open = "x", True
    for number in range(draw(st.integers(1, 4))):
        out = f"t{number}"
        kind = draw(st.sampled_from(_KINDS if is_open else ("elementwise",)))
        axis = draw(st.integers(0, rank - 1))
        keeps = _add(draw, nodes, constants, kind, current, out, axis, rank)
        current, is_open = out, is_open and keeps
    nodes.append(helper.make_node("Identity", [current], ["y"]))
    more = draw(st.sampled_from(("none", "scalar", "sum", "shape")))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, layout)]
    if more == "scalar":
        inputs.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, []))
        nodes[-1] = helper.make_node("Mul", [current, "k"], ["y"])
    elif more == "sum":
        nodes.append(helper.make_node("ReduceSum", ["x"], ["z"], keepdims=0))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    elif more == "shape":
        nodes.append(helper.make_node("Shape", ["x"], ["z"]))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.INT64, None))
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Graph(model.SerializeToString(), layout)


_KINDS = (
    *("elementwise", "elementwise", "matmul", "reduce", "cumsum", "softmax", "concat"),
    *("nonzero", "reverse", "norm", "sort"),
)


def _add(
    draw: st.DrawFn,
    nodes: list[Any],
    constants: list[Any],
    kind: str,
    x: str,
    out: str,
    axis: int,
    rank: int,
) -> bool:
    """Add an operator; return whether its output has the axes of its input."""

    def constant(value: Any, dtype: Any) -> str:
        name = f"c{len(constants)}"
        constants.append(onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(operator: str, *inputs: str, to: str = out, **attributes: Any) -> None:
        nodes.append(helper.make_node(operator, list(inputs), [to], **attributes))

    match kind:
        case "elementwise":
            node(draw(st.sampled_from(("Relu", "Tanh", "Neg", "Abs", "Sigmoid"))), x)
        case "matmul":
            weights = np.arange(WIDTH * WIDTH).reshape(WIDTH, WIDTH) / WIDTH - 1
            node("MatMul", x, constant(weights, np.float32))
        case "reduce":
            node(draw(st.sampled_from(("ReduceMean", "ReduceMax"))), x, axes=[axis], to=out + "r")
            node("Sub", x, out + "r")
        case "cumsum":
            node("CumSum", x, constant(axis, np.int64), reverse=draw(st.integers(0, 1)))
        case "softmax":
            node("Softmax", x, axis=axis)
        case "concat":
            node("Concat", x, x, axis=axis)
            return axis < rank - 1
        case "nonzero":
            node(
                "Greater", x, constant(draw(st.sampled_from((0.0, 1.5))), np.float32), to=out + "g"
            )
            node("NonZero", out + "g", to=out + "n")
            node("Transpose", out + "n", to=out + "t", perm=[1, 0])
            nodes.append(helper.make_node("Cast", [out + "t"], [out], to=TensorProto.FLOAT))
            return False
        case "reverse":
            starts, ends = constant([-1], np.int64), constant([-(2**31)], np.int64)
            node("Slice", x, starts, ends, constant([axis], np.int64), constant([-1], np.int64))
        case "norm":
            node("ReduceL2", x, axes=[axis], to=out + "r")
            node("Add", out + "r", constant(1, np.float32), to=out + "s")
            node("Div", x, out + "s")
        case "sort":
            node("Shape", x, to=out + "s")
            node("Gather", out + "s", constant([axis], np.int64), to=out + "k")
            nodes.append(helper.make_node("TopK", [x, out + "k"], [out, out + "i"], axis=axis))
    return True
