"""The ultralytics runtime beside the package itself, on real weights and on untrained ones."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from django_inference.artifacts import Artifact
from django_inference.runtimes.ultralytics import UltralyticsRuntime
from tests.runtimes.vision.conftest import SIDE

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def loaded(ultralytics: Any) -> Callable[..., UltralyticsRuntime]:
    # As many as the package itself takes: other numbers add up in another order.
    threads = ultralytics.utils.NUM_THREADS

    def load(path: Path, **options: Any) -> UltralyticsRuntime:
        runtime = UltralyticsRuntime(**{"threads": threads, **options})
        runtime.load(Artifact(path, trusted=True))
        return runtime

    return load


@pytest.fixture(scope="module")
def falls(loaded: Callable[..., UltralyticsRuntime], falls_pt: Path) -> UltralyticsRuntime:
    return loaded(falls_pt)


def look(runtime: UltralyticsRuntime, *items: Any) -> list[Any]:
    return runtime.predict([runtime.preprocess(item) for item in items])


def image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def column(boxes: list[dict[str, Any]], key: str) -> Any:
    return np.array([box[key] for box in boxes])


def test_people_are_seen_as_the_package_sees_them(
    falls: UltralyticsRuntime, ultralytics: Any, falls_pt: Path, bus: bytes
) -> None:
    (direct,) = ultralytics.YOLO(falls_pt).predict(image(bus), verbose=False)
    (result,) = look(falls, bus)
    assert (result["width"], result["height"]) == (810, 1080)
    boxes = result["boxes"]
    assert [box["label"] for box in boxes] == ["Normal"] * 4
    assert column(boxes, "class").tolist() == direct.boxes.cls.tolist()
    np.testing.assert_allclose(column(boxes, "box"), direct.boxes.xyxy, atol=0.01)
    np.testing.assert_allclose(column(boxes, "confidence"), direct.boxes.conf, atol=1e-5)


def test_results_are_plain_python(falls: UltralyticsRuntime, bus: bytes) -> None:
    (result,) = look(falls, bus)
    box = result["boxes"][0]
    kinds = {key: type(value) for key, value in box.items()}
    assert kinds == {"label": str, "class": int, "confidence": float, "box": list}
    assert {type(value) for value in box["box"]} == {float}


def test_every_way_to_send_a_photo_gives_the_same(falls: UltralyticsRuntime, bus: bytes) -> None:
    pixels = np.asarray(image(bus))
    assert look(falls, bus) == look(falls, pixels) == look(falls, image(bus))


def test_a_batch_equals_its_photos_one_by_one(
    falls: UltralyticsRuntime, bus: bytes, zidane: bytes
) -> None:
    # Of three sizes, one of them twice: what the package itself would make squares of.
    flipped = np.asarray(image(bus))[:, ::-1]
    small = np.asarray(image(zidane).resize((640, 360)))
    photos = [bus, zidane, flipped, small]
    together = look(falls, *photos)
    assert [len(result["boxes"]) for result in together][:2] == [4, 2]
    for photo, result in zip(photos, together, strict=True):
        (alone,) = look(falls, photo)
        assert len(alone["boxes"]) == len(result["boxes"])
        np.testing.assert_allclose(
            column(alone["boxes"], "box"), column(result["boxes"], "box"), atol=0.05
        )


def test_squares_put_photos_of_all_sizes_into_one_run(
    loaded: Callable[..., UltralyticsRuntime],
    ultralytics: Any,
    falls_pt: Path,
    bus: bytes,
    zidane: bytes,
) -> None:
    runtime = loaded(falls_pt, rect=False)
    direct = ultralytics.YOLO(falls_pt).predict([image(bus), image(zidane)], verbose=False)
    for result, expected in zip(look(runtime, bus, zidane), direct, strict=True):
        np.testing.assert_allclose(
            column(result["boxes"], "box"), expected.boxes.xyxy, rtol=0, atol=0.01
        )


def test_an_exported_file_is_run_as_the_package_runs_it(
    loaded: Callable[..., UltralyticsRuntime],
    ultralytics: Any,
    falls_onnx: Path,
    bus: bytes,
    zidane: bytes,
) -> None:
    runtime = loaded(falls_onnx)
    results = look(runtime, bus, zidane)
    model = ultralytics.YOLO(falls_onnx, task="detect")
    for photo, result in zip((bus, zidane), results, strict=True):
        (direct,) = model.predict(image(photo), verbose=False)
        assert len(result["boxes"]) == len(direct.boxes) > 1
        np.testing.assert_allclose(column(result["boxes"], "box"), direct.boxes.xyxy, atol=0.01)


def test_masks_are_outlines(
    loaded: Callable[..., UltralyticsRuntime],
    untrained: Callable[..., Path],
    ultralytics: Any,
    bus: bytes,
) -> None:
    path = untrained("yolov8n-seg")
    (direct,) = ultralytics.YOLO(path).predict(image(bus), imgsz=SIDE, conf=0.5, verbose=False)
    (result,) = look(loaded(path, image_size=SIDE, confidence=0.5), bus)
    boxes = result["boxes"]
    assert len(boxes) == len(direct.boxes) > 10
    whole = 0
    for box, merged in zip(boxes, direct.masks.xy, strict=True):
        # The package joins the parts of a mask by thin lines.
        of_it = {tuple(point) for point in np.asarray(merged, np.float32).tolist()}
        parts = [np.asarray(part, np.float32) for part in box["polygons"]]
        assert {tuple(point) for part in parts for point in part.tolist()} <= of_it
        if len(parts) == 1 and len(parts[0]) == len(merged):
            whole += 1
            np.testing.assert_allclose(parts[0], merged, atol=1e-3)
    assert whole


def test_keypoints_have_a_place_and_a_confidence(
    loaded: Callable[..., UltralyticsRuntime],
    untrained: Callable[..., Path],
    ultralytics: Any,
    bus: bytes,
) -> None:
    path = untrained("yolov8n-pose")
    (direct,) = ultralytics.YOLO(path).predict(image(bus), imgsz=SIDE, conf=0.2, verbose=False)
    (result,) = look(loaded(path, image_size=SIDE, confidence=0.2), bus)
    keypoints = column(result["boxes"], "keypoints")
    assert keypoints.shape == (len(direct.boxes), 17, 3)
    np.testing.assert_allclose(keypoints, direct.keypoints.data, atol=1e-3)
    np.testing.assert_allclose(column(result["boxes"], "box"), direct.boxes.xyxy, atol=1e-3)


def test_oriented_boxes_have_corners(
    loaded: Callable[..., UltralyticsRuntime],
    untrained: Callable[..., Path],
    ultralytics: Any,
    bus: bytes,
) -> None:
    path = untrained("yolov8n-obb")
    (direct,) = ultralytics.YOLO(path).predict(image(bus), imgsz=SIDE, conf=0.5, verbose=False)
    (result,) = look(loaded(path, image_size=SIDE, confidence=0.5), bus)
    boxes = result["boxes"]
    assert len(boxes) == len(direct.obb) > 10
    np.testing.assert_allclose(column(boxes, "corners"), direct.obb.xyxyxyxy, atol=0.01)
    np.testing.assert_allclose(column(boxes, "box"), direct.obb.xyxy, atol=0.01)
    np.testing.assert_allclose(column(boxes, "confidence"), direct.obb.conf, atol=1e-5)


def test_a_classifier_ranks_its_classes(
    loaded: Callable[..., UltralyticsRuntime],
    untrained: Callable[..., Path],
    ultralytics: Any,
    bus: bytes,
) -> None:
    path = untrained("yolov8n-cls")
    (direct,) = ultralytics.YOLO(path).predict(image(bus), imgsz=SIDE, verbose=False)
    (result,) = look(loaded(path, image_size=SIDE), bus)
    assert result.keys() == {"width", "height", "classes"}
    assert column(result["classes"], "class").tolist() == direct.probs.top5
    np.testing.assert_allclose(column(result["classes"], "confidence"), direct.probs.top5conf)

    (some,) = look(loaded(path, image_size=SIDE, classes=["7", 3], max_detections=1), bus)
    (best,) = some["classes"]
    surest = max((3, 7), key=lambda each: float(direct.probs.data[each]))
    assert (best["class"], best["label"]) == (surest, str(surest))


def test_only_what_was_asked_for_counts(
    loaded: Callable[..., UltralyticsRuntime], falls_pt: Path, bus: bytes
) -> None:
    (sure,) = look(loaded(falls_pt, confidence=0.6, classes=["Normal"]), bus)
    assert len(sure["boxes"]) == 2 and column(sure["boxes"], "confidence").min() > 0.6
    (first,) = look(loaded(falls_pt, classes=[0], max_detections=3), bus)
    assert len(first["boxes"]) == 3


def test_the_annotated_photo_is_a_jpeg_of_the_same_size(
    loaded: Callable[..., UltralyticsRuntime], falls_pt: Path, bus: bytes
) -> None:
    (result,) = look(loaded(falls_pt, annotate=True), bus)
    drawn = image(result["image"])
    assert (drawn.format, drawn.size) == ("JPEG", (810, 1080))
    left, top = (round(value) for value in result["boxes"][0]["box"][:2])
    before, after = (np.asarray(each).astype(int) for each in (image(bus), drawn))
    assert np.abs(after - before)[top + 20 : top + 40, left].max() > 60


def test_where_it_runs_and_what_runs_it(falls: UltralyticsRuntime) -> None:
    import torch
    import ultralytics

    assert falls.device == "cpu"
    assert falls.framework == f"ultralytics {ultralytics.__version__}, torch {torch.__version__}"


def test_threads_are_those_of_the_option_or_the_cores(
    loaded: Callable[..., UltralyticsRuntime], falls_pt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        loaded(falls_pt, threads=3)
        assert torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        loaded(falls_pt, threads=None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_pickle_needs_trust(ultralytics: Any, falls_pt: Path) -> None:
    runtime = UltralyticsRuntime()
    with pytest.raises(ValueError, match=r"best\.pt is a pickle, .* set TRUSTED or pin SHA256"):
        runtime.load(Artifact(falls_pt))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": ["Fal"]}, r"no class 'Fal' \(did you mean 'Fall'\?\); it has 0 Normal, 1 Fa"),
        ({"classes": [2]}, "no class 2; it has 0 Normal, 1 Fall"),
        ({"device": "cuda"}, "cuda"),
        ({"half": True}, "half is for GPUs: the model is on the CPU"),
    ],
)
def test_an_option_that_does_not_fit_the_model_fails_the_load(
    loaded: Callable[..., UltralyticsRuntime], falls_pt: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        loaded(falls_pt, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"confidence": 25}, "confidence must lie between 0 and 1, not be 25"),
        ({"iou": -1}, "iou must lie between 0 and 1"),
        ({"max_detections": 0}, "max_detections must be 1 or more, not 0"),
        ({"classes": "Fall"}, "classes must be a list of names or numbers, not 'Fall'"),
        ({"image_size": [640]}, r"image_size must be a side, or .* not \[640\]"),
        ({"image_size": 0}, "image_size must be a side, or a height and a width, not 0"),
        ({"allow_urls": ["https://example.org"]}, "must be a scheme, a host and a folder"),
    ],
)
def test_an_option_that_fits_no_model_is_refused_at_once(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        UltralyticsRuntime(**options)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("half.pt", r"half\.pt cannot be read: "),
        ("model.yaml", r"model\.yaml must end in \.pt or \.onnx"),
        # The package would look for yolov5su.pt, and then download it.
        ("yolov5s.pt", r"yolov5s\.pt must have another name: .* for .*yolov5su\.pt"),
        ("it's.pt", r"it's\.pt must have another name"),
    ],
)
def test_what_is_no_model_fails_by_name(
    loaded: Callable[..., UltralyticsRuntime], falls_pt: Path, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / name).write_bytes(falls_pt.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=said):
        loaded(tmp_path / name)


def test_a_task_without_results_of_objects_is_refused(
    loaded: Callable[..., UltralyticsRuntime], ultralytics: Any, tmp_path: Path
) -> None:
    names = [path.stem for path in Path(ultralytics.__file__).parent.glob("cfg/models/26/*.yaml")]
    if "yolo26-sem" not in names:
        pytest.skip("this version has no model for another task")
    model = ultralytics.YOLO("yolo26n-sem.yaml")
    model.save(tmp_path / "streets.pt")
    with pytest.raises(ValueError, match=r"streets\.pt is for the task 'semantic'; this runtime"):
        loaded(tmp_path / "streets.pt")


ALONE = """
import sys

asked = []

def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "subprocess.Popen", "os.system"):
        asked.append((event, repr(arguments[:2])))

sys.addaudithook(note)
sys.path.insert(0, {root!r})
import tests.torchvision_ops
from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.ultralytics import UltralyticsRuntime

for path, trusted in (({pt!r}, True), ({onnx!r}, False)):
    runtime = UltralyticsRuntime(annotate=True, threads=2)
    runtime.load(Artifact(path, trusted=trusted))
    with open({photo!r}, "rb") as file:
        (result,) = runtime.predict([runtime.preprocess(file.read())])
    assert len(result["boxes"]) == 4, result["boxes"]
    try:
        runtime.preprocess(b"no picture")
    except InvalidInput as error:
        assert "10 bytes of none of these" in str(error), error
    runtime.close()
assert not asked, asked
"""


def test_the_package_stays_at_home(
    in_new_process: Callable[..., subprocess.CompletedProcess[str]],
    falls_pt: Path,
    falls_onnx: Path,
    tmp_path: Path,
    bus: bytes,
) -> None:
    """No look-ups, no connections, no programs, no files in the home, no words on the output."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    photo = tmp_path / "bus.jpg"
    photo.write_bytes(bus)
    program = ALONE.format(
        root=str(Path(__file__).parents[3]),
        pt=str(falls_pt),
        onnx=str(falls_onnx),
        photo=str(photo),
    )
    unwanted = ("YOLO", "XDG", "OMP", "PYTEST", "ULTRALYTICS", "GITHUB")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {"HOME": str(home), "TMPDIR": str(home / "tmp")}
    done = in_new_process(program, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert list(home.rglob("*")) == [home / "tmp"]
