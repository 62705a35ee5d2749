"""The how-to's own examples, run as they are printed."""

from __future__ import annotations

import re
import unittest
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from pytest_django import Settings
from rest_framework.test import APIClient

from django_inference import predictors
from django_inference.conf import examine_rest_classes, parse_predictor, raw_predictors
from django_inference.exceptions import Overloaded
from django_inference.rest import PredictView
from tests.rest.conftest import DUMMY, ClientFor

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve-over-http.md"
TEXT = PAGE.read_text() + PAGE.with_name("shape-your-api.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

#: What a project's settings hold before a block is added to them.
IN_SETTINGS: dict[str, Any] = {
    "BASE_DIR": Path("/srv/site"),
    "INSTALLED_APPS": [],
    "MIDDLEWARE": [],
    "INFERENCE": {"detector": {}, "classifier": {}},
}


def run(containing: str) -> dict[str, Any]:
    (block,) = [block for block in BLOCKS if containing in block]
    names = {**deepcopy(IN_SETTINGS), "__name__": "example"}
    exec(compile(block, PAGE.name, "exec"), names)
    return names


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_is_complete(block: str) -> None:
    exec(compile(block, PAGE.name, "exec"), {**deepcopy(IN_SETTINGS), "__name__": "example"})


@pytest.fixture(autouse=True)
def declared(settings: Settings) -> None:
    aliases = ("detector", "classifier", "embedder", "sentiment")
    settings.INFERENCE = {alias: {"BACKEND": DUMMY} for alias in aliases}
    for alias in aliases:
        backend: Any = predictors[alias].backend
        backend.returns(lambda inputs: inputs)


def test_the_settings_declare_both_predictors(settings: Settings) -> None:
    settings.INFERENCE = run("MIDDLEWARE")["INFERENCE"]
    assert list(predictors) == ["detector", "classifier"]


def test_the_urls(client_for: ClientFor, settings: Settings) -> None:
    (pattern,) = run('path("detect/", PredictView')["urlpatterns"]
    assert str(pattern.pattern) == "detect/"
    client = client_for(pattern.callback)
    assert client.post("/predict/", {"item": 1}, format="json").json() == {"result": 1}
    settings.ROOT_URLCONF = tuple(
        run('[path("api/", include("django_inference.rest.urls"')["urlpatterns"]
    )
    assert reverse("inference:predict", args=["classifier"]) == "/api/classifier/"


def test_the_policies(client_for: ClientFor) -> None:
    client = client_for(run("UserRateThrottle")["DetectView"].as_view())
    assert client.post("/predict/", {"item": 1}, format="json").status_code in (401, 403)


def test_the_hooks(client_for: ClientFor) -> None:
    views = run("ThresholdView")
    client = client_for(views["ThresholdView"].as_view())
    upload = SimpleUploadedFile("a.jpg", b"a")
    response = client.post("/predict/", {"image": upload, "threshold": "0.9"})
    faces = {"image": {"b64": "YQ=="}, "threshold": 0.9}
    assert response.json() == {"result": {"faces": faces, "count": 2}}
    upload = SimpleUploadedFile("a.jpg", b"a")
    response = client.post("/predict/", {"image": upload, "threshold": "high"})
    assert response.status_code == 400
    client = client_for(views["SearchView"].as_view())
    assert client.post("/predict/?q=cat").json() == {"result": "cat"}


def test_the_parser(client_for: ClientFor) -> None:
    client = client_for(run("LinesParser")["SentimentView"].as_view())
    response = client.post("/predict/", b"good\nbad", content_type="text/plain")
    assert response.json() == {"results": ["good", "bad"]}


def test_the_exception_handler(client_for: ClientFor, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = run("def with_code")["with_code"]
    monkeypatch.setattr(PredictView, "get_exception_handler", lambda self: handler)
    backend: Any = predictors["detector"].backend
    backend.returns(Overloaded("64 wait"))
    client = client_for(PredictView.as_view(alias="detector"))
    response = client.post("/predict/", {"item": 1}, format="json")
    assert response.json()["code"] == "overloaded"
    assert client.post("/predict/", {"foo": 1}, format="json").json().keys() == {
        "foo",
        "non_field_errors",
    }


def test_the_test() -> None:
    case = run("DetectTests")["DetectTests"]
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


def test_the_settings_of_one_predictor(settings: Settings) -> None:
    settings.INFERENCE = run('"enabled": False')["INFERENCE"]
    assert examine_rest_classes("detector", parse_predictor(*entry("detector")).rest) == []
    settings.INFERENCE = run("shop.serializers.PriceSerializer")["INFERENCE"]
    assert parse_predictor(*entry("prices")).rest.serializer_class


def entry(alias: str) -> tuple[str, Any]:
    return alias, raw_predictors()[alias]


def test_the_serializers(client_for: ClientFor) -> None:
    found = run("class PriceSerializer")
    backend: Any = predictors["detector"].backend
    backend.returns(lambda inputs: {"y": np.array([sum(inputs["x"][0])])})
    view = PredictView.as_view(alias="detector", serializer_class=found["PriceSerializer"])
    house = {"rooms": 3, "area": 70.5}
    response = client_for(view).post("/predict/", house, format="json")
    assert response.json() == {"outputs": {"price": 73.5}}
    backend.returns(lambda item: item)
    view = PredictView.as_view(alias="detector", serializer_class=found["HouseSerializer"])
    assert client_for(view).post("/predict/", house).json() == {"result": house}
    assert client_for(view).post("/predict/", {"rooms": 0}).json().keys() == {"rooms", "area"}


def test_the_viewset(settings: Settings) -> None:
    settings.MIDDLEWARE = []
    client = APIClient()
    settings.ROOT_URLCONF = tuple(run("DefaultRouter")["urlpatterns"])
    assert client.post("/api/faces/", {"item": 1}, format="json").status_code in (401, 403)
    client.force_authenticate(User(username="ada"))
    response = client.post("/api/faces/", {"item": 1}, format="json")
    answer = {"faces": {"image": 1, "user": "ada"}, "count": 2}
    assert response.json() == {"result": answer}


def test_the_views_for_asgi(settings: Settings) -> None:
    settings.MIDDLEWARE = []
    client = APIClient()
    settings.ROOT_URLCONF = tuple(run("AsyncPredictView")["urlpatterns"])
    for place in ("/detect/", "/api/detector/"):
        assert client.post(place, {"item": 1}, format="json").json() == {"result": 1}
