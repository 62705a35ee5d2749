"""What `include("django_inference.rest.urls")` gives, and viewsets and serializers of one's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import include, path, reverse
from pytest_django import Settings
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient

from django_inference import InvalidInput, PredictionFailed, predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.exceptions import ModelNotReady
from django_inference.rest import Inputs, Item, PredictionSerializer, PredictorViewSet
from django_inference.tensors import Signature, TensorSpec
from tests.rest.conftest import DUMMY
from tests.rest.test_policies import TEMPLATES

SIGNATURE = Signature(
    (TensorSpec("input.1", "uint8", (-1, 2)), TensorSpec("data", "float32", (-1,))),
    (TensorSpec("y", "float32", (-1,)),),
)


@pytest.fixture
def api(settings: Settings, backend: DummyBackend) -> APIClient:
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (path("api/", include("django_inference.rest.urls")),)
    return APIClient()


def post(client: APIClient, place: str, body: Any, **extra: Any) -> Any:
    return client.post(f"/api/detector/{place}", body, format="json", **extra)


def test_the_index_lists_what_the_caller_may_see(api: APIClient, settings: Settings) -> None:
    only = {"REST": {"permission_classes": ["rest_framework.permissions.IsAuthenticated"]}}
    settings.INFERENCE = {
        "open": {"BACKEND": DUMMY},
        "members": {"BACKEND": DUMMY, **only},
        "hidden": {"BACKEND": DUMMY, "REST": {"enabled": False}},
        "broken": {"BACKEND": DUMMY, "REST": {"throttle": {"rows": "many"}}},
    }
    listed = api.get("/api/").json()["predictors"]
    assert listed == [
        {
            "alias": "open",
            "url": "http://testserver/api/open/",
            "batch": "http://testserver/api/open/batch/",
            "stream": "http://testserver/api/open/stream/",
        }
    ]
    api.force_authenticate(User(username="ada"))
    aliases = [entry["alias"] for entry in api.get("/api/").json()["predictors"]]
    assert aliases == ["open", "members"]
    settings.ROOT_URLCONF = (
        path("v1/", include(([path("m/", include("django_inference.rest.urls"))], "v1"))),
    )
    assert api.get("/v1/m/").json()["predictors"][0]["url"] == "http://testserver/v1/m/open/"


@pytest.mark.parametrize("body", [[1, 2, 3], {"items": [1, 2, 3]}], ids=["list", "object"])
def test_a_batch_is_answered_on_one_page(
    api: APIClient, backend: DummyBackend, settings: Settings, body: Any
) -> None:
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY, "OPTIONS": {"max_batch_size": 2}}}
    backend = cast(DummyBackend, predictors["detector"].backend)
    backend.returns(lambda items: [item * 10 for item in items])
    assert post(api, "batch/", body).json() == {"results": [10, 20, 30]}
    assert sorted(call.inputs for call in backend.calls) == [[1, 2], [3]]


def test_a_batch_of_one_file_is_a_list_too(api: APIClient) -> None:
    upload = SimpleUploadedFile("a.bin", b"a")
    assert api.post("/api/detector/batch/", {"f": upload}).json() == {"results": [{"b64": "YQ=="}]}


def test_the_item_that_cannot_be_predicted_is_named(api: APIClient, backend: DummyBackend) -> None:
    def predict(item: Any) -> Any:
        if item == "bad" or (isinstance(item, list) and "bad" in item):
            raise InvalidInput("it is bad.")
        return item

    backend.returns(predict)
    response = post(api, "batch/", ["good", "good", "bad"])
    assert response.status_code == 400
    assert response.json() == {"detail": "it is bad.", "item": 2}


def events(response: Any) -> list[tuple[str, Any]]:
    assert response.headers["Content-Type"] == "text/event-stream"
    text = b"".join(response.streaming_content).decode()
    pairs = [block.split("\n") for block in text.removesuffix("\n\n").split("\n\n")]
    return [
        (kind.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for kind, data in pairs
    ]


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream", "application/json"])
def test_a_stream_comes_as_events(api: APIClient, backend: DummyBackend, accept: str) -> None:
    backend.returns(["a\nb", np.float32(1.5), {"x": np.array([np.nan])}])
    response = post(api, "stream/", {"item": "go"}, headers={"Accept": accept})
    assert response.headers["X-Accel-Buffering"] == "no"
    assert events(response) == [
        ("chunk", "a\nb"),
        ("chunk", 1.5),
        ("chunk", {"x": [None]}),
        ("end", None),
    ]
    assert [(call.method, call.inputs) for call in backend.calls] == [("stream", "go")]


def test_an_error_of_a_stream_is_a_status_or_an_event(
    api: APIClient, backend: DummyBackend
) -> None:
    backend.returns([1, PredictionFailed("/srv/secret")])
    assert events(post(api, "stream/", {"item": 1})) == [
        ("chunk", 1),
        ("failure", {"detail": "The model failed on this input.", "code": "prediction_failed"}),
    ]
    backend.returns(ModelNotReady("not yet", retry_after=3))
    early = post(api, "stream/", {"item": 1}, headers={"Accept": "text/event-stream"})
    assert (early.status_code, early.headers["Retry-After"]) == (503, "3")
    assert early.json() == {"detail": "The model is not ready yet. Try again later."}
    backend.returns([])
    assert events(post(api, "stream/", {"item": 1})) == [("end", None)]
    calls = len(backend.calls)
    assert post(api, "stream/", {"items": [1, 2]}).json() == {
        "results": ["Only one item can be streamed."]
    }
    assert len(backend.calls) == calls


@pytest.mark.django_db
def test_who_wants_no_more_ends_the_run(api: APIClient, backend: DummyBackend) -> None:
    ended: list[bool] = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            ended.append(True)

    backend.returns(lambda item: numbers())
    response = post(api, "stream/", {"item": 1})
    assert b"event: chunk" in next(iter(response.streaming_content))
    response.close()
    assert ended == [True]


@pytest.mark.parametrize("place", ["batch/", "stream/"])
def test_only_post(api: APIClient, backend: DummyBackend, place: str) -> None:
    assert api.get(f"/api/detector/{place}").status_code == 405
    assert api.post(f"/api/nobody/{place}", {"item": 1}, format="json").status_code == 404
    assert backend.calls == []


# Inputs that are held against the signature.


@pytest.mark.parametrize(
    ("inputs", "mistakes"),
    [
        (
            {"input.1": [[1, 256]], "data": [1]},
            {"input.1": ["Expected values from 0 to 255 (uint8); there are some from 1 to 256."]},
        ),
        (
            {"input.1": [[1.5, 2]], "data": [1]},
            {"input.1": ["This input takes whole numbers (uint8), not decimal numbers."]},
        ),
        (
            [[1, 2]],
            {
                "non_field_errors": [
                    "The inputs must be given by name: input.1 uint8 [-1, 2], data float32 [-1]."
                ]
            },
        ),
    ],
    ids=["range", "dtype", "alone"],
)
def test_each_field_is_checked(
    api: APIClient, backend: DummyBackend, inputs: Any, mistakes: Any
) -> None:
    backend.returns(1, signature=SIGNATURE)
    response = post(api, "", {"inputs": inputs})
    assert (response.status_code, response.json()) == (400, {"inputs": mistakes})
    assert backend.calls == []


def test_whether_lengths_must_agree_is_for_the_model_to_say(
    api: APIClient, backend: DummyBackend
) -> None:
    backend.returns(1, signature=SIGNATURE)
    response = post(api, "", {"inputs": {"input.1": [[1, 2]], "data": [1, 2]}})
    assert response.status_code == 200
    assert {name: len(each) for name, each in backend.calls[0].inputs.items()} == {
        "input.1": 1,
        "data": 2,
    }


def test_tensors_arrive_in_the_models_own_types(api: APIClient, backend: DummyBackend) -> None:
    backend.returns(lambda inputs: inputs, signature=SIGNATURE)
    body = {"inputs": {"input.1": [[1, 2]], "data": [True]}}
    assert post(api, "", body).json() == {"outputs": {"input.1": [[1, 2]], "data": [1.0]}}
    dtypes = {name: value.dtype.name for name, value in backend.calls[0].inputs.items()}
    assert dtypes == {"input.1": "uint8", "data": "float32"}


# Arrays as files of numpy's.


def npy_of(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_npy_and_npz_there_and_back(api: APIClient, backend: DummyBackend) -> None:
    octets: dict[str, Any] = {"content_type": "application/octet-stream"}
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    backend.returns(lambda inputs: {"y": inputs * 2})
    accept: Any = {"headers": {"Accept": "application/octet-stream"}}
    response = api.post("/api/detector/", npy_of(x), **octets, **accept)
    assert response.headers["Content-Type"] == "application/octet-stream"
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), x * 2)
    backend.returns(lambda inputs: inputs)
    file = io.BytesIO()
    np.savez_compressed(file, a=x, b=x[:, 0])
    response = api.post("/api/detector/?format=npz", file.getvalue(), **octets)
    answer = np.load(io.BytesIO(response.content), allow_pickle=False)
    np.testing.assert_array_equal(answer["a"], x)
    np.testing.assert_array_equal(answer["b"], x[:, 0])
    response = api.post("/api/detector/", file.getvalue(), **octets, **accept)
    assert list(np.load(io.BytesIO(response.content))) == ["a", "b"]
    body = {"items": [{"s": np.float32(n).item()} for n in range(3)]}
    response = post(api, "?format=npy", body)
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), [0.0, 1.0, 2.0])


def test_what_is_no_array_is_not_acceptable_and_errors_are_json(
    api: APIClient, backend: DummyBackend
) -> None:
    for kind in ("npy", "npz", "jpeg", "png"):
        backend.returns([{"label": "cat"}])
        response = post(api, f"?format={kind}", {"item": 1})
        assert (response.status_code, list(response.json())) == (406, ["detail"])
        response = post(api, f"?format={kind}", {"foo": 1})
        assert (response.status_code, "foo" in response.json()) == (400, True)
    assert api.get("/api/detector/?format=npy").status_code == 404


def test_a_broken_file_of_arrays_is_refused(api: APIClient, backend: DummyBackend) -> None:
    whole = npy_of(np.zeros(1000))
    for body in (
        whole[:-1],
        whole[:60],
        b"\x93NUMPY",
        b"PK\x03\x04" + b"\0" * 22 + b"\5\0\0\0a.npy",
    ):
        response = api.post("/api/detector/", body, content_type="application/octet-stream")
        assert response.status_code == 400
        assert ".np" in response.json()["detail"]
    assert backend.calls == []
    # Under any other type it is an item like any other.
    assert api.post("/api/detector/", whole, content_type="application/x-npy").status_code == 200


def test_a_tensor_in_base64(api: APIClient, backend: DummyBackend) -> None:
    import base64

    x = {"b64": base64.b64encode(npy_of(np.array([[1, 2]], np.uint8))).decode()}
    backend.returns(lambda inputs: inputs, signature=SIGNATURE)
    body = {"inputs": {"input.1": x, "data": [1]}}
    assert post(api, "", body).json() == {"outputs": {"input.1": [[1, 2]], "data": [1.0]}}
    response = post(api, "", {"inputs": {"input.1": {"b64": "AAAA"}, "data": [1]}})
    assert response.status_code == 400
    assert "no .npy file" in response.json()["inputs"]["input.1"][0]


# Serializers and viewsets of one's own.


class House(serializers.Serializer[Any]):
    rooms = serializers.IntegerField(min_value=1)
    area = serializers.FloatField()


class Priced(PredictionSerializer):
    rooms = serializers.IntegerField(min_value=1)

    def to_inputs(self, validated_data: dict[str, Any]) -> Any:
        return Inputs({"x": np.array([[validated_data["rooms"]]], np.float32)})

    def to_answer(self, result: Any) -> Any:
        return {"price": float(result["x"][0, 0]) * 1000}


def declared(settings: Settings, serializer: str) -> DummyBackend:
    rest = {"serializer_class": f"{__name__}.{serializer}"}
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY, "REST": rest}}
    backend = cast(DummyBackend, predictors["detector"].backend)
    backend.returns(lambda inputs: inputs)
    return backend


def test_the_fields_of_a_serializer_are_the_item(api: APIClient, settings: Settings) -> None:
    backend = declared(settings, "House")
    house = {"rooms": 3, "area": 70.5}
    assert post(api, "", house).json() == {"result": house}
    assert backend.calls[0].method == "predict_one"
    assert post(api, "", [house, house]).json() == {"results": [house, house]}
    assert api.post("/api/detector/", house).json() == {"result": house}  # as a form
    refused = post(api, "", {"rooms": 0})
    assert refused.status_code == 400
    assert refused.json() == {
        "rooms": ["Ensure this value is greater than or equal to 1."],
        "area": ["This field is required."],
    }
    assert post(api, "", "text").status_code == 400
    # Nothing gets past it.
    for kind in ("image/jpeg", "application/octet-stream"):
        assert api.post("/api/detector/", b"x", content_type=kind).status_code == 415
    urlencoded = "application/x-www-form-urlencoded"
    response = api.post("/api/detector/", "rooms=2&area=1", content_type=urlencoded)
    assert response.json() == {"result": {"rooms": 2, "area": 1.0}}
    assert len(backend.calls) == 4


def test_a_serializer_may_say_what_goes_in_and_what_comes_out(
    api: APIClient, settings: Settings
) -> None:
    backend = declared(settings, "Priced")
    assert post(api, "", {"rooms": 3}).json() == {"outputs": {"price": 3000.0}}
    np.testing.assert_array_equal(backend.calls[0].inputs["x"], [[3.0]])
    refused = post(api, "", [{"rooms": 3}])
    assert refused.status_code == 400


class Detect(PredictorViewSet):
    alias = "detector"
    permission_classes = [IsAuthenticated]

    def get_inputs(self, request: Any) -> Any:
        inputs = super().get_inputs(request)
        return Item(f"{inputs.value}!") if isinstance(inputs, Item) else inputs

    def present(self, result: Any) -> Any:
        return {"found": result}


def test_a_viewset_for_a_router(backend: DummyBackend, settings: Settings) -> None:
    settings.MIDDLEWARE = []
    settings.INFERENCE["detector"]["REST"] = {"permission_classes": ["no.such.Class"]}
    router = DefaultRouter()
    router.register("detect", Detect, basename="detect")
    settings.ROOT_URLCONF = tuple(router.urls)
    assert reverse("detect-list") == "/detect/"
    client = APIClient()
    assert client.post("/detect/", {"item": 1}, format="json").status_code in (401, 403)
    client.force_authenticate(User(username="ada"))
    assert client.get("/detect/").json()["alias"] == "detector"
    assert client.post("/detect/", {"item": 1}, format="json").json() == {"result": {"found": "1!"}}
    assert client.post("/detect/batch/", [1, 2], format="json").json() == {
        "results": [{"found": 1}, {"found": 2}]
    }
    backend.returns([1, 2])
    response = client.post("/detect/stream/", {"item": 1}, format="json")
    assert events(response)[:2] == [("chunk", {"found": 1}), ("chunk", {"found": 2})]
    assert client.delete("/detect/").status_code == 405
    assert client.options("/detect/").json()["description"].startswith('POST {"inputs"')


# What a person sees.


@pytest.fixture
def html(api: APIClient, settings: Settings) -> Any:
    settings.TEMPLATES = TEMPLATES
    settings.STATIC_URL = "/static/"
    return lambda place="": api.get(
        f"/api/detector/{place}", headers={"Accept": "text/html"}
    ).content.decode()


def test_the_form_has_an_example_that_the_model_takes(
    html: Any, api: APIClient, backend: DummyBackend
) -> None:
    backend.returns(lambda inputs: inputs, signature=SIGNATURE)
    page = html()
    assert "&quot;input.1&quot;: [[0, 0]],\n" in page
    from django_inference.rest.examples import example_of

    example = example_of(predictors["detector"])
    assert example == {"inputs": {"input.1": [[0, 0]], "data": [0.0]}}
    assert post(api, "", example).status_code == 200
    # The only type that a text can hold.
    assert 'value="multipart/form-data"' not in page


def test_the_form_has_a_field_for_files_where_the_model_takes_some(
    html: Any, settings: Settings
) -> None:
    assert 'type="file"' not in html()  # nothing tells that it does
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY, "RUNTIME": "yolo"}}
    page = html()
    assert 'type="file"' in page and 'accept="image/jpeg' in page
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY, "RUNTIME": "tests.rest.runtimes.Lengths"}}
    page = html()
    assert 'type="file"' in page and "accept=" not in page


def test_the_form_has_the_fields_of_a_serializer(html: Any, settings: Settings) -> None:
    declared(settings, "House")
    page = html()
    assert 'name="rooms"' in page and 'name="area"' in page
    assert "POST an object with the fields below, or a list of such objects," in page
