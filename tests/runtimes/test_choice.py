"""Which runtime a predictor gets, and how it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_inference import runtimes
from django_inference.runtimes.base import BaseRuntime
from django_inference.runtimes.callable import CallableRuntime
from tests.runtimes.samples import Upper

SAMPLES = "tests.runtimes.samples"


@pytest.mark.parametrize("name", runtimes.BUILT_IN)
def test_a_short_name_stands_for_a_runtime_class(name: str) -> None:
    options = {"function": f"{SAMPLES}.lengths"} if name == "callable" else {}
    runtime = runtimes.create(runtimes.resolve(name, None), options)
    assert isinstance(runtime, BaseRuntime)
    module, _, class_name = runtimes.BUILT_IN[name].rpartition(".")
    assert (type(runtime).__module__, type(runtime).__name__) == (module, class_name)


def test_a_dotted_path_stands_for_itself() -> None:
    assert runtimes.resolve(f"{SAMPLES}.Upper", "/models/any.onnx") == f"{SAMPLES}.Upper"


@pytest.mark.parametrize(
    ("artifact", "name"),
    [
        ("/models/yolo.onnx", "onnx"),
        ("/models/yolo.ort", "onnx"),
        ("/models/faces.keras", "tensorflow"),
        ("/models/faces.h5", "tensorflow"),
        ("/models/faces.hdf5", "tensorflow"),
        ("/models/vit.safetensors", "torch"),
        ("/models/vit.pt", "torch"),
        ("/models/vit.pth", "torch"),
        ("/models/vit.pt2", "torch"),
        ("/models/vit.torchscript", "torch"),
        ("/models/vit.ts", "torch"),
        ("/models/churn.joblib", "sklearn"),
        ("/models/churn.pkl", "sklearn"),
        ("/models/churn.skops", "sklearn"),
    ],
)
def test_the_runtime_follows_from_the_name_of_the_file(artifact: str, name: str) -> None:
    assert runtimes.resolve(None, artifact) == runtimes.BUILT_IN[name]


def test_the_runtime_follows_from_what_lies_in_a_folder(tmp_path: Path) -> None:
    saved_model, external_data = tmp_path / "notes", tmp_path / "yolo"
    saved_model.mkdir()
    (saved_model / "saved_model.pb").touch()
    (saved_model / "fingerprint.pb").touch()
    external_data.mkdir()
    (external_data / "model.onnx").touch()
    (external_data / "model.onnx.data").touch()
    assert runtimes.resolve(None, str(saved_model)) == runtimes.BUILT_IN["tensorflow"]
    assert runtimes.resolve(None, str(external_data)) == runtimes.BUILT_IN["onnx"]


@pytest.mark.parametrize("artifact", ["/models/weights.bin", "/models/onnx", "/models/notes"])
def test_an_artifact_of_no_known_kind_lists_the_kinds(artifact: str) -> None:
    with pytest.raises(LookupError) as error:
        runtimes.resolve(None, artifact)
    said = str(error.value)
    assert artifact in said
    for known in ("'onnx'", "'tensorflow'", "saved_model.pb", ".keras", ".skops", ".onnx"):
        assert known in said


@pytest.mark.parametrize("beside", ["tokenizer_config.json", "preprocessor_config.json"])
def test_a_folder_for_a_pipeline_is_not_one_of_weights_alone(tmp_path: Path, beside: str) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    assert runtimes.resolve(None, str(tmp_path)) == runtimes.BUILT_IN["torch"]
    (tmp_path / beside).touch()
    assert runtimes.resolve(None, str(tmp_path)) == runtimes.BUILT_IN["transformers"]
    (tmp_path / "model.onnx").touch()
    assert runtimes.resolve(None, str(tmp_path)) == runtimes.BUILT_IN["onnx"]


def test_an_empty_folder_is_of_no_known_kind(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no runtime is known"):
        runtimes.resolve(None, str(tmp_path))


def test_no_runtime_and_no_artifact_is_refused() -> None:
    with pytest.raises(LookupError, match="without MODEL, RUNTIME must name"):
        runtimes.resolve(None, None)


def test_a_misspelt_short_name_suggests_the_nearest() -> None:
    with pytest.raises(LookupError, match=r"no runtime 'tensorflw' \(did you mean 'tensorflow'\?"):
        runtimes.resolve("tensorflw", None)


@pytest.mark.parametrize("word", ["jax", "", "app..Runtime", "app/runtime.py", "app.my-runtime"])
def test_what_is_neither_a_name_nor_a_dotted_path_is_refused(word: str) -> None:
    with pytest.raises(LookupError, match="a runtime is one of 'onnx'"):
        runtimes.resolve(word, "/models/yolo.onnx")


@pytest.mark.parametrize(
    ("dotted", "options", "code"),
    [
        (runtimes.BUILT_IN["onnx"], {"function": f"{SAMPLES}.lengths"}, None),
        (runtimes.BUILT_IN["callable"], {"function": f"{SAMPLES}.lengths"}, f"{SAMPLES}.lengths"),
        (runtimes.BUILT_IN["torch"], {"model": f"{SAMPLES}.Upper"}, f"{SAMPLES}.Upper"),
        (runtimes.BUILT_IN["torch"], {"threads": 1}, None),
        # The function itself is there already, in the only process that can have it.
        (runtimes.BUILT_IN["callable"], {"function": len}, None),
        (f"{SAMPLES}.Upper", {"function": f"{SAMPLES}.lengths"}, f"{SAMPLES}.Upper"),
        (f"{SAMPLES}.lengths", {}, f"{SAMPLES}.lengths"),
    ],
)
def test_code_of_the_user_is_a_runtime_of_their_own_or_named_by_an_option(
    dotted: str, options: dict[str, Any], code: str | None
) -> None:
    assert runtimes.code_of_user(dotted, options) == code


def test_a_runtime_class_gets_the_options() -> None:
    runtime = runtimes.create(f"{SAMPLES}.Upper", {"suffix": "!", "times": 2})
    assert isinstance(runtime, Upper)
    runtime.load(None)
    assert runtime.predict(["a", "b"]) == ["AA!", "BB!"]


def test_a_function_becomes_a_runtime() -> None:
    runtime = runtimes.create(f"{SAMPLES}.scaled", {"factor": 10})
    assert isinstance(runtime, CallableRuntime)
    runtime.load(None)
    assert runtime.predict([1, 2]) == [10, 20]


def test_an_unknown_option_suggests_the_nearest() -> None:
    with pytest.raises(TypeError) as error:
        runtimes.create(f"{SAMPLES}.Upper", {"sufix": "!"})
    assert "'sufix' (did you mean 'suffix'?)" in str(error.value)
    assert "its options are 'suffix', 'times'" in str(error.value)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(TypeError, match="missing a required (keyword-only )?argument: 'function'"):
        runtimes.create(runtimes.BUILT_IN["callable"], {})


def test_a_function_takes_no_second_function() -> None:
    with pytest.raises(TypeError, match="does not take the option 'function'"):
        runtimes.create(f"{SAMPLES}.lengths", {"function": f"{SAMPLES}.power"})


def test_a_class_that_is_no_runtime_is_refused() -> None:
    with pytest.raises(TypeError, match=r"NoRuntime is a class, but not a subclass of"):
        runtimes.create(f"{SAMPLES}.NoRuntime", {})


def test_a_constant_is_no_runtime() -> None:
    with pytest.raises(TypeError, match="neither a runtime class nor a function"):
        runtimes.create(f"{SAMPLES}.constant", {})


def test_a_runtime_without_predict_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Unfinished.*predict"):
        runtimes.create(f"{SAMPLES}.Unfinished", {})


def test_a_missing_name_says_which_path_failed() -> None:
    with pytest.raises(ImportError, match=rf"{SAMPLES}\.Nope cannot be imported") as error:
        runtimes.create(f"{SAMPLES}.Nope", {})
    assert isinstance(error.value.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_framework", ModuleNotFoundError),
        ("def broken(:", SyntaxError),
        ("1 / 0", ZeroDivisionError),
    ],
)
def test_a_module_that_fails_to_import_keeps_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, cause: type[Exception]
) -> None:
    (tmp_path / "my_broken_runtimes.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"my_broken_runtimes\.Mine cannot be") as error:
        runtimes.create("my_broken_runtimes.Mine", {})
    assert isinstance(error.value.__cause__, cause)
    assert cause.__name__ in str(error.value)
