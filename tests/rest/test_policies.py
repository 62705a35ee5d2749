from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.test import Client
from django.urls import include, path, reverse
from pytest_django import Settings
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.test import APIClient
from rest_framework.throttling import AnonRateThrottle
from rest_framework.versioning import QueryParameterVersioning

from django_inference.backends.dummy import DummyBackend
from django_inference.rest import PredictView
from django_inference.tensors import Signature, TensorSpec
from tests.rest.conftest import ClientFor

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]


def predict(client: Any, **extra: Any) -> Any:
    return client.post("/predict/", b'{"item": 1}', content_type="application/json", **extra)


# Who may ask, and how often.


def test_permissions_and_authentication(client_for: ClientFor, backend: DummyBackend) -> None:
    view = PredictView.as_view(
        alias="detector",
        permission_classes=[IsAuthenticated],
        authentication_classes=[BasicAuthentication],
    )
    client = client_for(view)
    response = predict(client)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic")
    client.force_authenticate(AnonymousUser())
    assert predict(client).status_code == 403
    assert backend.calls == []
    client.force_authenticate(User(username="ada"))
    assert predict(client).status_code == 200


def test_a_permission_comes_before_the_body(client_for: ClientFor, backend: DummyBackend) -> None:
    view = PredictView.as_view(alias="detector", permission_classes=[IsAuthenticated])
    response = client_for(view).post("/predict/", b"{", content_type="application/json")
    assert response.status_code == 403


def test_a_permission_may_look_at_the_predictor_and_the_body(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    class Small(BasePermission):
        def has_permission(self, request: Any, view: Any) -> bool:
            return view.get_alias() == "detector" and len(request.data["items"]) < 3

    client = client_for(PredictView.as_view(permission_classes=[Small]), route="<str:alias>/")
    assert client.post("/detector/", {"items": [1, 2]}, format="json").status_code == 200
    assert client.post("/detector/", {"items": [1, 2, 3]}, format="json").status_code == 403
    assert client.post("/classifier/", {"items": [1]}, format="json").status_code == 403


def test_throttles_answer_as_django_rest_framework_does(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    cache.clear()

    class Twice(AnonRateThrottle):
        rate = "2/min"

    client = client_for(PredictView.as_view(alias="detector", throttle_classes=[Twice]))
    assert [predict(client).status_code for _ in range(2)] == [200, 200]
    response = predict(client)
    assert response.status_code == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.json()["detail"].startswith("Request was throttled.")
    assert len(backend.calls) == 2


@pytest.mark.django_db
def test_a_session_needs_its_csrf_token_and_the_body_survives_the_check(
    client_for: ClientFor, backend: DummyBackend, settings: Settings
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    view = PredictView.as_view(
        alias="detector",
        authentication_classes=[SessionAuthentication],
        permission_classes=[IsAuthenticated],
    )
    client = client_for(view, enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("ada"))
    form = b'--B\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nabc\r\n'
    multipart = "multipart/form-data; boundary=B"
    for body, content_type in (
        (b'{"item": 1}', "application/json"),
        (b"abc", "image/jpeg"),
        (form + b"--B--\r\n", multipart),
    ):
        client.cookies.pop("csrftoken", None)
        refused = client.post("/predict/", body, content_type=content_type)
        assert refused.status_code == 403
        client.cookies["csrftoken"] = "a" * 32
        allowed = client.post(
            "/predict/", body, content_type=content_type, headers={"X-CSRFToken": "a" * 32}
        )
        assert allowed.status_code == 200
    # The token as a field of the form: Django reads the form before the view does.
    field = b'--B\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n'
    body = field + b"a" * 32 + b"\r\n" + form + b"--B--\r\n"
    response = client.post("/predict/", body, content_type=multipart)
    assert response.json() == {"result": {"b64": "YWJj"}}
    response = client.post("/predict/", b"--B\r\n", content_type="multipart/form-data; boundary=")
    assert response.status_code == 400
    assert response.json()["detail"].startswith("Multipart form parse error")


# In which form the answer comes.


class LinesRenderer(BaseRenderer):
    media_type = "text/x-lines"
    format = "lines"

    def render(
        self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None
    ) -> Any:
        return "\n".join(f"{key}={value!r}" for key, value in data.items())


def test_another_renderer_gets_plain_python(client_for: ClientFor, backend: DummyBackend) -> None:
    backend.returns({"box": np.array([1.5, np.nan]), "n": np.int64(3)})
    view = PredictView.as_view(alias="detector", renderer_classes=[JSONRenderer, LinesRenderer])
    client = client_for(view)
    response = predict(client, headers={"Accept": "text/x-lines"})
    assert response.headers["Content-Type"].startswith("text/x-lines")
    assert response.content.decode() == "result={'box': [1.5, None], 'n': 3}"
    response = client.post("/predict/?format=lines", {"item": 1}, format="json")
    assert response.headers["Content-Type"].startswith("text/x-lines")
    assert predict(client).json() == {"result": {"box": [1.5, None], "n": 3}}


def test_an_error_comes_in_the_form_that_the_client_accepts(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    view = PredictView.as_view(
        alias="detector", renderer_classes=[JSONRenderer, LinesRenderer], max_body_bytes=5
    )
    response = predict(client_for(view), headers={"Accept": "text/x-lines"})
    assert response.status_code == 413
    assert response.headers["Content-Type"].startswith("text/x-lines")


def test_a_form_nobody_renders_is_406(client: APIClient, backend: DummyBackend) -> None:
    assert predict(client, headers={"Accept": "application/x-nothing"}).status_code == 406
    assert client.post("/predict/?format=nothing", {"item": 1}, format="json").status_code == 404
    assert backend.calls == []


def test_content_negotiation_and_versioning_can_be_replaced(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    class First(BaseContentNegotiation):
        def select_parser(self, request: Any, parsers: Any) -> Any:
            return parsers[0]

        def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
            return renderers[0], renderers[0].media_type

    class VersionedView(PredictView):
        alias = "detector"
        versioning_class = QueryParameterVersioning
        content_negotiation_class = First

        def present(self, result: Any) -> Any:
            return {"version": self.request.version}

    client = client_for(VersionedView.as_view())
    response = client.post(
        "/predict/?version=2",
        b'{"item": 1}',
        content_type="image/jpeg",
        headers={"Accept": "application/x-nothing"},
    )
    assert (response.status_code, response.json()) == (200, {"result": {"version": "2"}})


# What a person sees.


def test_get_describes_the_predictor_and_loads_nothing(
    client: APIClient, backend: DummyBackend
) -> None:
    assert client.get("/predict/").json() == {
        "alias": "detector",
        "state": "UNLOADED",
        "signature": None,
    }
    image = TensorSpec("images", "float32", (-1, 3))
    backend.returns(1, signature=Signature((image,), (TensorSpec("y", "int64", (-1,)),)))
    predict(client)
    assert client.get("/predict/").json() == {
        "alias": "detector",
        "state": "READY",
        "signature": {
            "inputs": [{"name": "images", "dtype": "float32", "shape": [-1, 3]}],
            "outputs": [{"name": "y", "dtype": "int64", "shape": [-1]}],
        },
    }
    assert len(backend.calls) == 1


def test_the_browsable_api_shows_the_page_the_form_the_result_and_the_errors(
    client: APIClient, backend: DummyBackend, settings: Settings
) -> None:
    settings.TEMPLATES = TEMPLATES
    settings.STATIC_URL = "/static/"
    html = {"Accept": "text/html"}
    page = client.get("/predict/", headers=html)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    text = page.content.decode()
    assert "detector" in text
    assert 'name="_content"' in text
    assert "multipart/form-data" in text
    assert PredictView.description is not None
    assert "files as multipart/form-data" in text
    backend.returns({"score": np.array([np.nan])})
    page = predict(client, headers=html)
    assert page.status_code == 200
    assert "score" in page.content.decode()
    for body in (b"{", b"", b"[]"):
        page = client.post("/predict/", body, content_type="application/json", headers=html)
        assert page.status_code == 400
        assert "HTTP 400" in page.content.decode()
    page = client.post(
        "/predict/", b"--B", content_type="multipart/form-data; boundary=B", headers=html
    )
    assert page.status_code == 400
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1
    assert predict(client, headers=html).status_code == 413


def test_the_browsable_api_has_the_name_and_text_of_the_subclass(
    client_for: ClientFor, backend: DummyBackend, settings: Settings
) -> None:
    settings.TEMPLATES = TEMPLATES
    settings.STATIC_URL = "/static/"
    view = PredictView.as_view(
        alias="detector",
        name="Faces",
        description="Finds faces.",
        renderer_classes=[JSONRenderer, BrowsableAPIRenderer],
    )
    client = client_for(view)
    text = client.get("/predict/", headers={"Accept": "text/html"}).content.decode()
    assert "<h1>Faces</h1>" in text
    assert "Finds faces." in text
    options = client.options("/predict/").json()
    assert (options["name"], options["description"]) == ("Faces", "Finds faces.")


def test_options_lists_what_is_read(client: APIClient) -> None:
    options = client.options("/predict/").json()
    assert options["name"] == "Predict"
    assert options["parses"] == [
        "application/json",
        "multipart/form-data",
        "application/octet-stream",
        "*/*",
    ]


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_405(client: APIClient, method: str) -> None:
    assert getattr(client, method)("/predict/").status_code == 405


def test_head_is_get_without_a_body(client: APIClient) -> None:
    response = client.head("/predict/")
    assert (response.status_code, response.content) == (200, b"")


def test_every_predictor_has_an_endpoint_with_one_line(
    backend: DummyBackend, settings: Settings
) -> None:
    settings.ROOT_URLCONF = (path("api/", include("django_inference.rest.urls")),)
    url = reverse("inference:predict", args=["detector"])
    assert url == "/api/detector/"
    for name, result in itertools.zip_longest(("detector", "classifier"), ([1],)):
        url = reverse("inference:predict", args=[name])
        assert Client().post(url, {"item": [1]}, "application/json").json() == {"result": result}


def test_the_view_is_exempt_from_csrf_where_no_session_is(
    client_for: ClientFor, backend: DummyBackend, settings: Settings
) -> None:
    settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
    view = PredictView.as_view(alias="detector", authentication_classes=[])
    assert predict(client_for(view, enforce_csrf_checks=True)).status_code == 200
