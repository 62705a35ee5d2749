"""A file that is not what its name says, and names that are not those of this package."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnx.parser
import pytest
import sklearn
from pytest_django import Settings
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from django_inference import ModelLoadFailed, predictors, runtimes
from django_inference.artifacts import Artifact
from django_inference.backends.local import LocalBackend
from django_inference.conf import parse_predictor
from django_inference.management.tables import status_table
from django_inference.runtimes.onnx import OnnxRuntime

LOCAL = "django_inference.backends.local.LocalBackend"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def check(**entry: Any) -> list[str]:
    settings = parse_predictor("model", {"BACKEND": LOCAL, **entry})
    return [f"{message.id} {message.msg}" for message in LocalBackend.check(settings)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (LFS, "git lfs pull"),
        (b"/annex/objects/SHA256E-s1--00.onnx\n", "git annex get"),
        (b"\n<!DOCTYPE html>\n<html lang=en>", "is a web page"),
        (b"<html><body>404</body></html>", "is a web page"),
        (b"<!-- a proxy -->\n<HTML>", "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "a file server"),
    ],
)
@pytest.mark.parametrize("name", ["model.onnx", "model.pt", "model.joblib", "model.tflite"])
def test_what_is_no_model_is_named_by_the_check_and_the_load(
    content: bytes, said: str, name: str, tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for found in check(MODEL=path, TRUSTED=True):
        assert found.startswith("django_inference.W008 INFERENCE['model']['MODEL']: ")
        assert said in found
        # An empty one may be about to be written.
        assert content
    settings.INFERENCE = {"model": {"BACKEND": LOCAL, "MODEL": path, "TRUSTED": True}}
    with pytest.raises(ModelLoadFailed, match=said):
        predictors["model"].preload(wait=True, timeout=20)


def test_a_pointer_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(LFS)
    dotted = runtimes.BUILT_IN["transformers"]
    assert "model.safetensors is a Git LFS pointer" in runtimes.mistaken(tmp_path, dotted)
    # A file that holds nothing is no fault in a folder.
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert runtimes.mistaken(tmp_path, dotted) == ""


def archive(*names: str, pickled: bytes = b"") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.writestr(name, pickled)

    return write


YOLO = archive("best/data.pkl", pickled=b"\x80\x02cultralytics.nn.tasks\nDetectionModel\nq\x00")


@pytest.mark.parametrize(
    ("write", "given", "said"),
    [
        (YOLO, "torch", "set RUNTIME to 'ultralytics'"),
        (YOLO, "onnx", "set RUNTIME to 'ultralytics'"),
        (YOLO, "ultralytics", ""),
        (archive("m/data.pkl", pickled=b"\x80\x02ctorch"), "sklearn", "'torch'"),
        (archive("m/data.pkl", pickled=b"\x80\x02ctorch"), "torch", ""),
        (archive("m/constants.pkl", "m/data.pkl"), "onnx", "a TorchScript archive"),
        (archive("schema.json"), "torch", "'sklearn'"),
        (archive("config.json", "model.weights.h5"), "torch", "'tensorflow'"),
        (archive("anything.txt"), "onnx", ""),
        (b"\x1c\0\0\0TFL3\0\0", "tensorflow", "'litert'"),
        (b"\x89HDF\r\n\x1a\n\0", "torch", "'tensorflow'"),
        (b"\x89HDF\r\n\x1a\n\0", "tensorflow1", ""),
        (b"GGUF\x03\0", "torch", "no runtime of this package reads it"),
        (b"\x08\x08\x12\x07pytorch", "torch", "'onnx'"),
        (b"\x08\x08\x12\x07pytorch", "yolo", ""),
        (pickle.dumps({"a": 1}), "sklearn", ""),
        (b'{"learner": {}}', "xgboost", ""),
        (b"PK\x03\x04 half a file", "torch", ""),
    ],
)
def test_a_file_of_another_framework_suggests_its_runtime(
    write: Any, given: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(write) if isinstance(write, bytes) else write(path)
    found = runtimes.mistaken(path, runtimes.BUILT_IN[given])
    assert said in found
    assert bool(found) == bool(said)
    # Code of the user's own may read any of them.
    assert runtimes.mistaken(path, "shop.models.Detector") == ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("keras", "tensorflow"),
        ("Keras", "tensorflow"),
        ("tf", "tensorflow"),
        ("TensorFlow", "tensorflow"),
        ("tf1", "tensorflow1"),
        ("tf.keras", "tensorflow"),
        ("tf.compat.v1", "tensorflow1"),
        ("tensorflow.lite", "litert"),
        ("torch.jit", "torch"),
        ("pytorch", "torch"),
        ("PyTorch", "torch"),
        ("torchscript", "torch"),
        ("tflite", "litert"),
        ("TF-Lite", "litert"),
        ("scikit-learn", "sklearn"),
        ("scikit_learn", "sklearn"),
        ("huggingface", "transformers"),
        ("hugging-face", "transformers"),
        ("sentence-transformers", "transformers"),
        ("yolov8", "ultralytics"),
        ("yolo11", "ultralytics"),
        ("onnxruntime", "onnx"),
        ("lgbm", "lightgbm"),
        ("xgb", "xgboost"),
        ("tensoflow", "tensorflow"),
    ],
)
def test_a_name_that_people_use_suggests_the_runtime(name: str, meant: str) -> None:
    (found,) = check(RUNTIME=name, MODEL=__file__)
    assert found.startswith("django_inference.E010 ")
    assert f"there is no runtime {name!r} (did you mean {meant!r}?)" in found


def test_an_export_of_yolo_suggests_what_runs_it() -> None:
    with pytest.raises(LookupError, match="did you mean 'yolo'"):
        runtimes.resolve("yolov8", "/models/best.onnx")


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("ner", "token-classification"),
        ("sentiment-analysis", "text-classification"),
        ("embeddings", "feature-extraction"),
        ("asr", "automatic-speech-recognition"),
        ("image-classification", "image-classification"),
    ],
)
def test_a_task_as_a_runtime_says_where_it_belongs(name: str, task: str) -> None:
    (found,) = check(RUNTIME=name, MODEL=__file__)
    assert f'set RUNTIME to \'transformers\', and RUNTIME_OPTIONS to {{"task": "{task}"}}' in found


def test_a_task_is_looked_at_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    entry: dict[str, Any] = {"RUNTIME": "transformers", "MODEL": tmp_path}
    for task in ("ner", "sentiment-analysis", "token-classification"):
        assert check(**entry, RUNTIME_OPTIONS={"task": task}) == []
    for task, meant in (("embeddings", "feature-extraction"), ("fil-mask", "fill-mask")):
        settings = parse_predictor(
            "model", {"BACKEND": LOCAL, **entry, "RUNTIME_OPTIONS": {"task": task}}
        )
        (message,) = LocalBackend.check(settings)
        assert message.id == "django_inference.E014"
        assert message.hint == f"Did you mean {meant!r}?"


def test_zipmap_is_named_for_a_sequence_of_maps_only(tmp_path: Path) -> None:
    maps = """<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]>
    g (float[n, 2] x) => (seq(map(int64, float)) y) {
        y = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1]> (x)
    }"""
    tensors = """<ir_version: 8, opset_import: ["": 17]>
    g (float[n, 2] x) => (seq(float[n, 2]) y) { y = SequenceConstruct(x) }"""
    for text, names_it in ((maps, True), (tensors, False)):
        onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
        with pytest.raises(ValueError, match="no tensor that numpy knows") as caught:
            OnnxRuntime().load(Artifact(tmp_path / "model.onnx"))
        assert ("zipmap=False" in str(caught.value)) == names_it


def test_another_version_of_scikit_learn_is_a_warning_in_the_status(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.array([[0.0], [1.0]])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, [0, 1])
    with monkeypatch.context() as patched:
        patched.setattr("sklearn.base.__version__", "1.0.2")
        joblib.dump(pipeline, tmp_path / "old.joblib")
    settings.INFERENCE = {
        "old": {"BACKEND": LOCAL, "MODEL": tmp_path / "old.joblib", "TRUSTED": True}
    }
    predictors["old"].preload(wait=True, timeout=30)
    status = predictors["old"].status()
    (said,) = status.replicas[0].warnings
    assert said.startswith(f"saved with scikit-learn 1.0.2, loaded with {sklearn.__version__}")
    assert "StandardScaler" in said and "LogisticRegression" in said
    console = Console(file=io.StringIO(), width=300)
    console.print(status_table([status]))
    assert f"old: warning: {said}" in console.file.getvalue()  # type: ignore[attr-defined]
