from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any, cast

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.http import QueryDict
from django.test import RequestFactory
from pytest_django import Settings
from rest_framework import parsers
from rest_framework.request import Request
from rest_framework.test import APIClient

from django_inference.backends.dummy import DummyBackend
from django_inference.rest import Item, PredictView
from django_inference.rest.inputs import AnyInputs
from django_inference.rest.parsers import JSONParser
from tests.rest.conftest import ClientFor

FIELD = "non_field_errors"


def post(client: APIClient, body: bytes | str, content_type: str = "application/json") -> Any:
    return client.post("/predict/", body, content_type=content_type)


# JSON.


def test_named_tensors_give_outputs(client: APIClient, backend: DummyBackend) -> None:
    body = {"inputs": {"images": [[1, 2.5], [3, 4]], "ids": [1, 2], "texts": ["a", "b"]}}
    response = client.post("/predict/", body, format="json")
    assert response.status_code == 200
    assert response.json() == {
        "outputs": {"images": [[1.0, 2.5], [3.0, 4.0]], "ids": [1, 2], "texts": ["a", "b"]}
    }
    (call,) = backend.calls
    assert call.method == "predict"
    assert {name: value.dtype for name, value in call.inputs.items()} == {
        "images": np.float64,
        "ids": np.int64,
        "texts": np.object_,
    }


def test_a_list_alone_is_the_only_input(client: APIClient, backend: DummyBackend) -> None:
    backend.returns(lambda inputs: {"sum": inputs.sum(axis=1)})
    response = client.post("/predict/", {"inputs": [[1, 2], [3, 4]]}, format="json")
    assert response.json() == {"outputs": {"sum": [3, 7]}}


def test_items_give_results(client: APIClient, backend: DummyBackend) -> None:
    response = client.post("/predict/", {"items": ["a", {"b": [1]}, None]}, format="json")
    assert response.json() == {"results": ["a", {"b": [1]}, None]}
    assert backend.calls[0].method == "predict"


def test_no_items_give_no_results(client: APIClient) -> None:
    assert client.post("/predict/", {"items": []}, format="json").json() == {"results": []}


@pytest.mark.parametrize("item", ["text", 1, 2.5, None, True, [1, 2], {"a": {"b": []}}])
def test_one_item_gives_one_result(client: APIClient, backend: DummyBackend, item: Any) -> None:
    response = client.post("/predict/", {"item": item}, format="json")
    assert (response.status_code, response.json()) == (200, {"result": item})
    assert [(call.method, call.inputs) for call in backend.calls] == [("predict_one", item)]


def test_base64_stands_for_bytes_both_ways(client: APIClient, backend: DummyBackend) -> None:
    photo = {"b64": base64.b64encode(b"\x00\xff").decode()}
    body: dict[str, Any] = {"items": [photo, {"image": photo, "b64": "kept"}]}
    assert client.post("/predict/", body, format="json").json() == {"results": body["items"]}
    assert backend.calls[0].inputs == [b"\x00\xff", {"image": b"\x00\xff", "b64": "kept"}]
    body = {"inputs": {"images": [photo]}}
    assert client.post("/predict/", body, format="json").json() == {"outputs": {"images": [photo]}}
    assert backend.calls[1].inputs["images"].tolist() == [b"\x00\xff"]


@pytest.mark.parametrize(
    ("body", "mistakes"),
    [
        ({}, {FIELD}),
        ([], {FIELD}),
        ("text", {FIELD}),
        (None, {FIELD}),
        ({"foo": 1}, {"foo", FIELD}),
        ({"item": 1, "foo": 1}, {"foo"}),
        ({"item": 1, "items": []}, {"item"}),
        ({"inputs": {}, "item": 1, "items": []}, {"item", "items"}),
        ({"items": {"a": 1}}, {"items"}),
        ({"items": "text"}, {"items"}),
        ({"inputs": {}}, {"inputs"}),
        ({"inputs": 5}, {"inputs"}),
        ({"inputs": None}, {"inputs"}),
        ({"inputs": [1, [2]]}, {"inputs"}),
    ],
)
def test_another_shape_is_refused_with_a_message_for_each_field(
    client: APIClient, backend: DummyBackend, body: Any, mistakes: set[str]
) -> None:
    response = post(client, json.dumps(body))
    assert response.status_code == 400
    assert set(response.json()) == mistakes
    assert all(isinstance(said[0], str) for said in response.json().values())
    assert backend.calls == []


def test_a_tensor_that_is_none_is_named(client: APIClient) -> None:
    body = {"inputs": {"images": [[1], [2, 3]], "ids": 5, "fine": [1]}}
    response = client.post("/predict/", body, format="json")
    assert response.status_code == 400
    assert response.json() == {
        "inputs": {
            "images": ["The lists differ in length: 2 at [1], 1 at [0]."],
            "ids": ["Expected a list with one entry for each row of the batch."],
        }
    }


def test_ten_thousand_unknown_fields_do_not_give_as_many_messages(client: APIClient) -> None:
    response = client.post("/predict/", {f"k{i}": i for i in range(10_000)}, format="json")
    assert response.status_code == 400
    assert len(response.json()) <= 11
    body = {"inputs": {f"k{i}": i for i in range(10_000)}}
    assert len(client.post("/predict/", body, format="json").json()["inputs"]) == 10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is empty."),
        (b"{", "JSON parse error"),
        (b'{"item": NaN}', "not JSON compliant"),
        (b'{"item": [-Infinity]}', "not JSON compliant"),
        (b'{"item": "\xff"}', "codec can't decode"),
        (b'{"item": 1, "item": 2}', "the name 'item' appears twice"),
        (b'{"item": {"a": 1, "b": 2, "a": 3}}', "the name 'a' appears twice"),
        (b'{"item": {"b64": "no!"}}', "not base64"),
        ('{"item": {"b64": "é"}}'.encode(), "not base64"),
        (b'{"item": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\udfff": 1}', "surrogates not allowed"),
        (b'{"item": ' + b"[" * 64 + b"]" * 64 + b"}", "nested too deeply"),
        (b'{"items": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"item": ' + b"1" * 5000 + b"}", "limit"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_malformed_json_is_refused(
    client: APIClient, backend: DummyBackend, body: bytes, message: str
) -> None:
    response = post(client, body)
    assert response.status_code == 400
    assert message in response.json()["detail"]
    assert backend.calls == []


def test_a_surrogate_pair_is_a_character(client: APIClient) -> None:
    assert post(client, rb'{"item": "\ud83d\ude00"}').json() == {"result": "😀"}


def test_json_is_read_down_to_its_deepest_level(client: APIClient) -> None:
    deep = "[" * 63 + "]" * 63
    response = post(client, f'{{"item": {deep}}}')
    assert (response.status_code, json.dumps(response.json()["result"])) == (200, deep)


def test_json_with_nan_is_read_where_the_parser_is_not_strict(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    class LaxParser(JSONParser):
        strict = False

    view = PredictView.as_view(alias="detector", parser_classes=[LaxParser])
    response = post(client_for(view), b'{"inputs": {"x": [NaN, 1]}}')
    assert response.json() == {"outputs": {"x": [None, 1.0]}}
    assert np.isnan(backend.calls[0].inputs["x"][0])


@pytest.mark.parametrize("charset", ["bz2_codec", "no-such", "rot13", "undefined", "idna"])
def test_a_charset_that_is_none_is_refused(client: APIClient, charset: str) -> None:
    response = post(client, b'{"item": "\xe4"}', f"application/json; charset={charset}")
    assert response.status_code == 400
    assert "JSON parse error" in response.json()["detail"]


def test_another_charset_is_understood(client: APIClient) -> None:
    body = '{"item": "é"}'.encode("utf-16")
    assert post(client, body, "application/json; charset=utf-16").json() == {"result": "é"}


def test_json_larger_than_django_allows_is_413(client: APIClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20
    assert post(client, b'{"item": 1}').status_code == 200
    response = post(client, b'{"item": "' + b"x" * 20 + b'"}')
    assert response.status_code == 413
    assert "DATA_UPLOAD_MAX_MEMORY_SIZE" in response.json()["detail"]


# Files.


def test_one_file_gives_one_result(client: APIClient, backend: DummyBackend) -> None:
    upload = SimpleUploadedFile("photo.jpg", b"\xff\xd8", content_type="image/jpeg")
    response = client.post("/predict/", {"image": upload, "comment": "ignored"})
    assert response.json() == {"result": {"b64": "/9g="}}
    assert [(call.method, call.inputs) for call in backend.calls] == [("predict_one", b"\xff\xd8")]


def test_several_files_of_one_field_give_results_in_order(
    client: APIClient, backend: DummyBackend
) -> None:
    uploads = [SimpleUploadedFile(f"{n}.bin", bytes([n])) for n in range(5)]
    response = client.post("/predict/", {"images": uploads})
    assert response.status_code == 200
    assert len(response.json()["results"]) == 5
    assert backend.calls[0].inputs == [bytes([n]) for n in range(5)]


def test_files_of_several_fields_are_refused(client: APIClient, backend: DummyBackend) -> None:
    files = {name: SimpleUploadedFile("a.bin", b"a") for name in ("image", "mask")}
    response = client.post("/predict/", files)
    assert response.status_code == 400
    assert response.json() == {
        "mask": ['Send all files in one field; this request has some in "image" too.']
    }
    assert backend.calls == []


def test_an_empty_file_is_an_item_without_bytes(client: APIClient, backend: DummyBackend) -> None:
    assert client.post("/predict/", {"f": SimpleUploadedFile("a", b"")}).status_code == 200
    assert backend.calls[0].inputs == b""


def test_a_large_file_arrives_whole(client: APIClient, backend: DummyBackend) -> None:
    content = np.random.default_rng(0).bytes(4 * 2**20)  # more than is kept in memory
    backend.returns(None)
    assert client.post("/predict/", {"f": SimpleUploadedFile("a", content)}).status_code == 200
    assert backend.calls[0].inputs == content


def part(name: str, value: bytes, filename: str | None = None, headers: bytes = b"") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return b"--B\r\n" + disposition.encode() + b"\r\n" + headers + b"\r\n" + value + b"\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"--B--\r\n",
        b"--B\r\n\r\n\r\n--B--\r\n",
        part("text", b"only a field") + b"--B--\r\n",
        part("file", b"no file was chosen", "") + b"--B--\r\n",
        part("file", b"YQ", "a", b"Content-Transfer-Encoding: base64\r\n") + b"--B--\r\n",
    ],
    ids=repr,
)
def test_a_malformed_form_is_refused(client: APIClient, backend: DummyBackend, body: bytes) -> None:
    response = post(client, body, "multipart/form-data; boundary=B")
    assert response.status_code == 400
    assert isinstance(response.json()["detail"], str)
    assert backend.calls == []


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed"]
)
def test_a_form_without_a_boundary_is_refused(client: APIClient, content_type: str) -> None:
    response = post(client, b"--B--\r\n", content_type)
    assert response.status_code in (400, 415)
    assert isinstance(response.json()["detail"], str)


def test_more_files_than_django_allows_are_refused(client: APIClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FILES = 2
    uploads = [SimpleUploadedFile("a", b"a") for _ in range(3)]
    response = client.post("/predict/", {"f": uploads})
    assert response.status_code == 400
    assert "DATA_UPLOAD_MAX_NUMBER_FILES" in response.json()["detail"]


def test_more_text_in_a_form_than_django_allows_is_413(
    client: APIClient, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20
    upload = SimpleUploadedFile("a", b"x" * 100)
    assert client.post("/predict/", {"f": upload}).status_code == 200
    upload = SimpleUploadedFile("a", b"x")
    assert client.post("/predict/", {"f": upload, "t": "x" * 30}).status_code == 413


def test_a_subclass_makes_items_of_files_and_fields(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    class DetectView(PredictView):
        alias = "detector"

        def get_item(self, file: Any, fields: QueryDict) -> Any:
            threshold = float(fields.get("threshold", "0.5"))
            return {"image": file.read(), "name": file.name, "threshold": threshold}

    upload = SimpleUploadedFile("photo.jpg", b"\xff")
    response = client_for(DetectView.as_view()).post("/predict/", {"f": upload, "threshold": "0.9"})
    assert response.status_code == 200
    assert backend.calls[0].inputs == {"image": b"\xff", "name": "photo.jpg", "threshold": 0.9}


# Bytes of any other type.


@pytest.mark.parametrize(
    "content_type",
    ["image/jpeg", "audio/wav", "application/octet-stream", "text/plain; charset=utf-8", "", "x"],
)
def test_any_other_body_is_one_item(
    client: APIClient, backend: DummyBackend, content_type: str
) -> None:
    response = cast(Any, client).generic("POST", "/predict/", b"\x00\xff", content_type)
    assert response.json() == {"result": {"b64": "AP8="}}
    assert [(call.method, call.inputs) for call in backend.calls] == [("predict_one", b"\x00\xff")]


def test_an_empty_body_is_refused(client: APIClient, backend: DummyBackend) -> None:
    for content_type in ("image/jpeg", "application/json", "multipart/form-data; boundary=B"):
        response = post(client, b"", content_type)
        assert response.status_code == 400
        assert response.json() == {"detail": "The body is empty."}
    assert backend.calls == []


def test_a_form_that_is_no_file_upload_is_refused_with_a_hint(client: APIClient) -> None:
    response = post(client, b"\xff\xd8", "application/x-www-form-urlencoded")
    assert response.status_code == 415
    assert "image/jpeg" in response.json()["detail"]


def test_a_body_sent_in_chunks_needs_a_length(backend: DummyBackend) -> None:
    request = RequestFactory().generic(
        "POST", "/", b"", "image/jpeg", headers={"Transfer-Encoding": "chunked"}
    )
    response = PredictView.as_view(alias="detector")(request)
    assert response.status_code == 411
    assert backend.calls == []


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/json"])
def test_a_body_above_the_views_limit_is_413_and_not_read(
    backend: DummyBackend, content_type: str
) -> None:
    view = PredictView.as_view(alias="detector", max_body_bytes=10)
    factory = RequestFactory()
    assert view(factory.generic("POST", "/", b'{"item":1}', content_type)).status_code == 200
    request = factory.generic("POST", "/", b'{"item":12}', content_type)
    assert view(request).status_code == 413
    assert request.read() == b'{"item":12}'
    assert len(backend.calls) == 1


def test_files_above_the_views_limit_are_413(client_for: ClientFor, backend: DummyBackend) -> None:
    client = client_for(PredictView.as_view(alias="detector", max_body_bytes=1000))
    assert client.post("/predict/", {"f": SimpleUploadedFile("a", b"x" * 500)}).status_code == 200
    assert client.post("/predict/", {"f": SimpleUploadedFile("a", b"x" * 1000)}).status_code == 413


def test_half_a_body_is_not_predicted(backend: DummyBackend) -> None:
    request = RequestFactory().generic("POST", "/", b"half", "image/jpeg")
    stream = BytesIO(b"half")
    request = WSGIRequest(request.META | {"CONTENT_LENGTH": "8", "wsgi.input": stream})
    response = PredictView.as_view(alias="detector")(request)
    assert (response.status_code, response.data) == (400, {"detail": "The body ended too early."})
    assert backend.calls == []


def test_a_connection_that_breaks_is_the_clients_fault(backend: DummyBackend) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError

    for content_type in ("image/jpeg", "application/json", "multipart/form-data; boundary=B"):
        request = RequestFactory().generic("POST", "/", b"half", content_type)
        request = WSGIRequest(request.META | {"wsgi.input": Broken()})
        assert PredictView.as_view(alias="detector")(request).status_code == 400
    assert backend.calls == []


def test_a_length_that_lies_does_not_lift_the_limit(backend: DummyBackend) -> None:
    request = RequestFactory().generic("POST", "/", b"x" * 50, "image/jpeg")
    request.META["CONTENT_LENGTH"] = "5"  # as an ASGI server hands it on: nothing cuts the stream
    view = PredictView.as_view(alias="detector", max_body_bytes=10)
    assert view(request).status_code == 413


def test_raw_bytes_need_not_fit_what_django_allows_for_forms(
    client: APIClient, backend: DummyBackend, settings: Settings
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 20
    assert post(client, b"x" * 100, "image/jpeg").status_code == 200


def test_a_view_without_a_limit_takes_everything(
    client_for: ClientFor, backend: DummyBackend
) -> None:
    backend.returns(None)
    client = client_for(PredictView.as_view(alias="detector", max_body_bytes=None))
    assert post(client, b"x" * (33 * 2**20), "image/jpeg").status_code == 200
    assert len(backend.calls[0].inputs) == 33 * 2**20


# Parsers and inputs of one's own.


def test_a_parser_of_ones_own_comes_first(client_for: ClientFor, backend: DummyBackend) -> None:
    class LinesParser(parsers.BaseParser):
        media_type = "text/plain"

        def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
            return {"items": stream.read().decode().splitlines()}

    view = PredictView.as_view(
        alias="detector", parser_classes=[LinesParser, *PredictView.parser_classes]
    )
    response = post(client_for(view), "a\nb", "text/plain")
    assert response.json() == {"results": ["a", "b"]}


def test_a_subclass_reads_inputs_of_its_own(client_for: ClientFor, backend: DummyBackend) -> None:
    class SearchView(PredictView):
        alias = "detector"

        def get_inputs(self, request: Request) -> AnyInputs:
            return Item(request.query_params["q"].upper())

    client = client_for(SearchView.as_view())
    assert client.post("/predict/?q=cat").json() == {"result": "CAT"}
