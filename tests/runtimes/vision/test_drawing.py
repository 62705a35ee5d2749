"""The picture with what was found on it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from django_inference.runtimes.vision.drawing import annotated

WHITE = np.full((200, 300, 3), 255, np.uint8)


def drawn(*boxes: dict[str, Any], **more: Any) -> Any:
    result = {"width": 300, "height": 200, "boxes": list(boxes), **more}
    image = Image.open(io.BytesIO(annotated(WHITE, result)))
    assert image.format == "JPEG"
    assert image.size == (300, 200)
    return np.asarray(image).astype(int)


def box(**more: Any) -> dict[str, Any]:
    return {
        "label": "cat",
        "class": 0,
        "confidence": 0.9,
        "box": [50.0, 60.0, 250.0, 150.0],
        **more,
    }


def is_red(pixel: Any) -> bool:
    red, green, blue = pixel
    return bool(red > 130 and red > green + 60 and red > blue + 60)


def test_a_box_and_its_label_are_drawn_and_nothing_else() -> None:
    pixels = drawn(box())
    for x, y in ((50, 100), (250, 100), (150, 60), (150, 150)):
        assert is_red(pixels[y, x])
    for x, y in ((150, 100), (20, 100), (280, 100), (150, 180)):
        assert pixels[y, x].min() > 235
    # The label is above the box.
    assert is_red(pixels[52, 51])


def test_the_arrays_of_the_caller_are_left_alone() -> None:
    picture = WHITE.copy()
    picture.setflags(write=False)
    annotated(picture, {"boxes": [box()]})


def test_a_label_stays_on_the_picture() -> None:
    pixels = drawn(box(box=[-5.0, 0.0, 100.0, 100.0]))
    assert is_red(pixels[1, 1])


def test_an_oriented_box_is_drawn_by_its_corners() -> None:
    pixels = drawn(box(corners=[[150.0, 70.0], [240.0, 105.0], [150.0, 140.0], [60.0, 105.0]]))
    for x, y in ((150, 70), (238, 105), (150, 140), (62, 105)):
        assert is_red(pixels[y, x])
    assert pixels[140, 50].min() > 235


def test_outlines_and_keypoints_are_drawn() -> None:
    triangle = [[100.0, 80.0], [200.0, 80.0], [150.0, 130.0]]
    points = [[120.0, 120.0, 0.9], [180.0, 120.0, 0.1]]
    pixels = drawn(box(polygons=[triangle], keypoints=points))
    assert is_red(pixels[80, 150])
    assert is_red(pixels[120, 120])
    # The model does not see this one.
    assert pixels[120, 180].min() > 235
    assert is_red(drawn(box(keypoints=[[180.0, 120.0]]))[120, 180])


def test_classes_are_written_below_each_other() -> None:
    guesses = [{"label": "cat", "class": 0, "confidence": 0.9}, {"label": "дом", "class": 1}]
    guesses[1]["confidence"] = 0.1
    pixels = drawn(classes=guesses)
    assert is_red(pixels[1, 1])
    red, _, blue = pixels[18, 1]
    assert blue > red


def test_nothing_found_is_the_picture_itself() -> None:
    assert drawn().min() == 255
