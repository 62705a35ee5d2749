"""The OpenAPI document of the jobs, and whether the site does what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import include, path

from django_inference.backends.dummy import DummyBackend
from tests.rest.jobs.engines import work

pytest.importorskip("schemathesis")
pytest.importorskip("drf_spectacular")

from drf_spectacular.settings import patched_settings  # noqa: E402
from drf_spectacular.validation import validate_schema  # noqa: E402

from tests.rest.conformance import statuses_of  # noqa: E402

pytestmark = pytest.mark.django_db

URLS = [path("api/", include("django_inference.rest.jobs.urls"))]


def document(*, each: bool = True) -> Any:
    from drf_spectacular.generators import SchemaGenerator

    import django_inference.rest.openapi  # noqa: F401

    hooks = ["django_inference.rest.openapi.each_predictor"] if each else []
    with patched_settings({"PREPROCESSING_HOOKS": hooks}):
        found = SchemaGenerator(patterns=URLS).get_schema(public=True)
    assert validate_schema(found) is None
    return json.loads(json.dumps(found))


def test_each_endpoint_of_each_predictor_is_described(dummy: DummyBackend) -> None:
    found = document()["paths"]
    assert {place: sorted(set(methods)) for place, methods in found.items()} == {
        f"/api/{alias}/jobs/{rest}": methods
        for alias in ("detector", "classifier")
        for rest, methods in (
            ("", ["get", "post"]),
            ("{id}/", ["delete", "get"]),
            ("{id}/result/", ["get"]),
            ("{id}/events/", ["get"]),
        )
    }
    submit = found["/api/detector/jobs/"]["post"]
    assert (submit["operationId"], submit["tags"]) == ("detector_jobs_submit", ["detector"])
    assert "application/json" in submit["requestBody"]["content"]
    assert {"202", "400", "429"} < set(submit["responses"]) and "200" not in submit["responses"]
    job = found["/api/detector/jobs/{id}/"]
    assert job["delete"]["operationId"] == "detector_jobs_cancel"
    assert {"200", "409"} <= set(job["delete"]["responses"])
    assert {"200", "304", "404"} <= set(job["get"]["responses"])
    parameters = {one["name"]: one for one in job["get"]["parameters"]}
    assert parameters["id"]["schema"] == {"type": "string", "format": "uuid"}
    assert parameters["Prefer"]["in"] == "header"
    result = found["/api/detector/jobs/{id}/result/"]["get"]
    assert {"application/json", "application/x-npz"} <= set(result["responses"]["200"]["content"])
    names = [o["operationId"] for methods in found.values() for o in methods.values()]
    assert len(set(names)) == len(names) == 12


def test_without_the_hook_there_are_paths_for_any_alias(dummy: DummyBackend) -> None:
    assert "/api/{alias}/jobs/{id}/events/" in document(each=False)["paths"]


def test_a_job_has_what_the_document_says(ada: Client) -> None:
    schema = document()["components"]["schemas"]["InferenceJob"]
    url = ada.post("/api/detector/jobs/", {"item": 1}, "application/json").json()["url"]
    for _ in range(2):
        job = ada.get(url).json()
        assert set(job) == set(schema["properties"]) == set(schema["required"])
        for name, value in job.items():
            if value is None:
                assert schema["properties"][name]["nullable"], name
        work()


@pytest.mark.parametrize("phase", ["positive", "negative"])
def test_the_site_does_what_the_document_says(
    dummy: DummyBackend, request: pytest.FixtureRequest, phase: str
) -> None:
    statuses = statuses_of(
        document(),
        phase,
        examples=6 * request.config.getoption("--fuzz"),
        asks=lambda method: phase == "positive" or method == "post",
    )
    assert statuses >= ({200, 202, 404} if phase == "positive" else {400})
