"""How far a load is, in a terminal and in a log."""

from __future__ import annotations

import io
from collections.abc import Iterator

import msgspec
import pytest
from rich.console import Console

from django_inference.management import progress
from django_inference.management.progress import bar, in_words, watch
from django_inference.management.tables import status_table
from django_inference.specs import Progress, ReplicaStatus, State, Statistics, Status

FETCHING = Progress(stage="fetching", done=12_000_000, total=90_000_000, seconds=5.2)


def loading(progress: Progress | None) -> Status:
    return Status(alias="detector", state=State.LOADING, progress=progress)


READY = Status(
    alias="detector",
    state=State.READY,
    version="0123456789ab",
    replicas=(
        ReplicaStatus(
            pid=1, state=State.READY, device="cuda:0", framework="torch 2.13.0", weights="own"
        ),
        ReplicaStatus(pid=2, state=State.READY, device="cuda:1", framework="torch 2.13.0"),
    ),
)


def drawn(status: Status) -> str:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as capture:
        console.print(status_table([status]))
    return capture.get()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (FETCHING, "fetching 12.0 of 90.0 MB, 5 s"),
        (Progress(stage="fetching", done=100_000, seconds=0.4), "fetching 0.1 MB, 0 s"),
        (Progress(stage="fetching", done=10**9, total=2 * 10**9), "fetching 1000 of 2000 MB, 0 s"),
        (Progress(stage="warming up", seconds=61.0), "warming up, 61 s"),
    ],
)
def test_progress_in_words(given: Progress, said: str) -> None:
    assert in_words(given) == said


def test_the_table_shows_the_stage_and_where_a_model_runs() -> None:
    assert "LOADING (fetching)" in drawn(loading(FETCHING))
    assert "LOADING (" not in drawn(loading(Progress(stage="loading")))
    assert "torch 2.13.0, cuda:0, cuda:1, own weights" in drawn(READY)
    coming = msgspec.structs.replace(READY, next_version="pending", progress=FETCHING)
    assert "READY (next version: fetching)" in drawn(coming)


def test_refused_inputs_stand_below_the_table() -> None:
    assert "invalid" not in drawn(READY)
    counts = Statistics(requests=9, invalid=3, failures=1)
    replicas = tuple(msgspec.structs.replace(each, statistics=counts) for each in READY.replicas)
    shown = drawn(msgspec.structs.replace(READY, replicas=replicas))
    assert "detector: 6 invalid inputs refused" in shown


def test_why_a_model_is_not_batched_stands_below_the_table() -> None:
    said = "not batched: y differs by 0.33 when requests share a run; declare the axis"
    for batching, is_shown in ((said, True), ("proven", False), ("not batched: never", False)):
        replicas = tuple(msgspec.structs.replace(r, batching=batching) for r in READY.replicas)
        shown = drawn(msgspec.structs.replace(READY, replicas=replicas))
        assert (f"detector: {batching}" in shown) is is_shown


def answers(*statuses: Status) -> Iterator[list[Status]]:
    for status in statuses:
        yield [status]


def test_a_terminal_shows_a_bar() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    asked = answers(*[loading(FETCHING)] * 3, READY)
    assert watch(console, lambda: next(asked), 30) == [READY]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "fetching 12.0 of 90.0 MB, 5 s" in shown
    assert "━" in shown


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN", 0.0)
    console = Console(file=io.StringIO(), width=100)
    warming = Progress(stage="warming up", seconds=3.0)
    asked = answers(loading(FETCHING), loading(warming), loading(None), READY)
    watch(console, lambda: next(asked), 30)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == ["detector: fetching 12.0 of 90.0 MB, 5 s"]


def test_what_is_quick_leaves_no_line_in_a_log() -> None:
    console = Console(file=io.StringIO(), width=100)
    asked = answers(loading(FETCHING), READY)
    watch(console, lambda: next(asked), 30)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_the_first_outcome_of_each_counts_while_others_load() -> None:
    failed = Status(alias="broken", state=State.FAILED, retry_after=1.0)
    again = Status(alias="broken", state=State.LOADING)
    slow = loading(None)
    asked = iter([[again, slow], [failed, slow], [again, slow], [again, READY]])
    assert watch(Console(file=io.StringIO()), lambda: next(asked), 30) == [failed, READY]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_transfer_shows_a_bar_or_lines(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN", 0.0)
    console = Console(file=io.StringIO(), width=100, force_terminal=is_terminal)
    with bar(console, "pushing") as told:
        told(500_000, 1_000_000)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "pushing 0.5 of 1.0 MB" in shown
    assert ("━" in shown) == is_terminal
