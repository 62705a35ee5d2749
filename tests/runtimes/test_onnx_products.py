"""Products of 8-bit integers, held against numpy's, on whatever processor this is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from django_inference.artifacts import Artifact
from django_inference.artifacts.records import StoreSettings
from django_inference.runtimes import onnx_products, processor
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.runtimes.onnx_products import exact_products, wide_products

onnx = pytest.importorskip("onnx")

DEPTH = 64


def save(path: Path, nodes: list[Any], inputs: Any, output: Any, weights: dict[str, Any]) -> Path:
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, output, tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def product(path: Path, weights: Any, **zero_point: Any) -> Path:
    """`y = x @ w`, of integers that are unsigned where they have no zero point."""
    from onnx import TensorProto, helper

    kind = TensorProto.INT8 if zero_point else TensorProto.UINT8
    return save(
        path,
        [helper.make_node("MatMulInteger", ["x", "w", *zero_point], ["y"])],
        [helper.make_tensor_value_info("x", kind, ["n", DEPTH])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["n", weights.shape[1]])],
        {"w": weights, **zero_point},
    )


def convolution(path: Path, weights: Any) -> Path:
    from onnx import TensorProto, helper

    one, zero = np.float32(1), np.uint8(0)
    scales = {"s": one, "z": zero, "wz": np.int8(0), "ys": np.float32(3000)}
    return save(
        path,
        [helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "wz", "ys", "z"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", DEPTH, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n", weights.shape[0], 1, 1])],
        {"w": weights, **scales},
    )


@pytest.fixture
def wide() -> Any:
    return np.random.default_rng(0).integers(-128, 128, (DEPTH, 32)).astype(np.int8)


@pytest.fixture
def x() -> Any:
    return np.random.default_rng(1).integers(0, 256, (8, DEPTH)).astype(np.uint8)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with AVX2 alone."""
    monkeypatch.setattr(processor, "instructions", lambda: frozenset({"avx2"}))


def answer(path: Path, x: Any, **options: Any) -> Any:
    runtime = OnnxRuntime(threads=1, **options)
    runtime.load(Artifact(path))
    return runtime.predict({"x": x})["y"]


@pytest.mark.parametrize("bits", [7, 8])
def test_a_product_is_numpys(tmp_path: Path, wide: Any, x: Any, bits: int) -> None:
    weights = wide if bits == 8 else (wide // 2).astype(np.int8)
    found = answer(product(tmp_path / "model.onnx", weights), x)
    assert np.array_equal(found, x.astype(np.int64) @ weights.astype(np.int64))


def test_a_convolution_is_numpys(tmp_path: Path, wide: Any, x: Any) -> None:
    weights = np.ascontiguousarray(wide.T)[..., None, None]
    found = answer(convolution(tmp_path / "model.onnx", weights), x[..., None, None])
    exact = np.rint(x.astype(np.int64) @ wide.astype(np.int64) / 3000).clip(0, 255)
    assert np.array_equal(found[..., 0, 0], exact)


def test_weights_of_7_bits_need_no_help(tmp_path: Path, wide: Any, x: Any) -> None:
    narrow = (wide // 2).astype(np.int8)
    path = product(tmp_path / "model.onnx", narrow)
    # ONNX Runtime left to itself, as another program may run the file.
    found = answer(path, x, session_options={"session.x64quantprecision": "0"})
    assert np.array_equal(found, x.astype(np.int64) @ narrow.astype(np.int64))


def test_shared_weights_are_exact_as_well(tmp_path: Path, wide: Any, x: Any) -> None:
    path = product(tmp_path / "model.onnx", wide)
    runtime = OnnxRuntime(threads=1)
    runtime.share_weights = True
    runtime.load(Artifact(path, store=StoreSettings(str(tmp_path / "store"))))
    found = runtime.predict({"x": x})["y"]
    assert np.array_equal(found, x.astype(np.int64) @ wide.astype(np.int64))


@pytest.mark.usefixtures("old")
def test_what_is_slower_for_it_is_said(
    tmp_path: Path, wide: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = product(tmp_path / "model.onnx", wide)
    with caplog.at_level(logging.WARNING, "django_inference.runtimes"):
        found = exact_products(path, {"session.intra_op.allow_spinning": "0"})
    assert found["session.x64quantprecision"] == "1"
    assert "has weights of 8 bits, whose products this processor (avx2) cuts off" in caplog.text
    assert "manage.py inference quantize" in caplog.text
    caplog.clear()
    exact_products(product(path, (wide // 2).astype(np.int8)), {})
    exact_products(product(path, wide.astype(np.uint8)), {})
    signed = product(path, (wide // 2).astype(np.int8), az=np.int8(-128))
    exact_products(signed, {})
    # Looked up, and never multiplied as an integer.
    exact_products(looked_up(path, wide), {})
    assert not caplog.text


def looked_up(path: Path, rows: Any) -> Path:
    from onnx import TensorProto, helper

    return save(
        path,
        [
            helper.make_node("Gather", ["w", "x"], ["row"]),
            helper.make_node("Cast", ["row"], ["y"], to=TensorProto.FLOAT),
        ],
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])],
        {"w": rows},
    )


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC"])
def test_what_cannot_be_exact_is_refused(tmp_path: Path, wide: Any, level: str) -> None:
    path = product(tmp_path / "model.onnx", wide)
    runtime = OnnxRuntime(session_options={"graph_optimization_level": level})
    with pytest.raises(ValueError, match=f"with {level} ONNX Runtime does nothing about it"):
        runtime.load(Artifact(path))
    narrow = product(tmp_path / "narrow.onnx", (wide // 2).astype(np.int8))
    runtime.load(Artifact(narrow))


def test_other_processors_are_left_alone(tmp_path: Path, monkeypatch: Any, wide: Any) -> None:
    path = product(tmp_path / "model.onnx", wide)
    for found in (None, frozenset({"avx2", "avx_vnni"}), frozenset({"avx512_vnni"})):
        monkeypatch.setattr(processor, "instructions", lambda found=found: found)
        assert exact_products(path, {}) == {}


@pytest.mark.parametrize("operator", ["MatMul", "Mul"])
def test_integers_between_the_layers_count_where_they_are_multiplied_by_rows(
    tmp_path: Path, wide: Any, operator: str
) -> None:
    from onnx import TensorProto, helper

    scale = {"s": np.float32(0.1), "z": np.uint8(0), "wz": np.int8(0)}
    path = save(
        tmp_path / "model.onnx",
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["a"]),
            helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["b"]),
            helper.make_node(operator, ["a", "b"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", DEPTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        {"w": wide if operator == "MatMul" else wide[:, 0], **scale},
    )
    assert wide_products(path) == ({"DequantizeLinear"} if operator == "MatMul" else set())
    if operator == "MatMul":
        x = np.random.default_rng(1).integers(0, 256, (8, DEPTH)).astype(np.float32) / 10
        assert np.allclose(answer(path, x), x @ (wide / 10.0), atol=1e-2)


Write = Callable[[Path, Any], None]


def _external(path: Path, model: Any) -> None:
    options = {"location": "weights.bin", "size_threshold": 0}
    onnx.save(model, path, save_as_external_data=True, **options)


def _one_by_one(path: Path, model: Any) -> None:
    tensor = model.graph.initializer[0]
    numbers = np.frombuffer(tensor.raw_data, np.int8)
    tensor.ClearField("raw_data")
    tensor.int32_data.extend(numbers.tolist())
    onnx.save(model, path)


def test_missing_weights_are_for_onnx_runtime_to_name(tmp_path: Path, wide: Any) -> None:
    path = tmp_path / "model.onnx"
    _external(path, onnx.load(product(tmp_path / "inside.onnx", wide)))
    (tmp_path / "weights.bin").unlink()
    assert wide_products(path) == set()
    assert wide_products(tmp_path / "nowhere.onnx") == set()


@pytest.mark.parametrize("write", [_external, _one_by_one])
def test_weights_are_found_wherever_they_are(tmp_path: Path, wide: Any, write: Write) -> None:
    path = tmp_path / "model.onnx"
    for weights, found in ((wide, {"MatMulInteger"}), ((wide // 2).astype(np.int8), set())):
        write(path, onnx.load(product(tmp_path / "inside.onnx", weights)))
        assert wide_products(path) == found
        (tmp_path / "weights.bin").unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"<html>", b"version https://git-lfs", b"\x3a\xff\xff"])
def test_what_is_no_model_has_no_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert onnx_products.wide_products(tmp_path / "model.onnx") == set()


def test_the_processor_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    processor.instructions.cache_clear()
    here = processor.instructions()
    assert here is None or "sse2" in here or not here
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    processor.instructions.cache_clear()
    assert processor.instructions() is None
    assert not processor.saturates()
    processor.instructions.cache_clear()
