"""Notes in the files of models, which their frameworks go on reading."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from django_inference.artifacts import Artifact
from django_inference.artifacts import notes as module
from django_inference.artifacts.notes import read_note, write_note
from django_inference.artifacts.quantized import Quantized, read_quantized, write_quantized
from django_inference.specs import Golden

#: Every byte, and more than one byte of length.
NOTE = bytes(range(256)) * 3


def onnx_file(path: Path) -> None:
    from onnx import TensorProto, helper, save

    node = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    helper.set_model_props(model, {"stride": "32"})
    save(model, path)


def safetensors_file(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.arange(5, dtype=np.float32)}, path, {"format": "pt"})


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "model.onnx"
    onnx_file(path)
    assert read_note(path) is None
    for note in (b"before", NOTE):
        write_note(path, note)
        assert read_note(path) == note
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [each.key for each in model.metadata_props] == ["stride", module.KEY]
    from onnxruntime import InferenceSession

    session = InferenceSession(path)
    assert session.get_modelmeta().custom_metadata_map["stride"] == "32"
    assert session.run(None, {"x": np.ones(2, np.float32)})[0].tolist() == [1, 1]


def test_safetensors(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    safetensors_file(path)
    assert read_note(path) is None
    write_note(path, b"before")
    write_note(path, NOTE)
    assert read_note(path) == NOTE
    with safetensors.safe_open(path, "np") as opened:
        assert opened.metadata()["format"] == "pt"
        assert opened.get_tensor("w").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".torchscript"])
def test_pytorch(tmp_path: Path, suffix: str) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / f"model{suffix}"
    layer = torch.nn.Linear(2, 1)
    if suffix == ".torchscript":
        torch.jit.save(torch.jit.script(layer), path)
    else:
        torch.save(layer.state_dict(), path)
    assert read_note(path) is None
    write_note(path, NOTE)
    assert read_note(path) == NOTE
    if suffix == ".torchscript":
        assert torch.jit.load(path)(torch.ones(1, 2)).shape == (1, 1)
    else:
        for how in ({}, {"mmap": True}):
            assert torch.load(path, weights_only=True, **how).keys() == {"weight", "bias"}


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".pt", ".tflite"])
@pytest.mark.parametrize("content", [b"", b"<html>", b"\x00" * 40, b"\xff" * 40, b"PK\x05\x06" * 9])
def test_what_is_no_model_has_no_note(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    assert read_note(path) is None


def test_files_without_a_place(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    path.write_bytes(b"1")
    assert read_note(path) is None
    with pytest.raises(ValueError, match="joblib has no place for a note"):
        write_note(path, b"1")


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".tflite"])
def test_a_note_that_is_too_large(tmp_path: Path, monkeypatch: Any, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    {".onnx": onnx_file, ".safetensors": safetensors_file}.get(suffix, Path.touch)(path)
    write_note(path, NOTE)
    monkeypatch.setattr(module, "LARGEST", len(NOTE) - 1)
    with pytest.raises(ValueError, match="the note 'django_inference' in the file has 768 bytes"):
        read_note(path)


def test_what_a_model_says_of_itself(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "folder" / "model.onnx"
    path.parent.mkdir()
    (path.parent / "a.txt").touch()
    onnx_file(path)
    assert read_quantized(Artifact(path.parent)) is None
    golden = (
        Golden({"x": np.ones((1, 2), np.float32)}, {"y": [[1.5, 2]]}, 0.1),
        Golden(b"\x00\xff", "cat"),
        Golden(["a" * 500], [None]),
    )
    said = Quantized(to="int8", needs=("avx_vnni",), runtime="a.b", golden=golden)
    monkeypatch.setattr("django_inference.artifacts.quantized.GOLDEN_BYTES", 10_000)
    assert write_quantized(path, said) == 3
    for artifact in (Artifact(path), Artifact(path.parent)):
        found = read_quantized(artifact)
        assert found is not None
        assert (found.needs, found.runtime) == (("avx_vnni",), "a.b")
        # The shortest first.
        assert found.golden[1].input == {"x": [[1.0, 1.0]]}
        assert (found.golden[0], found.golden[2]) == golden[1:]
    monkeypatch.setattr("django_inference.artifacts.quantized.GOLDEN_BYTES", 60)
    assert write_quantized(path, said) == 2


@pytest.mark.parametrize(
    "note",
    [
        b"nothing",
        zlib.compress(b"nothing"),
        zlib.compress(msgspec.msgpack.encode({"to": 1})),
        zlib.compress(msgspec.msgpack.encode({"to": "int8"}))[:-4],
        zlib.compress(b"\0" * (17 << 20)),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, note: bytes) -> None:
    path = tmp_path / "model.onnx"
    onnx_file(path)
    write_note(path, note)
    with pytest.raises(ValueError, match=r"says of how it was quantised cannot be read"):
        read_quantized(Artifact(path))
