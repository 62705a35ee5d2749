"""`GOLDEN`, and the options of supervision, as they are written in settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from django_inference import checks
from django_inference.backends.host import HostBackend
from django_inference.conf import InvalidPredictor, parse_predictor
from django_inference.host.protocol import Declare, pack
from django_inference.specs import Golden, Supervision


def declared(**keys: Any) -> dict[str, Any]:
    return {"RUNTIME": "tests.sample_runtimes.echo", **keys}


def test_golden_answers_are_read() -> None:
    golden = [("cat", "dog"), [{"x": [[1.0]]}, {"y": [2.0]}, 0.01], (3, 4, 1)]
    assert parse_predictor("m", declared(GOLDEN=golden)).golden == (
        Golden("cat", "dog", 0.0),
        Golden({"x": [[1.0]]}, {"y": [2.0]}, 0.01),
        Golden(3, 4, 1.0),
    )
    assert parse_predictor("m", declared()).golden == ()


def test_arrays_in_golden_answers_travel_as_lists() -> None:
    golden = [({"x": np.ones((1, 2), "float32")}, [{"y": np.float32(0.5)}], 0.1)]
    spec = HostBackend(parse_predictor("m", declared(GOLDEN=golden)))._spec
    assert spec.golden == (Golden({"x": [[1.0, 1.0]]}, [{"y": 0.5}], 0.1),)
    assert pack(Declare(spec, 0.0))


@pytest.mark.parametrize(
    "golden",
    [
        "cat",
        7,
        [1],
        [("cat",)],
        [("cat", "dog", -0.5)],
        [("cat", "dog", "much")],
        [("cat", "dog", 0.1), "no"],
        {"cat": "dog"},
    ],
)
def test_a_bad_form_is_a_check_error_that_names_the_alias(settings: Settings, golden: Any) -> None:
    settings.INFERENCE = {"pets": declared(GOLDEN=golden)}
    (error,) = checks.check_predictors()
    assert error.id == "django_inference.E004"
    assert "INFERENCE['pets']['GOLDEN']" in error.msg
    assert "a list of (input, expected answer, tolerance)" in error.msg
    with pytest.raises(InvalidPredictor) as caught:
        parse_predictor("pets", settings.INFERENCE["pets"])
    assert caught.value.alias == "pets"


def test_options_of_supervision_reach_the_host() -> None:
    options: dict[str, Any] = {
        "replicas": 2,
        "threads": 3,
        "devices": ["cuda:0", "cpu"],
        "run_timeout": None,
        "load_timeout": 60,
        "idle_unload": 60,
        "max_requests": 1000,
        "max_memory": 2**30,
        "watch": True,
        "quarantine": 0,
        "canary": 0.1,
        "shadow": 1,
        "tolerance": 0.5,
        "max_request_bytes": 10,
        "max_response_bytes": 20,
    }
    backend = HostBackend(parse_predictor("m", declared(OPTIONS=options)))
    expected: dict[str, Any] = {**options, "devices": ("cuda:0", "cpu")}
    assert backend._spec.supervision == Supervision(**expected)
    assert set(options) == set(Supervision.__struct_fields__)


@pytest.mark.parametrize(
    "option",
    [
        {"canary": 1.5},
        {"canary": -0.1},
        {"shadow": 2},
        {"devices": ["gpu"]},
        {"devices": ["cuda:x"]},
        {"replicas": 0},
        {"run_timeout": 0},
        {"load_timeout": -1},
        {"idle_unload": -1},
        {"max_requests": 0},
        {"max_memory": "1G"},
        {"watch": "yes"},
        {"max_queue": 0},
        {"max_request_bytes": 0},
    ],
)
def test_an_option_that_makes_no_sense_is_a_mistake(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(InvalidPredictor) as caught:
        HostBackend(parse_predictor("m", declared(OPTIONS=option)))
    assert f"INFERENCE['m']['OPTIONS']['{name}']" in str(caught.value)


def test_a_priority_that_there_is_not_is_refused() -> None:
    from django_inference.exceptions import InvalidInput

    backend = HostBackend(parse_predictor("m", declared()))
    with pytest.raises(InvalidInput, match="one of high, normal, low, not 'urgent'"):
        backend.predict([1], priority="urgent")  # type: ignore[arg-type]
