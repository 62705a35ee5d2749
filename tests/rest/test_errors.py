from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from django.http import HttpResponse
from pytest_django import Settings
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import exception_handler

from django_inference import InvalidPredictor
from django_inference.backends.dummy import DummyBackend
from django_inference.exceptions import (
    BY_NAME,
    EngineUnavailable,
    InferenceError,
    InvalidInput,
    JobCancelled,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
    RemoteError,
)
from django_inference.rest import PredictView
from django_inference.specs import Priority
from tests.rest.conftest import DUMMY, ClientFor

SECRET = "/srv/models/detector.onnx: 'hunter2'"


def predict(client: APIClient) -> Any:
    return client.post("/predict/", {"item": 1}, format="json")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InferenceError, 500, "inference_error"),
        (ModelNotReady, 503, "model_not_ready"),
        (ModelLoadFailed, 503, "model_load_failed"),
        (Overloaded, 429, "overloaded"),
        (PredictionTimeout, 504, "prediction_timeout"),
        (InvalidInput, 400, "invalid_input"),
        (ModelCrashed, 500, "model_crashed"),
        (PredictionFailed, 500, "prediction_failed"),
        (RemoteError, 502, "remote_error"),
        (JobCancelled, 409, "job_cancelled"),
        (EngineUnavailable, 503, "engine_unavailable"),
    ],
)
def test_every_error_has_its_status_and_code(
    client: APIClient,
    backend: DummyBackend,
    settings: Settings,
    error: type[InferenceError],
    status: int,
    code: str,
) -> None:
    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": "tests.rest.test_errors.with_codes"}
    backend.returns(error("no", alias="detector"))
    response = predict(client)
    assert response.status_code == status
    assert response.json() == {
        "codes": code,
        "alias": "detector",
        "cause": error.__name__,
        "is_api_exception": True,
    }


def with_codes(exc: Exception, context: dict[str, Any]) -> Response | None:
    """An EXCEPTION_HANDLER such as a project may have; it sets no headers."""
    response = exception_handler(exc, context)
    if response is None or not isinstance(exc, APIException):
        return response
    data = {
        "codes": exc.get_codes(),
        "alias": context["view"].get_alias(),
        "cause": type(exc.__cause__).__name__,
        "is_api_exception": isinstance(exc, APIException),
    }
    return Response(data, status=exc.status_code)


def test_no_error_is_left_out_above() -> None:
    marks: Any = test_every_error_has_its_status_and_code
    (cases,) = [mark.args[1] for mark in marks.pytestmark if mark.name == "parametrize"]
    assert {case[0] for case in cases} == set(BY_NAME.values())


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (ModelNotReady("", retry_after=0.1), "1"),
        (ModelNotReady("", retry_after=0), "1"),
        (ModelNotReady("", retry_after=2.0), "2"),
        (ModelNotReady("", retry_after=2.01), "3"),
        (ModelNotReady("", retry_after=None), "1"),
        (ModelNotReady("", retry_after=float("nan")), "1"),
        (ModelLoadFailed("", retry_after=60), "60"),
        (Overloaded("", retry_after=0.5), "1"),
        (PredictionTimeout("", retry_after=None), None),
        (PredictionFailed(""), None),
    ],
    ids=lambda value: getattr(value, "retry_after", value),
)
@pytest.mark.parametrize("handler", ["rest_framework.views.exception_handler", None])
def test_retry_after_is_in_whole_seconds(
    client: APIClient,
    backend: DummyBackend,
    settings: Settings,
    error: InferenceError,
    header: str | None,
    handler: str | None,
) -> None:
    handler = handler or "tests.rest.test_errors.with_codes"
    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": handler}
    backend.returns(error)
    assert predict(client).headers.get("Retry-After") == header


@pytest.mark.parametrize("error", [kind for kind in BY_NAME.values() if kind is not InvalidInput])
def test_a_client_learns_nothing_about_the_server(
    client: APIClient, backend: DummyBackend, error: type[InferenceError]
) -> None:
    backend.returns(error(SECRET, alias="detector", details=f"Traceback: {SECRET}"))
    response = predict(client)
    assert set(response.json()) == {"detail"}
    assert "hunter2" not in response.content.decode()
    assert "/srv" not in response.content.decode()
    assert len(response.json()["detail"]) > 10


def test_a_client_learns_what_is_wrong_with_its_input(
    client: APIClient, backend: DummyBackend
) -> None:
    backend.returns(InvalidInput("item 3: is no JPEG.", alias="detector", details="Traceback"))
    assert predict(client).json() == {"detail": "item 3: is no JPEG."}
    backend.returns(InvalidInput())
    assert predict(client).json() == {"detail": "The input does not fit the model."}


def test_a_developer_sees_the_message_and_the_traceback(
    client: APIClient, backend: DummyBackend, settings: Settings
) -> None:
    settings.DEBUG = True
    backend.returns(PredictionFailed(SECRET, details="Traceback:\n  here"))
    assert predict(client).json() == {"detail": SECRET, "traceback": ["Traceback:", "  here"]}


def test_a_handler_may_return_any_response(
    client_for: ClientFor, backend: DummyBackend, settings: Settings
) -> None:
    class TeapotView(PredictView):
        alias = "detector"

        def get_exception_handler(self) -> Any:
            return lambda exc, context: HttpResponse("tea", status=418)

    settings.DEBUG = True
    backend.returns(ModelNotReady("", retry_after=5, details="Traceback"))
    response = predict(client_for(TeapotView.as_view()))
    assert (response.status_code, response.content) == (418, b"tea")
    assert response.headers["Retry-After"] == "5"


def test_an_error_that_no_handler_answers_is_raised(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    class ShyView(PredictView):
        alias = "detector"

        def get_exception_handler(self) -> Any:
            return lambda exc, context: None

    error = ModelNotReady("no")
    backend.returns(error)
    with pytest.raises(APIException) as raised:
        predict(client_for(ShyView.as_view()))
    assert raised.value.__cause__ is error


def test_the_person_on_call_finds_the_traceback_in_the_log(
    client: APIClient, backend: DummyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.returns(PredictionFailed("boom", alias="detector", details="line 7 of the model"))
    predict(client)
    (record,) = (r for r in caplog.records if r.name == "django_inference.rest")
    assert record.levelno == logging.ERROR
    assert "Predictor 'detector': boom" in record.getMessage()
    assert "line 7 of the model" in record.getMessage()
    assert record.exc_info is not None


def test_a_model_that_is_not_ready_is_a_warning(
    client: APIClient, backend: DummyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.returns(ModelNotReady("is being loaded.", alias="detector"))
    predict(client)
    (record,) = (r for r in caplog.records if r.name == "django_inference.rest")
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)


def test_an_input_that_does_not_fit_is_not_logged(
    client: APIClient, backend: DummyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.returns(InvalidInput("no"))
    predict(client)
    assert [r for r in caplog.records if r.name == "django_inference.rest"] == []


def test_the_timeout_reaches_the_predictor(
    client_for: ClientFor, backend: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []
    predict_one, predict_many = backend.predict_one, backend.predict

    def record_one(item: Any, *, timeout: float | None = None, priority: Priority) -> Any:
        seen.append(timeout)
        return predict_one(item, timeout=timeout)

    def record_many(inputs: Any, *, timeout: float | None = None, priority: Priority) -> Any:
        seen.append(timeout)
        return predict_many(inputs, timeout=timeout)

    monkeypatch.setattr(backend, "predict_one", record_one)
    monkeypatch.setattr(backend, "predict", record_many)

    class PatientView(PredictView):
        def get_timeout(self) -> float | None:
            timeout = super().get_timeout()
            return None if timeout is None else 2 * timeout

    client = client_for(PatientView.as_view(alias="detector", timeout=1.5))
    for body in ({"item": 1}, {"items": [1]}, {"inputs": {"x": [1]}}):
        assert client.post("/predict/", body, format="json").status_code == 200
    predict(client_for(PredictView.as_view(alias="detector")))
    assert seen == [3.0, 3.0, 3.0, None]


# Which predictor.


def test_the_url_names_the_predictor(client_for: ClientFor, backend: DummyBackend) -> None:
    client = client_for(PredictView.as_view(), route="<str:alias>/")
    assert client.post("/detector/", {"item": 1}, format="json").json() == {"result": 1}
    assert client.post("/classifier/", {"item": 1}, format="json").json() == {"result": None}
    assert len(backend.calls) == 1


def test_the_part_of_the_url_can_have_another_name(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    view = PredictView.as_view(alias_url_kwarg="model")
    client = client_for(view, route="<str:model>/")
    assert client.post("/detector/", {"item": 1}, format="json").json() == {"result": 1}


def test_without_a_name_it_is_the_default_one(client_for: ClientFor, settings: Settings) -> None:
    settings.INFERENCE = {"default": {"BACKEND": DUMMY, "OPTIONS": {"result": "by default"}}}
    assert predict(client_for(PredictView.as_view())).json() == {"result": "by default"}


@pytest.mark.parametrize(
    ("alias", "detail"),
    [
        ("detectr", "There is no predictor 'detectr'. Did you mean 'detector'?"),
        ("xyz", "There is no predictor 'xyz'."),
        ("default", "There is no predictor 'default'."),
    ],
)
def test_a_predictor_that_the_url_invents_is_404(
    client_for: ClientFor, backend: DummyBackend, alias: str, detail: str
) -> None:
    client = client_for(PredictView.as_view(), route="<str:alias>/")
    for response in (
        client.post(f"/{alias}/", {"item": 1}, format="json"),
        client.post(f"/{alias}/", b"{", content_type="application/json"),
        client.get(f"/{alias}/"),
    ):
        assert (response.status_code, response.json()) == (404, {"detail": detail})


def test_a_mistake_in_the_view_or_the_settings_is_not_the_clients(
    client_for: ClientFor, backend: DummyBackend, settings: Settings
) -> None:
    client = client_for(PredictView.as_view(alias="detectr"))
    with pytest.raises(InvalidPredictor, match="detector"):
        predict(client)
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY, "OPTIONS": {"no_such": 1}}}
    client = client_for(PredictView.as_view(), route="<str:alias>/")
    with pytest.raises(InvalidPredictor, match="no_such"):
        client.post("/detector/", {"item": 1}, format="json")


# What a result becomes.


def test_nan_becomes_null_or_a_text(client_for: ClientFor, backend: DummyBackend) -> None:
    backend.returns([1.0, float("nan"), float("-inf")])
    for non_finite, expected in (
        ("null", [1.0, None, None]),
        ("string", [1.0, "NaN", "-Infinity"]),
    ):
        client = client_for(PredictView.as_view(alias="detector", non_finite=non_finite))
        assert predict(client).json() == {"result": expected}


def test_a_subclass_presents_results(client_for: ClientFor, backend: DummyBackend) -> None:
    class LabelView(PredictView):
        alias = "detector"

        def present(self, result: Any) -> Any:
            return {"label": np.argmax(result), "scores": result}

    client = client_for(LabelView.as_view())
    backend.returns(np.array([0.25, 0.75], dtype=np.float32))
    one = {"label": 1, "scores": [0.25, 0.75]}
    assert predict(client).json() == {"result": one}
    backend.returns([np.array([0.25, 0.75]), np.array([1.0, 0.0])])
    response = client.post("/predict/", {"items": [1, 2]}, format="json")
    assert response.json() == {"results": [one, {"label": 0, "scores": [1.0, 0.0]}]}


def test_a_subclass_presents_all_outputs_at_once(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    class BestView(PredictView):
        alias = "detector"

        def present(self, result: Any) -> Any:
            return result["scores"].argmax(axis=1)

    backend.returns({"scores": np.array([[0.25, 0.75], [1.0, 0.0]])})
    client = client_for(BestView.as_view())
    response = client.post("/predict/", {"inputs": {"x": [1, 2]}}, format="json")
    assert response.json() == {"outputs": [1, 0]}
