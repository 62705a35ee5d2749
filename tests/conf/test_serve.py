"""`INFERENCE_SERVE`, and what `manage.py check` says about it."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from django_inference import checks
from django_inference.conf import ApiKey, InvalidPredictor, serve_settings

KEY = "0123456789abcdef"
TOKENS = "django_inference.serving.tokens.ApiKeys"


def test_the_defaults(settings: Settings) -> None:
    assert not hasattr(settings, "INFERENCE_SERVE")
    serve = serve_settings()
    assert (serve.grpc, serve.rest) == ("127.0.0.1:8001", "127.0.0.1:8000")
    assert not checks.check_serve()


def test_what_is_replaced_comes_before_the_settings(settings: Settings) -> None:
    settings.INFERENCE_SERVE = {"GRPC": "[::1]:1", "GRACE": 5}
    serve = serve_settings(GRPC="localhost:2")
    assert (serve.grpc, serve.grace) == ("localhost:2", 5)


def test_keys_of_clients(settings: Settings) -> None:
    settings.INFERENCE_SERVE = {"API_KEYS": {"site": {"KEY": KEY, "PREDICTORS": ["a"]}}}
    assert serve_settings().api_keys == {"site": ApiKey(key=KEY, predictors=("a",))}


@pytest.mark.parametrize(
    ("raw", "number", "said"),
    [
        ([], "E040", "expected a dict"),
        ({"GRCP": "a:1"}, "E041", "Did you mean 'GRPC'?"),
        ({"GRPC": "8001"}, "E042", "expected host:port (str) or None"),
        ({"GRPC": 8001}, "E042", "expected host:port (str) or None"),
        ({"MAX_CONCURRENT": 0}, "E042", "['MAX_CONCURRENT']: expected int >= 1"),
        ({"API_KEYS": {"x": {"KEYS": KEY, "KEY": KEY}}}, "E041", "Did you mean 'KEY'?"),
        ({"API_KEYS": {"x": KEY}}, "E042", "['API_KEYS']['x']: expected a dict."),
        ({"API_KEYS": {"x": {"STAFF": True}}}, "E043", "lacks the key 'KEY'"),
        ({"API_KEYS": {"x": {"KEY": "abc"}}}, "E042", "expected at least 16 characters (str)."),
        ({"CERTIFICATE": "/a.pem"}, "E044", "go together"),
        ({"CLIENT_CA": "/a.pem"}, "E044", "takes a 'CERTIFICATE'"),
        ({"GRPC": None, "REST": None}, "E044", "nothing to serve"),
        ({"AUTHENTICATION": "no.such.thing"}, "E045", "cannot be imported"),
        ({"PERMISSION": "django_inference.conf.serve._PLACE"}, "E045", "cannot be called"),
    ],
)
def test_a_mistake_is_named(settings: Settings, raw: Any, number: str, said: str) -> None:
    settings.INFERENCE_SERVE = raw
    (message,) = checks.check_serve()
    assert message.id == f"django_inference.{number}"
    assert said in f"{message.msg} {message.hint}"
    if number != "E045":
        with pytest.raises(InvalidPredictor, match="INFERENCE_SERVE"):
            serve_settings()


def test_a_key_is_not_shown(settings: Settings) -> None:
    settings.INFERENCE_SERVE = {"API_KEYS": {"x": {"KEY": "secret"}}}
    (message,) = checks.check_serve()
    assert "secret" not in f"{message.msg} {message.hint}"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_the_loopback_is_open_to_nobody_else(settings: Settings, address: str) -> None:
    settings.INFERENCE_SERVE = {"GRPC": address, "REST": None}
    assert not checks.check_serve()


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "models.example:1"])
def test_an_open_address_needs_somebody_who_asks(settings: Settings, address: str) -> None:
    settings.INFERENCE_SERVE = {"GRPC": None, "REST": address}
    (message,) = checks.check_serve()
    assert message.id == "django_inference.W005" and address in message.msg
    settings.INFERENCE_SERVE = {"REST": address, "AUTHENTICATION": TOKENS}
    assert not checks.check_serve()
