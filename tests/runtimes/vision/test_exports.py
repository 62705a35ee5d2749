"""What the yolo runtime makes of a file, on files that say one thing each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from django_inference.artifacts import Artifact
from django_inference.runtimes.vision.detections import Wanted
from django_inference.runtimes.vision.geometry import Letterbox
from django_inference.runtimes.vision.heads import Head
from django_inference.runtimes.yolo import YoloRuntime

Write = Callable[..., Path]

WORDS = {"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "stride": "32", "imgsz": "[64, 64]"}
#: Two candidates, a column each: centre and size, then what the classes have.
SEEN = np.array([[32, 10], [32, 20], [16, 8], [8, 4], [0.9, 0.1], [0.2, 0.6]], np.float32)


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a model that sees `SEEN` on white pictures, and less on darker ones."""

    def write(
        shape: Sequence[Any] = (1, 3, 64, 64),
        *,
        seen: Any = SEEN,
        kind: int = TensorProto.FLOAT,
        **words: str | None,
    ) -> Path:
        nodes = [
            helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["wide"], ["mean"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Squeeze", ["mean", "last"], ["brightness"]),
            helper.make_node("Mul", ["brightness", "seen"], ["output0"]),
        ]
        constants = [
            numpy_helper.from_array(np.asarray(seen, np.float32)[None], "seen"),
            numpy_helper.from_array(np.array([3]), "last"),
        ]
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("images", kind, shape)],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [None] * 3)],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        for key, value in {**WORDS, **words}.items():
            if value is not None:
                model.metadata_props.add(key=key, value=value)
        onnx.save(model, tmp_path / "pets.onnx")
        return tmp_path / "pets.onnx"

    return write


def loaded(path: Path, **options: Any) -> YoloRuntime:
    runtime = YoloRuntime(threads=1, **options)
    runtime.load(Artifact(path))
    return runtime


def white(height: int, width: int) -> Any:
    return np.full((height, width, 3), 255, np.uint8)


def test_a_box_lies_where_it_was_seen(written: Write) -> None:
    (result,) = loaded(written()).predict([white(64, 64)])
    assert result == {
        "width": 64,
        "height": 64,
        "boxes": [
            {"label": "cat", "class": 0, "confidence": pytest.approx(0.9), "box": [24, 28, 40, 36]},
            {"label": "dog", "class": 1, "confidence": pytest.approx(0.6), "box": [6, 18, 14, 22]},
        ],
    }


@pytest.mark.parametrize("batch", [1, 2, "batch"])
def test_every_number_of_pictures_fits_every_batch(written: Write, batch: Any) -> None:
    runtime = loaded(written((batch, 3, 64, 64)), confidence=0.3)
    pictures = [white(64, 64), white(64, 64) // 2, white(64, 64) // 4]
    found = [len(result["boxes"]) for result in runtime.predict(pictures)]
    # The darker, the less sure.
    assert found == [2, 1, 0]


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_numbers_are_as_wide_as_the_file_says(written: Write, kind: int) -> None:
    (result,) = loaded(written(kind=kind)).predict([white(64, 64)])
    assert [box["confidence"] for box in result["boxes"]] == pytest.approx([0.9, 0.6], abs=1e-3)


def test_what_is_not_wanted_is_left_out(written: Write) -> None:
    path = written()

    def labels(**options: Any) -> list[str]:
        (result,) = loaded(path, **options).predict([white(64, 64)])
        return [box["label"] for box in result["boxes"]]

    assert labels(confidence=0.7) == ["cat"]
    assert labels(classes=["dog"]) == labels(classes=[1]) == ["dog"]
    assert labels(max_detections=1) == ["cat"]
    with pytest.raises(ValueError, match=r"'dgo' \(did you mean 'dog'\?\); it has 0 cat, 1 dog"):
        labels(classes=["dgo"])


def test_end_to_end_is_told_by_the_shape(written: Write) -> None:
    rows = [[24, 28, 40, 36, 0.9, 0], [6, 18, 14, 22, 0.6, 1]] + [[0] * 6] * 8
    (result,) = loaded(written(seen=rows)).predict([white(64, 64)])
    assert [box["box"] for box in result["boxes"]] == [[24, 28, 40, 36], [6, 18, 14, 22]]


def test_end_to_end_has_the_angles_of_oriented_boxes() -> None:
    head = Head("obb", 2, added=1, end_to_end=True)
    rows = np.array([[32, 32, 20, 10, 0.9, 1, np.pi / 2]])
    letterbox = Letterbox.fit((128, 128), (64, 64))
    found = head.read(rows, None, letterbox, Wanted(0.5, 0.7, None, 300))
    assert found.classes.tolist() == [1]
    np.testing.assert_allclose(found.boxes, [[54, 44, 74, 84]], atol=1e-4)
    assert found.corners is not None
    np.testing.assert_allclose(found.corners, [[[54, 84], [74, 84], [74, 44], [54, 44]]], atol=1e-4)


def test_the_size_of_a_file_that_fixes_it(written: Write) -> None:
    path = written((1, 3, 64, 96))
    assert loaded(path).warmup().shape == (64, 96, 3)
    assert loaded(path, image_size=[64, 96]).warmup().shape == (64, 96, 3)
    with pytest.raises(ValueError, match=r"pets\.onnx: image_size is 64 x 64, but .* 64 x 96"):
        loaded(path, image_size=64)


def test_the_size_of_a_file_that_leaves_it_open(written: Write) -> None:
    path = written(("batch", 3, "height", "width"))
    assert loaded(path).warmup().shape == (64, 64, 3)
    assert loaded(path, image_size=[32, 128]).warmup().shape == (32, 128, 3)
    with pytest.raises(ValueError, match="image_size is 100 x 100, not multiples of 32"):
        loaded(path, image_size=100)


def test_a_picture_is_given_no_more_room_than_it_needs(written: Write) -> None:
    # Scaled to 16 x 64: a quarter of the square, half of the smallest multiple of 32.
    for shape, part in (((1, 3, 64, 64), 1 / 4), (("batch", 3, "height", "width"), 1 / 2)):
        (result,) = loaded(written(shape), confidence=0).predict([white(32, 128)])
        brightness = part + (1 - part) * 114 / 255
        assert result["boxes"][0]["confidence"] == pytest.approx(0.9 * brightness, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"names": None}, "does not say its task and its classes.*'ultralytics'"),
        ({"task": None}, "does not say its task and its classes.*'ultralytics'"),
        ({"task": "depth"}, "is for the task 'depth'; this runtime does detect, segment, pose"),
        (
            {"task": "pose", "kpt_shape": "[17, 3]"},
            r"gives \[1, 6, 2\], which is no layout .* task 'pose' with 2 .*'ultralytics'",
        ),
        ({"names": "{0: 'cat'}"}, "no layout of YOLO 8 or later .* with 1 classes.*'ultralytics'"),
        ({"shape": (1, 1, 64, 64)}, r"takes images \[1, 1, 64, 64\], not one batch.*'ultralytics'"),
    ],
)
def test_what_it_does_not_read_is_refused_when_it_is_loaded(
    written: Write, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=rf"pets\.onnx: .*{said}"):
        loaded(written(**words))


def test_a_model_of_something_else_is_refused(basic_pitch_onnx: Path, magika_onnx: Path) -> None:
    for path in (basic_pitch_onnx, magika_onnx):
        with pytest.raises(ValueError, match=rf"{path.name}: .*the runtime 'ultralytics'"):
            loaded(path)


def test_options_of_the_session_are_those_of_the_onnx_runtime(written: Write) -> None:
    path = written()
    with pytest.raises(ValueError, match="'CPUExecutionProvidor' is not in this build"):
        loaded(path, providers=["CPUExecutionProvidor"])
    with pytest.raises(ValueError, match="session_options has no attribute 'optimize'"):
        loaded(path, session_options={"optimize": 1})
    for threads in (1, 0):
        runtime = YoloRuntime(threads=threads)
        runtime.load(Artifact(path))
        options = runtime._session.get_session_options()
        assert options.intra_op_num_threads == threads


def test_a_missing_file_fails_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        loaded(tmp_path / "gone.onnx")
