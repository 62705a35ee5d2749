"""The yolo runtime: the boxes of ultralytics, without torch."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from django_inference.artifacts import Artifact
from django_inference.runtimes.yolo import YoloRuntime
from tests.runtimes.vision.conftest import SIDE, overlap


def loaded(path: Path, **options: Any) -> YoloRuntime:
    runtime = YoloRuntime(**options)
    runtime.load(Artifact(path))
    return runtime


def look(runtime: Any, *items: Any) -> list[Any]:
    return list(runtime.predict([runtime.preprocess(item) for item in items]))


def column(boxes: list[dict[str, Any]], key: str) -> Any:
    return np.array([box[key] for box in boxes])


def image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.fixture(scope="module")
def falls(falls_onnx: Path) -> YoloRuntime:
    return loaded(falls_onnx)


def as_ultralytics_sees(path: Path, **options: Any) -> Any:
    from django_inference.runtimes.ultralytics import UltralyticsRuntime

    runtime = UltralyticsRuntime(**options)
    runtime.load(Artifact(path, trusted=True))
    return runtime


@pytest.mark.heavy
def test_people_are_seen_as_ultralytics_sees_them(
    falls: YoloRuntime, ultralytics: Any, falls_pt: Path, bus: bytes, zidane: bytes
) -> None:
    # The export takes squares only, so the original is given squares too.
    model = ultralytics.YOLO(falls_pt)
    for photo in (bus, zidane):
        (direct,) = model.predict(image(photo), rect=False, verbose=False)
        (result,) = look(falls, photo)
        boxes = result["boxes"]
        assert column(boxes, "class").tolist() == direct.boxes.cls.tolist()
        assert [box["label"] for box in boxes] == ["Normal"] * len(boxes)
        for box, expected in zip(boxes, direct.boxes.xyxy, strict=True):
            assert overlap(box["box"], expected) > 0.95
        np.testing.assert_allclose(column(boxes, "confidence"), direct.boxes.conf, atol=0.01)


WITHOUT_TORCH = """
import json
import sys
from importlib.abc import MetaPathFinder

class NoTorch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "ultralytics"):
            raise ImportError(f"{name} is not for this process")

sys.meta_path.insert(0, NoTorch())
from django_inference.artifacts import Artifact
from django_inference.runtimes.yolo import YoloRuntime

runtime = YoloRuntime()
runtime.load(Artifact(sys.argv[1]))
with open(sys.argv[2], "rb") as file:
    (result,) = runtime.predict([runtime.preprocess(file.read())])
print(json.dumps(result))
"""


def test_there_need_be_no_torch(
    in_new_process: Callable[..., subprocess.CompletedProcess[str]],
    falls: YoloRuntime,
    falls_onnx: Path,
    tmp_path: Path,
    bus: bytes,
) -> None:
    photo = tmp_path / "bus.jpg"
    photo.write_bytes(bus)
    done = in_new_process(WITHOUT_TORCH, str(falls_onnx), str(photo))
    assert done.returncode == 0, done.stderr
    (result,) = look(falls, bus)
    assert len(result["boxes"]) == 4
    # What JSON has is what there was.
    assert json.loads(done.stdout) == result


def test_a_batch_equals_its_photos_one_by_one(
    falls: YoloRuntime, bus: bytes, zidane: bytes
) -> None:
    small = np.asarray(image(zidane).resize((320, 180)))
    together = look(falls, bus, zidane, small)
    assert together == [look(falls, photo)[0] for photo in (bus, zidane, small)]
    assert [len(result["boxes"]) for result in together][:2] == [4, 2]


def test_an_array_that_cannot_be_written_to_is_no_hindrance(falls: YoloRuntime) -> None:
    exact = np.full((640, 640, 3), 90, np.uint8)
    exact.setflags(write=False)
    assert look(falls, exact) == look(falls, exact.copy())


def test_the_warm_up_is_a_picture_of_the_models_size(falls: YoloRuntime) -> None:
    assert falls.warmup().shape == (640, 640, 3)
    assert look(falls, falls.warmup())[0]["boxes"] == []


def test_fewer_or_more_boxes_count(falls_onnx: Path, bus: bytes) -> None:
    runtime = loaded(falls_onnx, confidence=0.6, classes=["Normal"], annotate=True)
    (result,) = look(runtime, bus)
    assert len(result["boxes"]) == 3
    assert min(box["confidence"] for box in result["boxes"]) > 0.6
    drawn = image(result["image"])
    assert (drawn.format, drawn.size) == ("JPEG", (810, 1080))


def test_where_it_runs_and_what_runs_it(falls: YoloRuntime) -> None:
    import onnxruntime

    assert falls.device == "cpu"
    assert falls.framework == f"onnxruntime {onnxruntime.__version__}"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "export"),
    [
        ("yolov8n-seg", {"batch": 2}),
        ("yolov8n-pose", {"dynamic": True}),
        ("yolov8n-obb", {"batch": 1}),
        ("yolov8n-cls", {"dynamic": True}),
        # End to end: the model itself picks the best of several boxes around one thing.
        ("yolo26n-seg", {"nms": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_task_has_the_results_of_ultralytics(
    untrained: Callable[..., Path],
    name: str,
    export: dict[str, Any],
    bus: bytes,
    zidane: bytes,
) -> None:
    path = untrained(name, **export)
    options: dict[str, Any] = {"image_size": SIDE, "confidence": 0.3, "iou": 0.6}
    theirs = as_ultralytics_sees(path, **options)
    photos = (bus, zidane, np.asarray(image(bus))[:, ::-1])
    results = look(loaded(path, **options), *photos)
    for photo, result in zip(photos, results, strict=True):
        (expected,) = look(theirs, photo)
        assert result.keys() == expected.keys()
        key = "classes" if "classes" in result else "boxes"
        assert len(result[key]) == len(expected[key]) > 2
        assert len({box["class"] for box in result[key]}) > 1 or name.endswith("pose")
        for one, other in zip(result[key], expected[key], strict=True):
            _assert_same(one, other)


def _assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert (one["class"], one["label"]) == (other["class"], other["label"])
    assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)
    for key in one.keys() - {"class", "label", "confidence", "polygons"}:
        # The untrained see boxes that are far larger than the picture.
        np.testing.assert_allclose(one[key], other[key], rtol=1e-4, atol=0.05)
    if "polygons" in one:
        areas = [
            sum(abs(_area(np.array(part))) for part in each["polygons"]) for each in (one, other)
        ]
        # A pixel may fall on either side.
        assert areas[0] == pytest.approx(areas[1], rel=0.02, abs=200)


def _area(points: Any) -> float:
    """Of a polygon, by the surveyor's formula."""
    x, y = points.T
    return float(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
