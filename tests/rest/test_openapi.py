"""The OpenAPI document, and whether the site does what it says: with models that really run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import include, path
from pytest_django import Settings
from rest_framework.routers import SimpleRouter
from rest_framework.test import APIClient

from django_inference import predictors
from django_inference.rest import PredictorViewSet
from django_inference.rest.async_views import AsyncPredictView
from tests.rest.test_real_models import LOCAL, mlp

pytest.importorskip("schemathesis")
pytest.importorskip("drf_spectacular")

from drf_spectacular.settings import patched_settings  # noqa: E402
from drf_spectacular.validation import validate_schema  # noqa: E402

from tests.rest.conformance import statuses_of  # noqa: E402

__all__ = ["mlp"]

URLS = [path("api/", include("django_inference.rest.urls"))]
BASIC = {
    "authentication_classes": ["rest_framework.authentication.BasicAuthentication"],
    "permission_classes": ["rest_framework.permissions.IsAuthenticated"],
}


@pytest.fixture
def api(settings: Settings, mlp: Path) -> Iterator[APIClient]:
    settings.MIDDLEWARE = []
    # A made-up name and password shall not cost a second each.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.INFERENCE = {
        "mlp": {"MODEL": mlp, "BACKEND": LOCAL},
        "lengths": {"RUNTIME": "tests.rest.runtimes.Lengths", "BACKEND": LOCAL},
        "priced": {
            "BACKEND": "django_inference.backends.dummy.DummyBackend",
            "REST": {"serializer_class": "tests.rest.test_endpoints.House"},
        },
        "closed": {"RUNTIME": "tests.rest.runtimes.shout", "BACKEND": LOCAL, "REST": BASIC},
        "hidden": {"RUNTIME": "tests.rest.runtimes.shout", "REST": {"enabled": False}},
    }
    settings.ROOT_URLCONF = tuple(URLS)
    dummy: Any = predictors["priced"].backend
    dummy.returns(lambda inputs: inputs)
    for alias in ("mlp", "lengths", "closed"):
        predictors[alias].preload(wait=True, timeout=30)
    yield APIClient()
    predictors.reset()


def document(patterns: Any = URLS, *, each: bool = True) -> Any:
    """As an app with `drf_spectacular` among its apps would serve it."""
    from drf_spectacular.generators import SchemaGenerator

    import django_inference.rest.openapi  # noqa: F401

    hooks = ["django_inference.rest.openapi.each_predictor"] if each else []
    with patched_settings({"PREPROCESSING_HOOKS": hooks}):
        found = SchemaGenerator(patterns=patterns).get_schema(public=True)
    assert validate_schema(found) is None
    return json.loads(json.dumps(found))


def test_each_predictor_is_described_with_its_own_tensors(api: APIClient) -> None:
    found = document()
    assert sorted(found["paths"]) == [
        "/api/",
        *(
            f"/api/{alias}/{place}"
            for alias in ("closed", "lengths", "mlp", "priced")
            for place in ("", "batch/", "stream/")
        ),
    ]
    post = found["paths"]["/api/mlp/"]["post"]
    assert (post["operationId"], post["tags"]) == ("mlp_predict", ["mlp"])
    json = post["requestBody"]["content"]["application/json"]
    assert json["example"] == {"inputs": {"x": [[0.0, 0.0, 0.0]]}}
    assert api.post("/api/mlp/", json["example"], format="json").status_code == 200
    tensor = json["schema"]["oneOf"][0]["properties"]["inputs"]["properties"]["x"]
    assert tensor["description"] == "x float32 [-1, 3]"
    row = tensor["oneOf"][0]["items"]
    assert (row["minItems"], row["maxItems"], row["items"]) == (3, 3, {"type": "number"})
    assert "multipart/form-data" not in post["requestBody"]["content"]
    assert set(post["responses"]["200"]["content"]) == {
        "application/json",
        "application/octet-stream",
        "application/x-npz",
    }
    assert set(post["responses"]) == {
        "200", "400", "401", "403", "404", "406", "411", "413", "415", "429", "500", "502", "503",
        "504",
    }  # fmt: skip
    lengths = found["paths"]["/api/lengths/"]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in lengths
    priced = found["paths"]["/api/priced/"]["post"]["requestBody"]["content"]
    assert priced["application/json"]["schema"]["oneOf"][0] == {
        "$ref": "#/components/schemas/House"
    }
    assert found["components"]["schemas"]["House"]["required"] == ["area", "rooms"]
    assert found["paths"]["/api/closed/"]["post"]["security"] == [{"basicAuth": []}]


def test_a_viewset_and_a_view_of_ones_own_are_described(api: APIClient) -> None:
    class Shout(PredictorViewSet):
        alias = "closed"

    router = SimpleRouter()
    router.register("shout", Shout, basename="shout")
    urls = [*router.urls, path("mlp/", AsyncPredictView.as_view(alias="mlp"))]
    paths = document(urls)["paths"]
    assert {place: sorted(methods) for place, methods in paths.items()} == {
        "/shout/": ["get", "post"],
        "/shout/batch/": ["post"],
        "/shout/stream/": ["post"],
        "/mlp/": ["get", "post"],
    }
    stream = paths["/shout/stream/"]["post"]
    assert stream["operationId"] == "closed_stream"
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    body = paths["/mlp/"]["post"]["requestBody"]["content"]["application/json"]
    assert "x" in body["example"]["inputs"]


def test_without_the_hook_there_are_paths_for_any_alias(api: APIClient) -> None:
    found = document(each=False)
    assert "/api/{alias}/batch/" in found["paths"]
    (parameter,) = found["paths"]["/api/{alias}/"]["get"]["parameters"]
    assert parameter["name"] == "alias"


@pytest.mark.django_db
@pytest.mark.parametrize("phase", ["positive", "negative"])
def test_the_site_does_what_the_document_says(
    api: APIClient, request: pytest.FixtureRequest, phase: str
) -> None:
    statuses = statuses_of(
        document(),
        phase,
        examples=8 * request.config.getoption("--fuzz"),
        # In what a GET asks, there is nothing that could be wrong.
        asks=lambda method: phase == "positive" or method != "get",
    )
    assert statuses >= {200, 400}
