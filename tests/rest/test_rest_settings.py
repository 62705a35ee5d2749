"""A predictor's key `REST`: who may call it, how often, with how much."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.urls import include, path
from pytest_django import Settings
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.test import APIClient
from rest_framework.throttling import AnonRateThrottle, SimpleRateThrottle

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.conf import InvalidPredictor
from django_inference.rest import PredictView
from django_inference.rest.policies import policies_of
from tests.rest.conftest import DUMMY, ClientFor

Declare = Callable[..., DummyBackend]


@pytest.fixture
def declare(settings: Settings) -> Declare:
    """Declare `detector` with `REST`, and serve every predictor below `/api/`."""

    def declare(**rest: Any) -> DummyBackend:
        cache.clear()
        settings.MIDDLEWARE = []
        settings.ROOT_URLCONF = (path("api/", include("django_inference.rest.urls")),)
        settings.INFERENCE = {
            "detector": {"BACKEND": DUMMY, "REST": rest},
            "ö b": {"BACKEND": DUMMY},
        }
        backend = cast(DummyBackend, predictors["detector"].backend)
        backend.returns(lambda inputs: inputs)
        return backend

    return declare


def post(client: APIClient, body: Any = None, **extra: Any) -> Any:
    body = {"item": 1} if body is None else body
    return client.post("/api/detector/", body, format="json", **extra)


PERMISSIONS = "rest_framework.permissions"
BASIC = ["rest_framework.authentication.BasicAuthentication"]


def test_permissions_and_authentication_of_one_predictor(declare: Declare) -> None:
    backend = declare(
        authentication_classes=BASIC, permission_classes=[f"{PERMISSIONS}.IsAuthenticated"]
    )
    client = APIClient()
    refused = post(client)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert post(client, headers={"Authorization": "Basic nonsense"}).status_code == 401
    client.force_authenticate(AnonymousUser())
    assert post(client).status_code == 403
    assert backend.calls == []
    client.force_authenticate(User(username="ada"))
    assert post(client).status_code == 200


def test_the_rest_is_left_to_django_rest_framework(declare: Declare, settings: Settings) -> None:
    declare()
    assert post(APIClient()).status_code == 200
    settings.REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": [f"{PERMISSIONS}.IsAuthenticated"]}
    assert policies_of("detector").permission_classes == (IsAuthenticated,)
    assert post(APIClient()).status_code in (401, 403)
    assert policies_of(None) == policies_of("")
    assert policies_of("nobody").permission_classes == (IsAuthenticated,)


def test_too_many_requests(declare: Declare) -> None:
    backend = declare(throttle={"requests": "2/h"})
    client = APIClient()
    assert client.get("/api/detector/").status_code == 200
    assert [post(client).status_code for _ in range(3)] == [200, 200, 429]
    refused = post(client)
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert len(backend.calls) == 2
    # To look is free, and everybody is counted alone.
    assert client.get("/api/detector/").status_code == 200
    assert post(client, REMOTE_ADDR="127.0.0.9").status_code == 200
    client.force_authenticate(User(pk=7, username="ada"))
    assert post(client).status_code == 200


def test_too_many_rows(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(SimpleRateThrottle, "timer", lambda self: now)
    backend = declare(throttle={"rows": "10/min"})
    client = APIClient()
    four, seven = {"items": [1] * 4}, {"inputs": {"x": [[1.0]] * 7}}
    assert post(client, four).status_code == 200
    now = 1030.0
    assert post(client, four).status_code == 200
    refused = post(client, seven)
    assert refused.status_code == 429
    # Not before both have passed: 4 + 7 is too many, too.
    assert int(refused.headers["Retry-After"]) == 60
    assert post(client, {"items": [1] * 3}).headers["Retry-After"] == "30"
    assert post(client, {"items": [1, 2]}).status_code == 200
    now = 1060.0
    assert post(client, four).status_code == 200
    assert len(backend.calls) == 4
    never = post(client, {"items": [1] * 11})
    assert (never.status_code, "Retry-After" in never.headers) == (429, False)
    assert never.json()["detail"].startswith("This request has 11 rows; at most 10")
    assert len(backend.calls) == 4


def test_a_body_that_is_too_large(declare: Declare) -> None:
    backend = declare(max_body_bytes=20)
    assert post(APIClient(), {"item": "x" * 30}).status_code == 413
    assert post(APIClient(), {"item": "x"}).status_code == 200
    declare(max_body_bytes=None)
    assert post(APIClient(), {"item": "x" * 30}).status_code == 200
    assert len(backend.calls) == 1


def test_a_predictor_that_is_not_exposed(declare: Declare) -> None:
    # It is refused as a name that nobody has declared, whatever else is set.
    declare(enabled=False, permission_classes=[f"{PERMISSIONS}.IsAdminUser"], max_body_bytes=1)
    refused = post(APIClient())
    assert (refused.status_code, refused.json()) == (
        404,
        {"detail": "There is no predictor 'detector'."},
    )
    assert "Did you mean" not in APIClient().get("/api/detectr/").json()["detail"]


def test_a_class_that_is_not_there_is_named(declare: Declare) -> None:
    declare(permission_classes=["shop.Nobody"])
    with pytest.raises(InvalidPredictor, match="'shop.Nobody' cannot be imported"):
        policies_of("detector").permission_classes  # noqa: B018


def test_a_view_of_ones_own_goes_before_the_settings(
    declare: Declare, client_for: ClientFor
) -> None:
    backend = declare(max_body_bytes=1, permission_classes=[f"{PERMISSIONS}.IsAdminUser"])

    class OwnView(PredictView):
        alias = "detector"
        permission_classes = [AllowAny]
        max_body_bytes = 1000

    assert client_for(OwnView.as_view()).post("/predict/", {"item": 1}, format="json").json() == {
        "result": 1
    }
    assert len(backend.calls) == 1


class Once(AnonRateThrottle):
    rate = "1/day"


def test_throttle_classes_parsers_and_renderers_of_one_predictor(declare: Declare) -> None:
    backend = declare(
        throttle_classes=[f"{__name__}.Once"],
        throttle={"requests": "100/day"},
        parser_classes=["django_inference.rest.parsers.RawParser"],
        renderer_classes=[
            "rest_framework.renderers.JSONRenderer",
            "tests.rest.test_policies.LinesRenderer",
        ],
    )
    client = APIClient()
    body = {"content_type": "text/plain", "headers": {"Accept": "text/x-lines"}}
    found: Any = client.post("/api/detector/", b"a", **cast(Any, body))
    assert found.headers["Content-Type"].startswith("text/x-lines")
    assert post(client).status_code == 429
    assert len(backend.calls) == 1
    # The others have none of this.
    assert client.post("/api/ö b/", {"item": 1}, format="json").status_code == 200
    cache.clear()
    assert client.post("/api/detector/?format=npy", b"a", content_type="x/y").status_code == 404
    cache.clear()
    backend.returns(1)
    assert post(client).json() == {"result": 1}  # JSON is bytes to it
    assert backend.calls[-1].inputs == b'{"item":1}'
