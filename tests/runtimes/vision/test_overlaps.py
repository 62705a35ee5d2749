"""Which of several boxes is kept."""

from __future__ import annotations

import numpy as np
import pytest

from django_inference.runtimes.vision import overlaps
from django_inference.runtimes.vision.overlaps import (
    keep_boxes,
    keep_oriented_boxes,
    similarity,
)

BOXES = np.array(
    [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 9], [100, 100, 110, 110], [0, 0, 10, 10]], float
)
CONFIDENCES = np.array([0.6, 0.9, 0.3, 0.5, 0.1])
CLASSES = np.array([0, 0, 0, 0, 1])


def test_the_surest_of_its_class_is_kept() -> None:
    # 0 and 1 share 9 of 11 parts; 0 and 2 nine of ten; 4 is of another class.
    assert keep_boxes(BOXES, CONFIDENCES, CLASSES, 0.7).tolist() == [1, 3, 4]
    assert keep_boxes(BOXES, CONFIDENCES, CLASSES, 0.85).tolist() == [1, 0, 3, 4]
    assert keep_boxes(BOXES, CONFIDENCES, CLASSES, 1.0).tolist() == [1, 0, 3, 2, 4]


def test_no_boxes_are_no_boxes() -> None:
    assert keep_boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), 0.5).tolist() == []
    assert keep_oriented_boxes(np.zeros((0, 5)), np.zeros(0, int), 0.5).tolist() == []


def test_oriented_boxes_are_the_same_however_they_are_written() -> None:
    some = np.array([[50, 50, 40, 20, 0.3], [50, 50, 40, 20, 0.3]])
    same = np.array([[50, 50, 20, 40, 0.3 + np.pi / 2], [50, 50, 40, 20, 0.3 + np.pi]])
    np.testing.assert_allclose(similarity(some, same), 1, atol=1e-6)


def test_oriented_boxes_are_less_alike_the_more_they_are_turned_or_moved() -> None:
    base = np.array([[50, 50, 40, 20, 0.0]])
    turned = np.array([[50, 50, 40, 20, angle] for angle in (0, 0.2, 0.6, 1.2, np.pi / 2)])
    moved = np.array([[50 + away, 50, 40, 20, 0.0] for away in (0, 3, 10, 40, 4000)])
    for others in (turned, moved):
        (alike,) = similarity(base, others)
        assert alike[0] == pytest.approx(1)
        assert (np.diff(alike) < 0).all()
    assert alike[-1] == pytest.approx(0)


def test_a_box_without_extent_is_like_itself_alone() -> None:
    nothing = np.array([[50, 50, 0, 0, 0.0]])
    assert similarity(nothing, nothing)[0, 0] == pytest.approx(1)
    assert similarity(nothing, np.array([[50, 50, 40, 20, 0.0]]))[0, 0] < 0.01


def test_oriented_boxes_compete_within_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array(
        [
            [50, 50, 40, 20, 0.3],
            [51, 50, 40, 20, 0.3],
            [300, 50, 40, 20, 0.3],
            [50, 50, 40, 20, 0.3],
            [301, 50, 40, 20, 0.31],
        ]
    )
    classes = np.array([0, 0, 0, 1, 0])
    assert keep_oriented_boxes(boxes, classes, 0.7).tolist() == [0, 2, 3]
    # However many are looked at together.
    monkeypatch.setattr(overlaps, "_BLOCK", 2)
    assert keep_oriented_boxes(boxes, classes, 0.7).tolist() == [0, 2, 3]
