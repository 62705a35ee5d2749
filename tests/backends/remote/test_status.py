"""What is seen of a remote model when none of its servers is there."""

from __future__ import annotations

import io
import json
import time

import pytest
from django.core.management import call_command

from django_inference import InferenceError, RemoteError
from django_inference.specs import State
from tests.backends.remote.conftest import Remote

NOBODY = ("http://127.0.0.1:1", "grpc://127.0.0.1:1")


def test_a_status_is_given_where_no_server_is(remote: Remote) -> None:
    status = remote(*NOBODY).status()
    assert status.state is State.FAILED
    assert status.error is not None
    assert "does not answer" in status.error.message
    assert [endpoint.healthy for endpoint in status.endpoints] == [False, False]


def test_the_command_shows_the_servers(remote: Remote) -> None:
    remote(*NOBODY)
    table, document = io.StringIO(), io.StringIO()
    for options, output in (({}, table), ({"format": "json"}, document)):
        # It says by its exit that not every model is ready.
        with pytest.raises(SystemExit):
            call_command("inference", "status", stdout=output, **options)
    for url in NOBODY:
        assert f"{url} not healthy, circuit closed" in table.getvalue()
    assert NOBODY[0] in json.dumps(json.loads(document.getvalue()))


def test_a_call_without_servers_ends_before_its_deadline(remote: Remote) -> None:
    predictor = remote(*NOBODY)
    began = time.monotonic()
    with pytest.raises(RemoteError, match="does not answer|circuit is open"):
        predictor.predict({"x": [1.0]}, timeout=60.0)
    assert time.monotonic() - began < 60.0


def test_orders_that_nobody_takes(remote: Remote) -> None:
    predictor = remote(*NOBODY)
    with pytest.raises(RemoteError, match="does not answer"):
        predictor.reload()
    with pytest.raises(RemoteError, match="does not answer"):
        predictor.unload()


def test_orders_that_the_protocol_has_not(remote: Remote) -> None:
    backend = "django_inference.backends.tensorflow_serving.TensorFlowServingBackend"
    with pytest.raises(LookupError, match="load their models by themselves"):
        remote(*NOBODY, backend=backend).reload()


def test_a_budget_of_nothing_sends_nothing_again(remote: Remote) -> None:
    predictor = remote(NOBODY[0], retry_budget=0.0, breaker_failures=50, health_interval=None)
    with pytest.raises(InferenceError):
        predictor.predict({"x": [1.0]})
    assert [endpoint.requests for endpoint in predictor.status().endpoints] == [1]
