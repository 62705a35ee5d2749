"""Models in ONNX, made smaller by the command and served as the settings then say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError

from django_inference import Predictor
from tests.quantization.conftest import LOCAL, pasted, quantize

Declare = Callable[..., Predictor]

RUNTIMES = "tests.quantization.sample_runtimes"


@pytest.fixture
def entry(digits: SimpleNamespace, tmp_path: Path) -> dict[str, Any]:
    """A predictor with golden answers: eight pictures, and the scores of their digits."""
    path = tmp_path / "digits.onnx"
    path.write_bytes(digits.path.read_bytes())
    return {"MODEL": path, "BACKEND": LOCAL}


@pytest.fixture
def golden(declare: Declare, entry: dict[str, Any], digits: SimpleNamespace) -> list[Any]:
    x = digits.x[:8]
    scores = declare(**entry).predict(x)["scores"]
    return [({"x": x.tolist()}, {"scores": scores.tolist()}, 2.0)]


def accuracy(predictor: Predictor, digits: SimpleNamespace) -> float:
    scores = predictor.predict({"x": digits.x})["scores"]
    return float((scores.argmax(axis=1) == digits.y).mean())


def calibration(folder: Path, x: Any) -> Path:
    folder.mkdir()
    for number, rows in enumerate(np.array_split(x, 10)):
        np.savez(folder / f"{number}.npz", x=rows)
    return folder


@pytest.mark.parametrize(
    ("arguments", "ratio"), [(["--to", "int8"], 0.32), (["--to", "fp16"], 0.55), ([], 0.32)]
)
def test_a_good_one_is_kept_and_right(
    declare: Declare,
    entry: dict[str, Any],
    golden: list[Any],
    digits: SimpleNamespace,
    arguments: list[str],
    ratio: float,
) -> None:
    before = declare(**entry, GOLDEN=golden)
    right, version = accuracy(before, digits), before.status().version
    printed = quantize("model", *arguments)
    assert "golden answers: all as expected" in printed
    found = pasted(printed, entry)
    kept = Path(found["MODEL"])
    to = arguments[-1] if arguments else "int8"
    assert kept == entry["MODEL"].with_name(f"digits.{to}.onnx")
    assert kept.stat().st_size < ratio * entry["MODEL"].stat().st_size
    # As the settings say it now, and with the pinned content.
    after = declare(**found, GOLDEN=golden)
    assert after.predict(digits.x[:1])["scores"].dtype == np.float32
    assert after.status().version != version
    assert accuracy(after, digits) == pytest.approx(right, abs=0.005)


def test_it_says_what_it_costs_and_what_it_gains(
    declare: Declare, entry: dict[str, Any], golden: list[Any]
) -> None:
    declare(**entry, GOLDEN=golden)
    rows = {line.split("  ")[0]: line.split() for line in quantize("model").splitlines()}
    before, after, ratio = map(float, rows["size, MB"][2:])
    assert ratio == pytest.approx(after / before, abs=0.2)
    for name in ("batch of 1, ms", "batch of 8, ms"):
        before, after, ratio = map(float, rows[name][-3:])
        assert ratio > 0 and (not before or ratio == pytest.approx(after / before, abs=1))
    cosine, largest, top1 = rows["scores"][1:]
    assert float(cosine) > 0.99
    assert 0 < float(largest) < 2
    assert top1 == "100.0%"


def test_ranges_that_were_found_on_pictures_are_right(
    declare: Declare,
    entry: dict[str, Any],
    golden: list[Any],
    digits: SimpleNamespace,
    tmp_path: Path,
) -> None:
    before = accuracy(declare(**entry, GOLDEN=golden), digits)
    folder = calibration(tmp_path / "pictures", digits.x[:100])
    found = pasted(quantize("model", "--calibrate", folder), entry)
    assert accuracy(declare(**found), digits) == pytest.approx(before, abs=0.01)


def test_ranges_that_were_found_on_the_wrong_pictures_are_refused(
    declare: Declare,
    entry: dict[str, Any],
    golden: list[Any],
    digits: SimpleNamespace,
    tmp_path: Path,
) -> None:
    declare(**entry, GOLDEN=golden)
    # As dark as no picture is: all that is brighter becomes the same.
    folder = calibration(tmp_path / "pictures", digits.x[:100] / 50)
    with pytest.raises(CommandError) as caught:
        quantize("model", "--calibrate", folder)
    said = str(caught.value)
    assert said.startswith("model in int8 is not kept: golden answer 1 of 1 differs by more than 2")
    assert "The largest difference is at ['scores'][" in said
    assert "was expected, not" in said
    assert [*tmp_path.glob("*.onnx")] == [entry["MODEL"]]


def test_with_other_golden_answers_than_those_of_the_settings(
    declare: Declare, entry: dict[str, Any], digits: SimpleNamespace, tmp_path: Path
) -> None:
    predictor = declare(**entry)
    x = digits.x[:3]
    scores = predictor.predict(x)["scores"]
    arrays: Any = {"input.x": x, "expected.scores": scores, "tolerance": np.float64(2)}
    np.savez(tmp_path / "golden.npz", **arrays)
    quantize("model", "--golden", tmp_path / "golden.npz", "--output", tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").exists()
    (tmp_path / "strict.json").write_text(json.dumps([[x.tolist(), None, 0]]))
    golden = [[{"x": x.tolist()}, {"scores": scores.tolist()}, 1e-7]]
    (tmp_path / "strict.json").write_text(json.dumps(golden))
    with pytest.raises(CommandError, match="golden answer 1 of 1 differs by more than 1e-07"):
        quantize("model", "--golden", tmp_path / "strict.json", "--output", tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize("runtime", ["Pixels", "Reader"])
def test_any_files_are_prepared_by_the_predictors_own_runtime(
    declare: Declare,
    entry: dict[str, Any],
    digits: SimpleNamespace,
    tmp_path: Path,
    runtime: str,
) -> None:
    pictures = [row.astype(np.uint8).tobytes() for row in digits.x[:40]]
    entry["RUNTIME"] = f"{RUNTIMES}.{runtime}"
    known = declare(**entry).predict(pictures[:5])
    golden = [(picture, answer, 2.0) for picture, answer in zip(pictures, known, strict=False)]
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate(pictures):
        (tmp_path / "pictures" / f"{number}.raw").write_bytes(picture)
    declare(**entry, GOLDEN=golden)
    printed = quantize("model", "--calibrate", tmp_path / "pictures")
    found = pasted(printed, entry)
    # It is still the same code that runs it.
    assert found["RUNTIME"] == entry["RUNTIME"]
    after = declare(**found).predict(pictures)
    assert [digit for digit, _ in after] == digits.y[:40].tolist()


def test_nodes_can_be_left_alone(
    declare: Declare, entry: dict[str, Any], golden: list[Any], tmp_path: Path
) -> None:
    import onnx

    declare(**entry, GOLDEN=golden)
    found = pasted(quantize("model", "--exclude", "second*"), entry)
    kinds = [node.op_type for node in onnx.load(found["MODEL"]).graph.node]
    assert kinds.count("MatMulInteger") == 1 and kinds.count("MatMul") == 1
    with pytest.raises(CommandError, match=r"no node of .* has a name like third\*.* are first"):
        quantize("model", "--exclude", "third*", "--output", tmp_path / "other.onnx")


def test_what_has_no_weights_is_left_alone_unless_that_is_said(
    declare: Declare,
    entry: dict[str, Any],
    golden: list[Any],
    digits: SimpleNamespace,
    tmp_path: Path,
) -> None:
    import onnx

    declare(**entry, GOLDEN=golden)
    folder = calibration(tmp_path / "pictures", digits.x[:100])
    found = []
    for name, more in (("a.onnx", []), ("b.onnx", ["--every-operator"])):
        quantize("model", "--calibrate", folder, "--output", tmp_path / name, *more)
        nodes = onnx.load(tmp_path / name).graph.node
        found.append(sum(node.op_type == "QuantizeLinear" for node in nodes))
    # Before the layers; and behind them, and behind each sum.
    assert found[0] < found[1]


def test_without_golden_answers_nothing_is_kept_unless_that_is_said(
    declare: Declare, entry: dict[str, Any], tmp_path: Path
) -> None:
    declare(**entry)
    with pytest.raises(CommandError, match="not kept: there is no golden answer"):
        quantize("model")
    assert [*tmp_path.glob("*.onnx")] == [entry["MODEL"]]
    printed = quantize("model", "--force")
    assert "golden answers: none were given" in printed
    assert "made-up inputs, which say little" in printed
    assert Path(pasted(printed, entry)["MODEL"]).exists()


def test_what_is_there_is_not_written_over(
    declare: Declare, entry: dict[str, Any], golden: list[Any], tmp_path: Path
) -> None:
    declare(**entry, GOLDEN=golden)
    (tmp_path / "digits.int8.onnx").write_text("mine")
    with pytest.raises(CommandError, match="exists already: remove it, or name another"):
        quantize("model")
    with pytest.raises(CommandError, match="exists already"):
        quantize("model", "--output", entry["MODEL"])
    with pytest.raises(CommandError, match=r"the result ends in \.onnx"):
        quantize("model", "--output", tmp_path / "digits.bin")
    assert (tmp_path / "digits.int8.onnx").read_text() == "mine"


def test_a_model_that_does_not_give_the_golden_answers_itself(
    declare: Declare, entry: dict[str, Any], digits: SimpleNamespace
) -> None:
    golden = [({"x": digits.x[:1].tolist()}, {"scores": [[0.0] * 10]}, 0.1)]
    declare(**entry, GOLDEN=golden)
    with pytest.raises(CommandError, match="model cannot be quantised to int8: the model does not"):
        quantize("model")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "int4"], "model: --to cannot be 'int4'. Did you mean 'int8'?"),
        (["--to", "half"], "model: --to cannot be 'half'. It takes fp16, int8."),
        (["--activations", "int16"], "model: --activations cannot be 'int16'. Did you mean 'int8'"),
        (["--calibrate", "nowhere"], "--calibrate nowhere: there is no such folder."),
        (["--calibrate", "EMPTY"], "there is no file in it."),
        (["--calibrate", "EMPTY", "--to", "fp16"], "model: --calibrate is for --to int8"),
        (["--golden", "nowhere.json"], "--golden nowhere.json: No such file"),
        (["--golden", "FILE.json"], "expected a list of [input, expected answer, tolerance]"),
        (["--golden", "NONE.json"], "there is no golden answer in it"),
        (["--golden", "FILE.npz"], "expected arrays 'input.NAME' and 'expected.NAME'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    declare: Declare, entry: dict[str, Any], tmp_path: Path, arguments: list[str], said: str
) -> None:
    declare(**entry)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE.json").write_text('{"a": 1}')
    (tmp_path / "NONE.json").write_text("[]")
    arrays: Any = {"input.x": np.zeros(3)}
    np.savez(tmp_path / "FILE.npz", **arrays)
    given = [str(tmp_path / each) if each[0].isupper() else each for each in arguments]
    with pytest.raises(CommandError) as caught:
        quantize("model", *given)
    assert said in str(caught.value)


def test_calibration_that_the_model_does_not_take(
    declare: Declare, entry: dict[str, Any], tmp_path: Path
) -> None:
    declare(**entry)
    folder = calibration(tmp_path / "pictures", np.zeros((20, 3), np.float32))
    with pytest.raises(CommandError, match="model cannot be quantised to int8: the model does not"):
        quantize("model", "--calibrate", folder)


def test_predictors_that_cannot_be_quantised(
    declare: Declare, entry: dict[str, Any], tmp_path: Path
) -> None:
    declare(RUNTIME="tests.sample_runtimes.echo")
    with pytest.raises(CommandError, match="model cannot be quantised to int8: it has no MODEL"):
        quantize("model")
    (tmp_path / "model.skops").write_bytes(b"")
    declare(MODEL=tmp_path / "model.skops")
    with pytest.raises(CommandError, match="any model in ONNX, and models of the runtimes 'tensor"):
        quantize("model")
    entry["MODEL"].write_bytes(b"no model")
    declare(**entry)
    with pytest.raises(CommandError, match="the model cannot be loaded"):
        quantize("model")
    with pytest.raises(CommandError, match="Did you mean 'model'"):
        quantize("modle")
