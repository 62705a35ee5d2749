"""`manage.py inference rollback` and `promote`, and what `status` shows of a trial."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_inference import predictors
from tests.hosts import Host, eventually


def inference(*arguments: Any) -> str:
    out = StringIO()
    call_command("inference", *map(str, arguments), stdout=out)
    return out.getvalue()


def declare(settings: Settings, salt: str, **options: Any) -> None:
    """Deploy: the settings are read anew, as by a process that starts."""
    settings.INFERENCE = {
        "actor": {
            "RUNTIME": "tests.sample_runtimes.Actor",
            "RUNTIME_OPTIONS": {"salt": salt},
            "OPTIONS": {"timeout": 30, **options},
        }
    }


def salt() -> str:
    return str(predictors["actor"].predict_one({"do": "salt"}))


def status() -> dict[str, Any]:
    (found,) = json.loads(inference("status", "--format", "json"))
    assert isinstance(found, dict)
    return found


def test_a_roll_back_from_the_command_line(settings: Settings, django_host: Host) -> None:
    declare(settings, "one")
    inference("load", "actor")
    assert salt() == "one"
    with pytest.raises(CommandError, match="'actor' has had no other version"):
        inference("rollback", "actor")
    declare(settings, "two")
    inference("load", "actor")
    assert salt() == "two"
    said = inference("rollback", "actor")
    # The command has waited until the version before serves.
    assert salt() == "one"
    assert "READY" in said
    # The same settings do not bring it back.
    declare(settings, "two")
    inference("load", "actor")
    assert salt() == "one"
    declare(settings, "three")
    inference("load", "actor")
    eventually(lambda: salt() == "three")


def test_a_trial_from_the_command_line(settings: Settings, django_host: Host) -> None:
    declare(settings, "one")
    inference("load", "actor")
    with pytest.raises(CommandError, match="'actor' has no version on trial"):
        inference("promote", "actor")
    declare(settings, "two", shadow=1.0)
    inference("load", "actor")
    trial = eventually(lambda: status()["trial"])
    assert (trial["shadow"], trial["canary"], trial["equal"], trial["different"]) == (1.0, 0, 0, 0)
    assert [salt() for _ in range(3)] == ["one"] * 3
    eventually(lambda: status()["trial"]["different"] == 3)
    assert status()["trial"]["example"] == "['two'] instead of ['one']"
    inference("promote", "actor")
    assert salt() == "two"
    assert status()["trial"] is None


def test_without_a_host_there_is_nothing_to_roll_back(
    settings: Settings, django_host: Host
) -> None:
    declare(settings, "one")
    for action in ("rollback", "promote"):
        with pytest.raises(CommandError, match="no model host"):
            inference(action, "actor")
    assert django_host.report() is None


def test_a_golden_answer_that_is_missed_fails_the_load(
    settings: Settings, django_host: Host, tmp_path: Path
) -> None:
    declare(settings, "one")
    settings.INFERENCE["actor"]["GOLDEN"] = [("cat", "cat"), ([1, 2], [1, 3], 0.5)]
    with pytest.raises(CommandError, match="not ready: actor"):
        inference("load", "actor")
    assert status_error() == (
        "GoldenMismatch: golden answer 2 of 2 differs by more than 0.5: "
        "expected [1, 3], got [1, 2]."
    )


def status_error() -> str:
    error = predictors["actor"].status().error
    assert error
    return error.message
