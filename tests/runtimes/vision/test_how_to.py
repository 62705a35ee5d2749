"""The how-to's own settings, URL, view and calls, with the model that the other tests have."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
from PIL import Image
from pytest_django import Settings
from rest_framework.test import APIClient

from django_inference import InvalidInput, predictors

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "detect-objects.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
LOCAL = "django_inference.backends.local.LocalBackend"

Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, falls_onnx: Path, settings: Settings) -> Iterator[Run]:
    """Runs the block that contains a text; what it and those before it have named."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "best.onnx").symlink_to(falls_onnx)
    names: dict[str, Any] = {
        "__name__": "example",
        "BASE_DIR": tmp_path,
        "INSTALLED_APPS": [],
        "MIDDLEWARE": [],
    }

    def block(containing: str) -> dict[str, Any]:
        (found,) = [block for block in BLOCKS if containing in block]
        exec(compile(found, PAGE.name, "exec"), names)
        return names

    settings.MIDDLEWARE = []
    yield block
    predictors.reset()


def declare(settings: Settings, declared: dict[str, Any], *aliases: str) -> None:
    """As the page has it, but in this process."""
    settings.INFERENCE = {
        alias: {**declared[alias], "BACKEND": LOCAL, "OPTIONS": {}} for alias in aliases
    }


def test_the_endpoint(run: Run, settings: Settings, bus: bytes, zidane: bytes) -> None:
    declare(settings, run("INSTALLED_APPS")["INFERENCE"], "detector")
    settings.ROOT_URLCONF = tuple(run("urlpatterns")["urlpatterns"])
    client = APIClient()
    raw = client.post("/detect/", bus, content_type="image/jpeg").json()
    assert (raw["result"]["width"], raw["result"]["height"]) == (810, 1080)
    assert {box["label"] for box in raw["result"]["boxes"]} == {"Normal"}
    upload = {"photo": SimpleUploadedFile("bus.jpg", bus)}
    assert client.post("/detect/", upload).json() == raw
    uploads = [SimpleUploadedFile("bus.jpg", bus), SimpleUploadedFile("street.jpg", zidane)]
    results = client.post("/detect/", {"photo": uploads}).json()["results"]
    assert [result["width"] for result in results] == [810, 1280]
    assert results[0] == raw["result"]
    text = "data:image/jpeg;base64," + base64.b64encode(bus).decode()
    for item in (text, {"b64": base64.b64encode(bus).decode()}):
        assert client.post("/detect/", {"item": item}, format="json").json() == raw
    # This model knows people by how they are.
    assert run("def count_people")["count_people"](io.BytesIO(bus)) == 0
    refused = client.post("/detect/", b"no photo", content_type="image/jpeg")
    assert refused.status_code == 400
    assert "a picture is wanted" in refused.json()["detail"]


def test_the_photo_with_the_boxes(run: Run, settings: Settings, bus: bytes) -> None:
    run("INSTALLED_APPS")
    declare(settings, run('INFERENCE["drawing"]')["INFERENCE"], "drawing")
    draw = run("def draw")["draw"]
    upload = {"photo": SimpleUploadedFile("bus.jpg", bus)}
    response = draw(RequestFactory().post("/draw/", upload))
    assert response.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(response.content)).size == (810, 1080)


def test_addresses(run: Run, settings: Settings) -> None:
    run("INSTALLED_APPS")
    declare(settings, run("allow_urls")["INFERENCE"], "detector")
    with pytest.raises(InvalidInput, match="may not be fetched from 'https://example.org/"):
        predictors["detector"].predict_one("https://example.org/photos/bus.jpg")


def test_what_is_not_exported_is_declared_rightly(run: Run, settings: Settings) -> None:
    run("INSTALLED_APPS")
    settings.INFERENCE = run('INFERENCE["trained"]')["INFERENCE"]
    assert "trained" in predictors
    predictors["trained"]  # noqa: B018
