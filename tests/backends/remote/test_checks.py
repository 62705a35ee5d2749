"""What `manage.py check` says of a remote predictor; no server is asked."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings

from django_inference.backends.remote.addresses import parse_endpoint
from tests.backends.remote.conftest import OPEN_INFERENCE

TENSORFLOW = "django_inference.backends.tensorflow_serving.TensorFlowServingBackend"


def said(backend: str = OPEN_INFERENCE, **options: Any) -> str:
    options.setdefault("endpoints", ["grpcs://models:8001"])
    declared = {"far": {"BACKEND": backend, "OPTIONS": options}}
    with override_settings(
        INFERENCE=declared, MIDDLEWARE=["django_inference.middleware.InferenceMiddleware"]
    ):
        found = run_checks(tags=["inference"])
    for message in found:
        assert "'far'" in message.msg
    return "\n".join(f"{message.msg} {message.hint or ''}" for message in found)


def test_nothing_is_wrong_with_a_good_one() -> None:
    assert said() == ""
    assert said(TENSORFLOW, version="3", endpoints=["https://models/prefix/"]) == ""
    assert said(token_from="tests.peers.our_settings.token", tls_ca=__file__) == ""


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("models:8001", "it has to begin with http://, https://, grpc://, grpcs://"),
        ("htps://models", "did you mean 'https'?"),
        ("grpc://models", "gRPC has no usual port"),
        ("grpc://models:8001/prefix", "gRPC knows no path"),
        ("http://", "it names no host"),
        ("http://models:80000", "it is no URL"),
        ("http://models/?a=b", "no '?'"),
        ("http://me:secret@models", "belong into 'token' or 'headers'"),
    ],
)
def test_urls_that_name_no_server(url: str, why: str) -> None:
    found = said(endpoints=["grpc://a:1", url])
    assert why in found
    assert "OPTIONS']['endpoints']" in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": "grpc://models:8001"}, "endpoints"),
        ({"endpoint": []}, "Did you mean 'endpoints'?"),
        ({"token": "t", "token_from": "tests.peers.our_settings.token"}, "use one of them"),
        ({"token_from": "tests.peers.our_settings.tokn"}, "is not the dotted path of a function"),
        ({"token_from": "token"}, "is not the dotted path of a function"),
        ({"tls_key": __file__}, "no 'tls_certificate'"),
        ({"tls_certificate": "/nowhere"}, "no '/nowhere' that can be read"),
        ({"token": "t", "endpoints": ["http://models"]}, "the token is sent unencrypted"),
    ],
    ids=range(9),
)
def test_options_that_do_not_fit(options: dict[str, Any], why: str) -> None:
    assert why in said(**options)


def test_versions_of_tensorflow_serving_are_numbers() -> None:
    assert "\"label\": 'stable'" in said(TENSORFLOW, version="stable")
    assert "use one of them" in said(TENSORFLOW, version="3", label="stable")


def test_addresses() -> None:
    assert parse_endpoint("https://models/prefix/").url == "https://models/prefix"
    assert parse_endpoint("https://models").target == "models:443"
    assert parse_endpoint("http://[::1]:8000").target == "[::1]:8000"
    assert parse_endpoint("grpcs://models:8001")[1:] == ("grpc", True, "models:8001")
