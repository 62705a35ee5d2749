from __future__ import annotations

import datetime
import io
import json
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs import pruning
from django_inference.jobs.engines import engine
from django_inference.jobs.models import Job
from django_inference.jobs.payloads import FOLDER
from django_inference.jobs.pruning import prune
from django_inference.jobs.states import JobState
from tests.jobs.carriers import KeepingEngine

pytestmark = pytest.mark.usefixtures("model")


def submit(inputs: Any = "text") -> Job:
    found: Job = predictors["model"].submit(inputs, one=True)
    return found


def age(job: Job, days: float) -> Job:
    ended = timezone.now() - datetime.timedelta(days=days)
    Job.objects.filter(pk=job.pk, finished_at__isnull=False).update(finished_at=ended)
    Job.objects.filter(pk=job.pk).update(created_at=ended)
    return job


def inference_jobs(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("inference_jobs", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_old_jobs_go_with_their_files_and_the_others_stay(
    queue: KeepingEngine, declare: Callable[..., None], storage: Path, monkeypatch: Any
) -> None:
    declare(INLINE_LIMIT=10)
    monkeypatch.setattr(pruning, "BATCH", 2)
    old = [submit("x" * 100) for _ in range(5)]
    young, running = submit("y" * 100), submit("z" * 100)
    carrier = engine()
    assert isinstance(carrier, KeepingEngine)
    carrier.sent.pop()
    carrier.deliver()
    for job in (*old, running):
        age(job, 8)
    age(young, 6)
    assert len([path for path in storage.rglob("*") if path.is_file()]) == 13
    assert inference_jobs("prune") == "removed: 5 jobs, 0 files without a job\n"
    assert set(Job.objects.all()) == {young, running}
    left = {str(path.relative_to(storage)) for path in storage.rglob("*") if path.is_file()}
    young.refresh_from_db()
    assert left == {young.inputs_file, young.result_file, running.inputs_file}
    assert inference_jobs("prune", "--older-than", 5) == (
        "removed: 1 jobs, 0 files without a job\n"
    )


def test_files_that_no_job_names_go_when_they_are_old(
    queue: KeepingEngine, storage: Path, declare: Callable[..., None]
) -> None:
    declare(INLINE_LIMIT=0)
    job = submit(b"long")
    days = [timezone.now().date() - datetime.timedelta(days=number) for number in range(5)]
    for day in days:
        folder = storage / FOLDER / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{uuid.uuid4().hex}-of-a-run-that-was-killed").touch()
    kept = storage / FOLDER / days[4].isoformat() / Path(job.inputs_file).name
    (storage / job.inputs_file).rename(kept)
    Job.objects.filter(pk=job.pk).update(inputs_file=str(kept.relative_to(storage)))
    (storage / FOLDER / "not-a-day").mkdir()
    (storage / FOLDER / "not-a-day" / "file").touch()
    assert prune(1.0) == (0, 2)
    assert not (storage / FOLDER / days[3].isoformat()).exists()
    assert list((storage / FOLDER / days[4].isoformat()).iterdir()) == [kept]
    assert len([path for path in storage.rglob("*") if path.is_file()]) == 5


def test_nothing_is_removed_where_the_settings_keep_everything(
    queue: KeepingEngine, declare: Callable[..., None]
) -> None:
    declare(RETENTION=None)
    with pytest.raises(CommandError, match="say --older-than"):
        inference_jobs("prune")
    assert inference_jobs("prune", "--older-than", "0").startswith("removed: 0 jobs")


def test_a_storage_without_any_file_is_no_mistake(queue: KeepingEngine) -> None:
    assert prune(1.0) == (0, 0)


def test_list_shows_the_newest_first(queue: KeepingEngine, model: DummyBackend) -> None:
    first, second, third = (submit() for _ in range(3))
    third.cancel()
    age(first, 2)
    model.returns(ZeroDivisionError("why\nand more"))
    queue.deliver()
    lines = inference_jobs("list").splitlines()
    assert lines[0].split() == [
        *("id", "predictor", "state", "done", "attempts", "age", "took", "error"),
    ]
    assert [line.split()[0] for line in lines[1:]] == [
        str(job.pk) for job in (third, second, first)
    ]
    assert lines[1].split()[1:3] == ["model", "cancelled"]
    assert lines[2].rstrip().endswith("why")
    said = json.loads(inference_jobs("list", "--state", "failed", "--limit", 1, "--format", "json"))
    assert [(job["id"], job["state"]) for job in said] == [(str(second.pk), "failed")]
    assert inference_jobs("list", "--predictor", "another", "--format", "json") == "[]\n"


def test_show_tells_all_but_what_was_submitted_and_answered(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    job = submit("a secret")
    model.returns(ZeroDivisionError("why"))
    queue.deliver()
    said = inference_jobs("show", job.pk)
    assert "Traceback" in said
    assert "ZeroDivisionError" in said
    assert "a secret" not in said
    facts = json.loads(inference_jobs("show", job.pk, "--format", "json"))
    assert (facts["id"], facts["attempts"], facts["priority"]) == (str(job.pk), 1, "normal")


@pytest.mark.parametrize("key", ["nonsense", str(uuid.UUID(int=7))])
@pytest.mark.parametrize("action", ["show", "cancel", "retry"])
def test_an_id_that_there_is_not_is_a_clear_error(
    action: str, key: str, queue: KeepingEngine
) -> None:
    with pytest.raises(CommandError, match=f"There is no job '{key}'"):
        inference_jobs(action, key)


def test_cancel_and_retry_say_what_they_did(queue: KeepingEngine) -> None:
    one, other = submit(), submit()
    assert inference_jobs("cancel", one.pk, other.pk) == (
        f"{one.pk}: cancelled\n{other.pk}: cancelled\n"
    )
    assert inference_jobs("cancel", one.pk) == f"{one.pk}: had ended\n"
    assert inference_jobs("retry", one.pk) == f"{one.pk}: runs again\n"
    assert "neither" in inference_jobs("retry", one.pk)
    queue.deliver()
    one.refresh_from_db()
    assert one.state == JobState.SUCCEEDED


def test_sweep_enqueues_and_says_how_many(queue: KeepingEngine) -> None:
    old = timezone.now() - datetime.timedelta(minutes=1)
    for _ in range(3):
        Job.objects.create(predictor="model", inputs_json="1", available_at=old)
    assert inference_jobs("sweep") == "enqueued: 3\n"
    assert inference_jobs("sweep") == "enqueued: 0\n"


def test_sweep_goes_on_until_it_is_told_to_leave(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: dict[int, Callable[..., Any]] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    swept: list[int] = []

    def sweep() -> int:
        swept.append(1)
        if len(swept) == 3:
            handlers[signal.SIGTERM](signal.SIGTERM, None)
        return len(swept) - 1

    monkeypatch.setattr("django_inference.jobs.management.commands.inference_jobs.sweep", sweep)
    assert inference_jobs("sweep", "--every", "0.01") == "enqueued: 1\nenqueued: 2\n"
