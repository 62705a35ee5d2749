"""Answers kept by the processes of a site whose models are in the model host."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from django_inference import Predictor, predictors
from django_inference.specs import Status
from tests.hosts import PATIENCE, Host, do, eventually

ROOT = Path(__file__).parents[2]
ARTIFACT = do("artifact")

#: Another process of the same site.
OTHER = """
import json, sys
import django
from django.conf import settings
caches, inference, host = json.loads(sys.argv[1])
settings.configure(CACHES=caches, INFERENCE=inference, INFERENCE_HOST=host)
django.setup()
from django_inference import predictors
print(json.dumps([predictors["model"].predict_one(item) for item in json.loads(sys.argv[2])]))
counts = predictors["model"].status().cache
print(json.dumps([counts.hits, counts.misses]))
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write(tmp_path / "model.txt", "one")


def write(path: Path, text: str) -> Path:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


@pytest.fixture
def declare(
    settings: Settings, django_host: Host, artifact: Path, tmp_path: Path
) -> Iterator[Callable[..., Predictor]]:
    """Declares the predictor `model` on the test's host; its answers are kept in files."""
    settings.CACHES = {
        "files": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path / "answers"),
        }
    }

    def declare(salt: str = "", **options: Any) -> Predictor:
        settings.INFERENCE = {
            "model": {
                "RUNTIME": "tests.sample_runtimes.Actor",
                "RUNTIME_OPTIONS": {"journal": str(django_host.journal), "salt": salt},
                "MODEL": str(artifact),
                "OPTIONS": {
                    "timeout": PATIENCE,
                    "cache": "files",
                    "batching": "always",
                    **options,
                },
            }
        }
        predictors["model"].preload(wait=True, timeout=PATIENCE)
        return predictors["model"]

    yield declare
    predictors.reset()


def requests(status: Status) -> int:
    return sum(replica.statistics.requests for replica in status.replicas)


def saved(predictor: Predictor) -> tuple[int, int]:
    counts = predictor.status().cache
    assert counts is not None
    return counts.hits, counts.misses


async def test_what_one_process_has_asked_is_known_to_the_others_and_counted(
    declare: Callable[..., Predictor], settings: Settings
) -> None:
    predictor = declare()
    assert saved(predictor) == (0, 0)
    assert predictor.predict(["a", "b"]) == await predictor.apredict(["a", "b"]) == ["a", "b"]
    assert saved(predictor) == (2, 2)
    given = json.dumps([settings.CACHES, settings.INFERENCE, settings.INFERENCE_HOST])
    done = subprocess.run(
        [sys.executable, "-c", OTHER, given, json.dumps(["a", "b", "c"])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    answers, counts = map(json.loads, done.stdout.splitlines())
    # Its own and those of this process, summed up by the host.
    assert (answers, counts) == (["a", "b", "c"], [4, 3])
    assert saved(predictor) == (4, 3)
    assert requests(predictor.status()) == 2
    out = io.StringIO()
    call_command("inference", "status", stdout=out)
    assert "model: cache 4 hits, 3 misses, 0 joined" in out.getvalue()


def test_the_counts_are_told_without_being_asked_for(
    declare: Callable[..., Predictor], django_host: Host
) -> None:
    predictor = declare()
    predictor.predict_one("a")
    status = django_host.wait_status(lambda status: status.cache)
    assert status.cache is not None and status.cache.misses == 1


def test_a_reload_moves_on_to_the_answers_of_the_new_version(
    declare: Callable[..., Predictor], artifact: Path
) -> None:
    predictor = declare()
    assert predictor.predict_one(ARTIFACT) == "one"
    write(artifact, "two!")
    assert predictor.predict_one(ARTIFACT) == "one"
    before = predictor.status().version
    predictor.reload()
    eventually(lambda: predictor.status().version != before)
    assert predictor.predict_one(ARTIFACT) == predictor.predict_one(ARTIFACT) == "two!"
    assert saved(predictor) == (2, 2)


def test_nothing_is_found_or_kept_while_chance_decides_who_answers(
    declare: Callable[..., Predictor],
) -> None:
    old = declare("old")
    assert old.predict_one(do("salt")) == "old"
    # The host is told a little later.
    eventually(lambda: saved(old) == (0, 1))
    predictor = declare("new", canary=0.5)
    eventually(lambda: predictor.status().trial)
    before = saved(predictor)
    assert {predictor.predict_one(do("salt")) for _ in range(40)} == {"old", "new"}
    assert saved(predictor) == before
    predictor.promote()
    eventually(lambda: not predictor.status().trial)
    assert {predictor.predict_one(do("salt")) for _ in range(5)} == {"new"}
    eventually(lambda: saved(predictor) == (before[0] + 4, before[1] + 1))


def test_a_shadow_gets_copies_of_what_is_run(declare: Callable[..., Predictor]) -> None:
    declare("old")
    predictor = declare("new", shadow=1.0)
    eventually(lambda: predictor.status().trial)
    for _ in range(3):
        assert predictor.predict_one(do("salt")) == "old"
    trial = eventually(lambda: (t := predictor.status().trial) and t.different and t)
    assert trial.different == 1


def test_nothing_is_kept_while_two_workers_answer_otherwise(
    declare: Callable[..., Predictor], artifact: Path
) -> None:
    predictor = declare(replicas=2)
    assert predictor.predict_one(ARTIFACT) == "one"
    write(artifact, "two!")
    # The successor of the one that dies loads what is there then.
    (first, second) = pids(predictor)
    kill_and_wait(predictor, first)
    before = saved(predictor)
    assert {predictor.predict_one(ARTIFACT) for _ in range(3)} <= {"one", "two!"}
    assert saved(predictor) == before
    kill_and_wait(predictor, second)
    assert {predictor.predict_one(ARTIFACT) for _ in range(3)} == {"two!"}
    assert saved(predictor) == (before[0] + 2, before[1] + 1)


def pids(predictor: Predictor) -> list[int]:
    return [replica.pid for replica in predictor.status().replicas]


def kill_and_wait(predictor: Predictor, pid: int) -> None:
    """Kill a worker, and wait for its successor."""
    os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: (
            pid not in pids(predictor)
            and all(replica.state == "READY" for replica in predictor.status().replicas)
        )
    )


def test_a_model_that_was_unloaded_is_loaded_before_an_old_answer_is_given(
    declare: Callable[..., Predictor],
) -> None:
    predictor = declare()
    assert predictor.predict_one("a") == "a"
    predictor.unload()
    assert predictor.predict_one("a") == "a"
    assert predictor.status().state == "READY"
    assert saved(predictor) == (1, 1)
