"""Whatever a graph computes, each caller gets what ONNX Runtime answers to it alone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st

from django_inference.exceptions import InferenceError
from django_inference.specs import EngineOptions, ModelSpec
from tests.engine.engines import Engine
from tests.engine.onnx_graphs import Graph, graphs

ROUNDS = 5


def payloads(graph: Graph, session: Any, rng: np.random.Generator, count: int) -> list[Any]:
    """Inputs of several callers: mostly of one shape, of different size, some of them large."""
    steps = int(rng.integers(1, 5))
    made = []
    for _ in range(count):
        shape = []
        rows = int(rng.integers(1, 4))
        for axis, length in enumerate(graph.layout):
            if isinstance(length, int):
                shape.append(length)
            elif length in ("n", "batch", "rows") or (length is None and axis == 0):
                shape.append(rows)
            else:
                shape.append(steps)
        scale = float(rng.choice([0.1, 1.0, 5.0]))
        tensors = {"x": (rng.standard_normal(shape) * scale).astype(np.float32)}
        if len(session.get_inputs()) == 2:
            tensors["k"] = np.array(rng.integers(1, 3), np.float32)
        made.append(tensors)
    return made


@given(graphs(), st.integers(0, 2**16))
def test_answers_equal_those_of_onnx_runtime_called_alone(graph: Graph, number: int) -> None:
    session = onnxruntime.InferenceSession(graph.model)
    engine = loaded(graph)
    rng = np.random.default_rng(number)
    names = [output.name for output in session.get_outputs()]
    for _ in range(ROUNDS):
        asked = payloads(graph, session, rng, int(rng.integers(1, 9)))
        for tensors, outcome in zip(asked, engine.run(*asked), strict=True):
            assert not isinstance(outcome, InferenceError), outcome
            for name, right in zip(names, session.run(names, tensors), strict=True):
                np.testing.assert_allclose(outcome[name], right, rtol=1e-3, atol=1e-4)


def loaded(graph: Graph) -> Engine:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        path.write_bytes(graph.model)
        spec = ModelSpec(
            alias="m",
            runtime="django_inference.runtimes.onnx.OnnxRuntime",
            runtime_options={"threads": 1},
            artifact=str(path),
            options=EngineOptions(audit=0.2),
        )
        engine = Engine(spec)
        engine.runner.load()
    return engine
