"""What a quantised model needs, and its golden answers, wherever its file goes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from django_inference import Predictor
from django_inference.artifacts import Artifact
from django_inference.artifacts.quantized import Quantized, read_quantized, write_quantized
from django_inference.exceptions import ModelLoadFailed
from django_inference.runtimes import processor
from django_inference.specs import Golden
from tests.quantization.conftest import LOCAL, pasted, quantize

Declare = Callable[..., Predictor]

AVX2 = frozenset({"sse4_1", "avx", "avx2"})


@pytest.fixture
def entry(digits: SimpleNamespace, tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "digits.onnx"
    path.write_bytes(digits.path.read_bytes())
    return {"MODEL": path, "BACKEND": LOCAL}


@pytest.fixture
def golden(declare: Declare, entry: dict[str, Any], digits: SimpleNamespace) -> list[Any]:
    x = digits.x[:4]
    scores = declare(**entry).predict(x)["scores"]
    return [({"x": x.tolist()}, {"scores": scores.tolist()}, 2.0)]


@pytest.fixture
def kept(declare: Declare, entry: dict[str, Any], golden: list[Any], tmp_path: Path) -> Path:
    """A quantised model, as a single file on another machine."""
    declare(**entry, GOLDEN=golden)
    found = pasted(quantize("model"), entry)
    return Path(shutil.copy(found["MODEL"], tmp_path / "elsewhere.onnx"))


def widest(path: Path) -> int:
    """The largest of the integers that are multiplied."""
    import onnx

    tensors = [onnx.numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    return max(int(np.abs(each.astype(int)).max()) for each in tensors if each.dtype == np.int8)


def with_another_bias(path: Path) -> None:
    """Change what it answers, as a processor that multiplies wrongly would."""
    import onnx

    model = onnx.load(path)
    bias = next(each for each in model.graph.initializer if each.name == "b1")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 3, "b1"))
    onnx.save(model, path)


def test_golden_answers_are_asked_wherever_the_file_is_loaded(
    declare: Declare, kept: Path, digits: SimpleNamespace
) -> None:
    known = read_quantized(Artifact(kept))
    assert known is not None
    assert (known.to, known.needs, len(known.golden)) == ("int8", (), 1)
    # Their number of threads is a matter of the machine.
    predictor = declare(MODEL=kept, RUNTIME_OPTIONS={"threads": 1})
    scores = predictor.predict(digits.x[:4])["scores"]
    assert scores.argmax(axis=1).tolist() == digits.y[:4].tolist()
    with_another_bias(kept)
    predictor = declare(MODEL=kept)
    with pytest.raises(ModelLoadFailed, match="golden answer 1 of 1 in its file differs by more"):
        predictor.predict(digits.x[:1])
    assert predictor.status().state == "FAILED"


def test_those_of_the_settings_are_asked_once(
    declare: Declare, kept: Path, golden: list[Any], digits: SimpleNamespace
) -> None:
    with_another_bias(kept)
    predictor = declare(MODEL=kept, GOLDEN=golden)
    with pytest.raises(ModelLoadFailed, match="golden answer 1 of 1 differs by more than 2"):
        predictor.predict(digits.x[:1])


def test_where_another_runtime_answers_otherwise_they_are_not_asked(
    declare: Declare, kept: Path, digits: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    for other in (
        {"RUNTIME": "tests.quantization.sample_runtimes.Pixels"},
        {"RUNTIME_OPTIONS": {"outputs": ["scores"]}},
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "django_inference.engine"):
            declare(MODEL=kept, **other).predict(digits.x[:1])
        assert "golden answers not asked alias=model" in caplog.text
        assert "are not asked" in caplog.text


def test_what_is_made_of_such_a_file_has_answers_of_its_own(
    declare: Declare, entry: dict[str, Any], golden: list[Any], tmp_path: Path
) -> None:
    exact = Golden(golden[0][0], golden[0][1], 1e-3)
    runtime = "django_inference.runtimes.onnx.OnnxRuntime"
    write_quantized(entry["MODEL"], Quantized(to="fp16", runtime=runtime, golden=(exact,)))
    declare(**entry)
    quantize("model", "--force")
    known = read_quantized(Artifact(tmp_path / "digits.int8.onnx"))
    assert known is not None
    assert (known.to, known.golden) == ("int8", ())


def test_portable_is_what_it_is_by_default(kept: Path) -> None:
    assert widest(kept) <= 64


@pytest.mark.parametrize("calibrated", [False, True])
def test_for_this_machine_alone(
    declare: Declare,
    entry: dict[str, Any],
    digits: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calibrated: bool,
) -> None:
    (tmp_path / "rows").mkdir()
    np.savez(tmp_path / "rows" / "a.npz", x=digits.x[:50])
    more = ["--calibrate", tmp_path / "rows"] if calibrated else []
    arguments = ["model", "--force", "--this-machine", *more, "--output"]
    declare(**entry)
    monkeypatch.setattr(processor, "instructions", lambda: AVX2 | {"avx_vnni"})
    printed = quantize(*arguments, tmp_path / "new.onnx")
    assert "It needs a processor with avx512_vnni or avx_vnni." in printed
    assert widest(tmp_path / "new.onnx") > 64
    declare(MODEL=tmp_path / "new.onnx").predict(digits.x[:1])
    # Where this machine would multiply wrongly, it is as everywhere.
    declare(**entry)
    monkeypatch.setattr(processor, "instructions", lambda: AVX2)
    printed = quantize(*arguments, tmp_path / "old.onnx")
    assert "It needs" not in printed
    assert widest(tmp_path / "old.onnx") <= 64
    declare(MODEL=tmp_path / "old.onnx").predict(digits.x[:1])
    predictor = declare(MODEL=tmp_path / "new.onnx")
    with pytest.raises(ModelLoadFailed) as caught:
        predictor.predict(digits.x[:1])
    assert str(caught.value).endswith(
        f"{tmp_path}/new.onnx was quantised for processors with avx512_vnni or avx_vnni. This one "
        "has avx2 at best, and would answer wrongly. Quantise the original portably: "
        "manage.py inference quantize model"
    )
    # Other processors than those of x86 have no such fault.
    monkeypatch.setattr(processor, "instructions", lambda: None)
    declare(MODEL=tmp_path / "new.onnx").predict(digits.x[:1])


def test_answers_that_are_too_large_for_the_file(
    declare: Declare, entry: dict[str, Any], golden: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_inference.artifacts.quantized.GOLDEN_SHARE", 0.0)
    monkeypatch.setattr("django_inference.artifacts.quantized.GOLDEN_BYTES", 400)
    small = {"x": golden[0][0]["x"][:1]}, {"scores": golden[0][1]["scores"][:1]}, 2.0
    declare(**entry, GOLDEN=[*golden, small])
    printed = quantize("model")
    assert "Only 1 of the 2 golden answers fit into the file." in printed
    kept = read_quantized(Artifact(pasted(printed, entry)["MODEL"]))
    assert kept is not None
    assert [len(each.input["x"]) for each in kept.golden] == [1]


def test_the_file_of_a_needy_model_says_so_before_it_is_opened(
    declare: Declare, tmp_path: Path, digits: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "instructions", frozenset)
    path = tmp_path / "digits.onnx"
    path.write_bytes(digits.path.read_bytes())
    write_quantized(path, Quantized(to="int8", needs=("avx_vnni",)))
    with pytest.raises(ModelLoadFailed, match="This one has none that its system names at best"):
        declare(MODEL=path, RUNTIME="tests.quantization.sample_runtimes.Reader").predict([b"1"])
