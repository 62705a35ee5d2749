from __future__ import annotations

import os
import time

import msgspec
import pytest

from django_inference.specs import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    EngineOptions,
    ErrorReport,
    ReplicaStatus,
    State,
    Status,
    one_line,
)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError("\n\n  late\n"), "ValueError: late"),
        (ValueError(), "ValueError"),
        (KeyError("pixels"), "KeyError: 'pixels'"),
        (Unspeakable(), "Unspeakable: its message cannot be shown: RuntimeError"),
        (OSError(os.fsdecode(b"caf\xe9")), "OSError: caf?"),
        (ValueError("x" * 10**6), "ValueError: " + "x" * MAX_MESSAGE),
    ],
)
def test_an_exception_in_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_a_report_holds_what_the_person_on_call_needs() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        report = ErrorReport.of(error)
    assert report.message == "ValueError: first"
    assert report.traceback.startswith("Traceback")
    assert "test_specs.py" in report.traceback
    assert report.traceback.endswith("ValueError: first\nsecond\n")
    assert report.at == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    "error", [ValueError("x" * 10**7), Unspeakable(), OSError("\udce9"), SystemExit(3)]
)
def test_any_report_can_travel(error: BaseException) -> None:
    report = ErrorReport.of(error)
    encoded = msgspec.msgpack.encode(report)
    assert len(encoded) < 4 * (MAX_MESSAGE + MAX_TRACEBACK)
    assert msgspec.msgpack.decode(encoded, type=ErrorReport) == report


def test_the_first_replica_stands_for_the_model() -> None:
    status = Status(alias="m", state=State.UNLOADED)
    assert (status.pid, status.load_seconds, status.memory) == (0, 0.0, 0)
    replicas = (
        ReplicaStatus(pid=7, state=State.READY, load_seconds=1.5, memory=100),
        ReplicaStatus(pid=8, state=State.LOADING, load_seconds=2.5, memory=50),
    )
    status = Status(alias="m", state=State.READY, replicas=replicas)
    assert (status.pid, status.load_seconds, status.memory) == (7, 2.5, 150)


@pytest.mark.parametrize(
    "options",
    [
        {"max_batch_size": 0},
        {"max_batch_size": "8"},
        {"max_batch_delay": -1},
        {"warmup": "yes"},
        {"max_batch": 3},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, EngineOptions)
