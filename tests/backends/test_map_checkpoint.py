"""`map(checkpoint=…)`: a run that was interrupted goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.base import BaseBackend
from django_inference.exceptions import CheckpointError, PredictionFailed
from tests.backends.conftest import DUMMY, LOCAL, Declare
from tests.backends.mapping import BATCH, both, collect, doubled
from tests.engine.engines import recorded
from tests.hosts import eventually

#: Predicts numbered items, which their model notes in a journal.
KILLED = """
import sys
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django_inference"],
    INFERENCE={"default": {
        "BACKEND": "django_inference.backends.local.LocalBackend",
        "RUNTIME": "tests.backends.mapping.journalled",
        "OPTIONS": {"max_batch_size": 4, "timeout": 60.0, "batching": "always"},
    }},
)
django.setup()
from django_inference import predictor
print(*predictor.map(range(1200), checkpoint=sys.argv[1]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.checkpoint"


@both
@pytest.mark.parametrize("ordered", [True, False])
def test_what_is_done_is_not_done_again(
    declare: Declare, path: Path, how: str, ordered: bool
) -> None:
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    options: dict[str, Any] = {"checkpoint": path, "ordered": ordered}
    results = collect(predictor, range(100), how, **options)
    taken = list(islice(results, 41))
    results.close()
    before = sum(map(len, calls))
    calls.clear()
    found = list(collect(predictor, range(100), how, **options))
    if ordered:
        assert taken == [item * 2 for item in range(41)]
        assert found == [item * 2 for item in range(100)]
    else:
        assert sorted(found) == [(item, item * 2) for item in range(100)]
    again = sum(map(len, calls))
    # The batches that were under way.
    assert before - again < 100 <= before + again <= 100 + 4 * (predictor.backend.concurrency + 1)
    assert again <= 100 - 40
    calls.clear()
    assert len(list(collect(predictor, range(100), how, **options))) == 100
    assert calls == []


@pytest.mark.chaos
def test_a_process_that_is_killed_loses_what_was_under_way(path: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    command = [sys.executable, "-c", KILLED, str(path)]
    environment = {**os.environ, "JOURNAL": str(journal)}

    def has_run(item: int) -> bool:
        return journal.exists() and str(item).encode() in journal.read_bytes().splitlines()

    for item in (301, 902):
        child = subprocess.Popen(command, env=environment | {"HOLD_AT": str(item)})
        try:
            eventually(lambda: child.poll() is not None or has_run(item), 60)  # noqa: B023
            assert child.poll() is None
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    done = subprocess.run(
        command,
        env=environment | {"HOLD_AT": "-1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout.split() == [str(2 * item) for item in range(1200)]
    run = [int(line) for line in journal.read_bytes().splitlines()]
    assert set(run) == set(range(1200))
    # Two kills, and at each of them three batches under way and one that was being written.
    assert len(run) <= 1200 + 2 * 4 * 4


def test_a_frame_that_was_cut_off_is_dropped(declare: Declare, path: Path) -> None:
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    sizes = []
    for result in predictor.map(range(8), checkpoint=path):
        sizes.append(path.stat().st_size)
        assert result % 2 == 0
    whole = path.read_bytes()
    first, last = sizes[0], sizes[-1]
    assert first < last == len(whole)
    for length in range(first, last):
        path.write_bytes(whole[:length] + b"\0" * (length % 3))
        calls.clear()
        assert list(predictor.map(range(8), checkpoint=path)) == [item * 2 for item in range(8)]
        assert calls == [[4, 5, 6, 7]]
        assert path.read_bytes() == whole


def test_a_frame_that_was_spoilt_is_dropped(declare: Declare, path: Path) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    assert list(predictor.map(range(8), checkpoint=path))
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    path.write_bytes(spoilt)
    assert list(predictor.map(range(8), checkpoint=path)) == [item * 2 for item in range(8)]


def test_other_items_are_refused(declare: Declare, path: Path) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    assert list(predictor.map(range(10), checkpoint=path))
    for items in ([1, *range(1, 10)], range(3), [*range(5), 6, 5]):
        with pytest.raises(CheckpointError, match="other items"):
            list(predictor.map(items, checkpoint=path))


def test_a_list_that_has_grown_is_gone_on_with(declare: Declare, path: Path) -> None:
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    assert list(predictor.map(range(6), checkpoint=path))
    calls.clear()
    assert list(predictor.map(range(9), checkpoint=path)) == [item * 2 for item in range(9)]
    assert sorted(sum(calls, [])) == [6, 7, 8]


def test_errors_are_tried_again(declare: Declare, path: Path) -> None:
    mood = ["bad"]

    def moody(items: list[Any]) -> list[Any]:
        return doubled([*mood, *items] if 2 in items else items)[-len(items) :]

    predict, calls = recorded(moody)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    with pytest.raises(PredictionFailed):
        list(predictor.map(range(6), checkpoint=path))
    found = list(predictor.map(range(6), checkpoint=path, return_exceptions=True))
    assert isinstance(found.pop(2), PredictionFailed)
    assert found == [0, 2, 6, 8, 10]
    mood.clear()
    calls.clear()
    assert list(predictor.map(range(6), checkpoint=path)) == [item * 2 for item in range(6)]
    assert calls == [[2]]


def test_results_are_the_same_from_the_model_and_from_the_file(
    declare: Declare, path: Path
) -> None:
    def predict(items: list[Any]) -> list[Any]:
        return [{"pair": (item, np.full(2, item)), "text": "ä", "data": b"\0"} for item in items]

    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    fresh = list(predictor.map(range(5), checkpoint=path))
    read = list(predictor.map(range(5), checkpoint=path))
    assert repr(fresh) == repr(read)
    assert fresh[3]["pair"][0] == 3 and fresh[3]["pair"][1].tolist() == [3, 3]


def test_what_cannot_be_kept_is_told(declare: Declare, path: Path) -> None:
    predictor = declare(BACKEND=DUMMY, OPTIONS={"result": [object()] * 4, "max_batch_size": 4})
    with pytest.raises(CheckpointError, match="cannot be kept"):
        list(predictor.map(range(4), checkpoint=path))


def test_another_model_is_refused(declare: Declare, path: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_text("1")
    entry = {"MODEL": str(model), "RUNTIME": "tests.sample_runtimes.Actor", "OPTIONS": BATCH}
    predictor = declare(**entry)
    results = predictor.map(range(100), checkpoint=path)
    assert next(results) == 0
    model.write_text("22")
    predictor.reload()
    with pytest.raises(CheckpointError, match="answers since"):
        # Its version changes some batches later; there are enough of them.
        while True:
            assert predictor.predict_one("x") == "x"
            next(results)
    with pytest.raises(CheckpointError, match="version"):
        next(predictor.map(range(100), checkpoint=path))


def test_another_predictor_is_refused(declare: Declare, path: Path, settings: Settings) -> None:
    assert list(declare(hooks={"predict": doubled}).map([1], checkpoint=path)) == [2]
    settings.INFERENCE = {"other": {"BACKEND": DUMMY, "OPTIONS": {"result": [2]}}}
    with pytest.raises(CheckpointError, match="predictor 'default'"):
        next(predictors["other"].map([1], checkpoint=path))


def test_a_file_of_something_else_is_left_alone(declare: Declare, path: Path) -> None:
    predictor = declare(hooks={"predict": doubled})
    for content in (b"", b"name,price\n" * 100, b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="no checkpoint"):
            next(predictor.map([1], checkpoint=path))
        assert path.read_bytes() == content


def test_two_runs_do_not_share_a_file(declare: Declare, path: Path) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    results = predictor.map(range(20), checkpoint=path)
    assert next(results) == 0
    with pytest.raises(CheckpointError, match="in use"):
        next(predictor.map(range(20), checkpoint=path))
    results.close()  # type: ignore[attr-defined]
    assert len(list(predictor.map(range(20), checkpoint=path))) == 20


def test_a_run_goes_on_with_the_batches_it_began_with(
    declare: Declare, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where nobody knows which version answers, as during a trial, the options may differ.
    monkeypatch.setattr(BaseBackend, "serving", lambda self, deadline: None)
    for size in (4, 7):
        predictor = declare(BACKEND=DUMMY, OPTIONS={"max_batch_size": size})
        backend: Any = predictor.backend
        backend.returns(doubled)
        results = predictor.map(range(20), checkpoint=path)
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
        assert all(len(call.inputs) == 4 for call in backend.calls)
    assert backend.calls


def test_a_fallback_adds_nothing_to_a_checkpoint(settings: Settings, path: Path) -> None:
    settings.INFERENCE = {
        "first": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "other"}},
        "other": {"BACKEND": LOCAL, "RUNTIME": "tests.sample_runtimes.upper"},
    }
    backend: Any = predictors["first"].backend
    backend.returns(OSError("away"))
    with pytest.raises(OSError, match="away"):
        list(predictors["first"].map("ab", checkpoint=path))
    predictors.reset()


def test_nobody_else_may_read_it(declare: Declare, path: Path) -> None:
    assert list(declare(hooks={"predict": doubled}).map([1], checkpoint=path)) == [2]
    assert path.stat().st_mode & 0o077 == 0


async def test_whoever_is_cancelled_lets_go_of_the_file(declare: Declare, path: Path) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    results = predictor.amap(range(20), checkpoint=path)
    assert await anext(results) == 0
    await results.aclose()  # type: ignore[attr-defined]
    found = [result async for result in predictor.amap(range(20), checkpoint=path)]
    assert found == [item * 2 for item in range(20)]
