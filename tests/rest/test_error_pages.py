"""Every error of an endpoint, as a page of the browsable API and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.urls import include
from pytest_django import Settings
from rest_framework.permissions import BasePermission
from rest_framework.serializers import CharField, Serializer

from django_inference import predictors
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
    RemoteError,
)
from tests.rest.conftest import DUMMY, ClientFor


class Refused(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return False


class Review(Serializer[Any]):
    text = CharField(max_length=5)


class InvalidReview(Review):
    def to_inputs(self, data: Any) -> Any:
        return data["text"]


BASIC = "rest_framework.authentication.BasicAuthentication"
IS_USER = "rest_framework.permissions.IsAuthenticated"


@dataclass(frozen=True)
class Case:
    """A request, and what the predictor that it is for is declared and answers."""

    status: int
    rest: dict[str, Any] = field(default_factory=dict)
    answer: InferenceError | None = None
    method: str = "post"
    url: str = "/api/detector/"
    body: str = '{"item": 1}'
    content_type: str = "application/json"
    urls: str = "django_inference.rest.urls"


CASES = {
    "a body that is no JSON": Case(400, body="{"),
    "an empty body": Case(400, body=""),
    "neither inputs nor items": Case(400, body="{}"),
    "inputs that the model refuses": Case(400, answer=InvalidInput("x: expected numbers")),
    "a field that is too long": Case(
        400, {"serializer_class": f"{__name__}.Review"}, body='{"text": "much too long"}'
    ),
    "no credentials": Case(
        401, {"authentication_classes": [BASIC], "permission_classes": [IS_USER]}
    ),
    "no credentials to look": Case(
        401, {"authentication_classes": [BASIC], "permission_classes": [IS_USER]}, method="get"
    ),
    "no permission": Case(403, {"permission_classes": [f"{__name__}.Refused"]}),
    "a misspelt alias": Case(404, url="/api/detectr/"),
    "a misspelt alias, looked at": Case(404, url="/api/detectr/", method="get"),
    "a misspelt alias, for many": Case(404, url="/api/detectr/batch/", body="[1]"),
    "GET of a misspelt alias where POST is meant": Case(
        405, url="/api/nothing/batch/", method="get"
    ),
    "a misspelt alias, streamed": Case(404, url="/api/nothing/stream/"),
    "a predictor without endpoints": Case(404, {"enabled": False}, method="get"),
    "jobs of a misspelt alias": Case(
        404, url="/api/nothing/jobs/", method="get", urls="django_inference.rest.jobs.urls"
    ),
    "jobs submitted to a misspelt alias": Case(
        404, url="/api/nothing/jobs/", urls="django_inference.rest.jobs.urls"
    ),
    "another method": Case(405, method="put"),
    "another method of a misspelt alias": Case(405, url="/api/detectr/", method="delete"),
    "GET where POST is meant": Case(405, url="/api/detector/batch/", method="get"),
    "a body that is too long": Case(413, {"max_body_bytes": 5}),
    "a type that no parser reads": Case(
        415,
        {"parser_classes": ["rest_framework.parsers.JSONParser"]},
        content_type="application/x-tar",
    ),
    "too many requests": Case(429, {"throttle": {"requests": "1/day"}}),
    "a queue that is full": Case(429, answer=Overloaded("full", retry_after=1)),
    "a model that raised": Case(500, answer=PredictionFailed("no")),
    "a model that died": Case(500, answer=ModelCrashed("no")),
    "a server that failed": Case(502, answer=RemoteError("no")),
    "a model that loads": Case(503, answer=ModelNotReady("loading", retry_after=2)),
    "a model that does not load": Case(503, answer=ModelLoadFailed("broken", retry_after=9)),
    "a model that is slow": Case(504, answer=PredictionTimeout("slow")),
}


Ask = Callable[[Case, str], Any]


@pytest.fixture
def ask(settings: Settings, client_for: ClientFor) -> Ask:
    def ask(case: Case, accept: str) -> Any:
        settings.INFERENCE = {"detector": {"BACKEND": DUMMY, "REST": case.rest}}
        cache.clear()
        backend: Any = predictors["detector"].backend
        backend.returns(case.answer or (lambda inputs: inputs))
        client = client_for(include(case.urls), "api/")

        def send() -> Any:
            return client.generic(
                case.method, case.url, case.body, case.content_type, HTTP_ACCEPT=accept
            )

        return send() if case.status != 429 or case.answer else (send(), send())[1]

    return ask


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_error_in_json(case: Case, ask: Ask) -> None:
    response = ask(case, "application/json")
    assert response.status_code == case.status
    assert response["Content-Type"] == "application/json"
    assert response.json()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_error_on_a_page(case: Case, ask: Ask) -> None:
    response = ask(case, "text/html")
    assert response.status_code == case.status
    assert response["Content-Type"].startswith("text/html")
    assert f"HTTP {case.status} " in response.content.decode()


def test_what_cannot_be_answered_in_a_form(ask: Ask) -> None:
    for accept, url in (("image/tiff", ""), ("image/png", ""), ("text/html", "?format=tiff")):
        response = ask(Case(406, url=f"/api/detector/{url}"), accept)
        assert response.status_code in (404, 406)
        assert response.json()["detail"]


def test_a_misspelt_alias_is_told_the_nearest_one_and_offers_no_form(ask: Ask) -> None:
    page = ask(CASES["a misspelt alias, looked at"], "text/html").content.decode()
    assert "Did you mean &#x27;detector&#x27;?" in page
    assert 'name="_content"' not in page
    assert 'name="_content"' in ask(CASES["a body that is no JSON"], "text/html").content.decode()


def test_what_was_sent_can_be_changed_and_sent_again(ask: Ask) -> None:
    sent = Case(400, answer=InvalidInput("no"), body='{"item": {"text": "gut & schön", "n": 1}}')
    page = ask(sent, "text/html").content.decode()
    assert "{&quot;text&quot;: &quot;gut &amp; schön&quot;, &quot;n&quot;: 1}" in page
