"""Versions as numbers and labels."""

from __future__ import annotations

from typing import Any

import pytest

from django_inference.handle import Predictor
from django_inference.serving.lookup import NotServed
from django_inference.serving.tensorflow_versions import (
    Choice,
    Unsupported,
    check_callable,
    chosen,
    number_of,
    statuses,
)
from django_inference.specs import State, Status, TrialStatus

DIGEST, NEXT = "0123456789abcdef", "fedcba9876543210"


class Told:
    """Stands where a backend does, and says what a host would."""

    alias = "model"
    cached = None

    def __init__(self, **status: Any) -> None:
        self.said = Status(alias=self.alias, **status)

    def status(self) -> Status:
        return self.said


def told(**status: Any) -> Predictor:
    return Predictor(Told(**status))  # type: ignore[arg-type]


def test_numbers_are_the_heads_of_digests() -> None:
    assert number_of(DIGEST) == 0x0123456789AB
    assert number_of("f" * 16) < 2**53
    assert number_of(DIGEST[:12]) == number_of(DIGEST)
    assert number_of("17") == 17
    assert number_of("1" * 16) == 1111111111111111
    assert number_of("") == 0
    assert 0 < number_of("v1") < 2**53
    assert number_of("v1") != number_of("v2")
    assert 0 < number_of("9" * 30) < 2**63


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"state": State.UNLOADED}, "START"),
        ({"state": State.UNLOADED, "version": DIGEST}, "END"),
        ({"state": State.LOADING}, "LOADING"),
        ({"state": State.READY, "version": DIGEST}, "AVAILABLE"),
        ({"state": State.DRAINING, "version": DIGEST}, "UNLOADING"),
        ({"state": State.FAILED}, "END"),
    ],
)
def test_states(status: dict[str, Any], state: str) -> None:
    (version,) = statuses(told(**status))
    assert version.state == state
    assert version.version == number_of(status.get("version", ""))
    assert (version.error_code != "OK") == (status["state"] is State.FAILED)


def test_a_version_on_trial_has_a_label_and_no_calls_of_its_own() -> None:
    trial = TrialStatus(version=NEXT, replicas=(), canary=0.1, shadow=0.0)
    predictor = told(state=State.READY, version=DIGEST, trial=trial)
    assert [version.label for version in statuses(predictor)] == ["stable", "canary"]
    (canary,) = chosen(predictor, Choice(model="model", label="canary"))
    assert canary.version == number_of(NEXT)
    for choice in (
        Choice(model="model", label="canary"),
        Choice(model="model", version=canary.version),
    ):
        with pytest.raises(Unsupported, match="on trial"):
            check_callable(predictor, choice, 0.0)
    check_callable(predictor, Choice(model="model", label="stable"), 0.0)
    check_callable(predictor, Choice(model="model", version=number_of(DIGEST)), 0.0)
    with pytest.raises(NotServed, match="no version 1 now"):
        check_callable(predictor, Choice(model="model", version=1), 0.0)


def test_a_version_that_is_being_loaded_is_listed_once_it_is_known() -> None:
    predictor = told(state=State.READY, version=DIGEST, next_version="pending")
    assert len(statuses(predictor)) == 1
    predictor = told(state=State.READY, version=DIGEST, next_version=NEXT)
    assert [(each.version, each.state) for each in statuses(predictor)] == [
        (number_of(DIGEST), "AVAILABLE"),
        (number_of(NEXT), "LOADING"),
    ]
