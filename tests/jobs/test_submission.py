from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, OperationalError, transaction
from pytest_django import Settings

from django_inference import InvalidInput, predictor, predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import sweep
from django_inference.jobs.states import JobState
from tests.jobs.carriers import AT_ONCE, KeepingEngine

pytestmark = pytest.mark.usefixtures("model")


def submit(inputs: Any = "text", **options: Any) -> Job:
    found: Job = predictors["model"].submit(inputs, **({"one": True} | options))
    return found


def test_a_job_is_committed_and_enqueued_and_nothing_is_predicted(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    user = User.objects.create(username="ann")
    job = submit([1, 2, 3], one=False, owner=user, priority="high", timeout=7.0, target={"pk": 1})
    assert queue.sent == [(job.pk, 0.0)]
    assert model.calls == []
    assert job.state == JobState.QUEUED
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.engine_id, row.attempts) == (JobState.QUEUED, "task 1", 0)
    assert (row.predictor, row.owner, row.priority, row.timeout) == ("model", user, 0, 7.0)
    assert (row.target, row.inputs, row.one) == ({"pk": 1}, [1, 2, 3], False)
    assert (row.progress_done, row.progress_total, row.progress) == (0, 3, 0.0)
    assert not row.is_finished
    assert str(row) == f"model {job.pk}: queued"


def test_a_job_belongs_to_the_transaction_that_it_is_submitted_in(queue: KeepingEngine) -> None:
    with transaction.atomic():
        job = submit()
        assert job.state == JobState.WAITING
        assert queue.sent == []
    assert queue.sent == [(job.pk, 0.0)]


def test_a_job_whose_transaction_is_rolled_back_never_was(queue: KeepingEngine) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit()
        raise ZeroDivisionError
    assert Job.objects.count() == 0
    assert queue.asked == 0
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    assert sweep(later) == 0


def test_a_savepoint_that_is_rolled_back_takes_its_job_along(queue: KeepingEngine) -> None:
    with transaction.atomic():
        kept = submit()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            submit()
            raise ZeroDivisionError
    assert queue.sent == [(kept.pk, 0.0)]


def test_an_engine_that_is_quicker_than_the_note_of_it_is_not_contradicted(
    queue: KeepingEngine, declare: Callable[..., None]
) -> None:
    declare(ENGINE=AT_ONCE)
    job = submit()
    assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED
    assert job.result(timeout=60) == "text"


def test_the_same_key_of_the_same_owner_is_the_same_job(queue: KeepingEngine) -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    first = submit(owner=ann, idempotency_key="k")
    assert submit(owner=ann, idempotency_key="k").pk == first.pk
    assert len(queue.sent) == 1
    others = {
        submit(owner=bob, idempotency_key="k").pk,
        submit(idempotency_key="k").pk,
        submit(submitter="token", idempotency_key="k").pk,
        submit(owner=ann, idempotency_key="another").pk,
        submit(owner=ann).pk,
        submit(owner=ann).pk,
    }
    assert len(others | {first.pk}) == 7
    assert submit(submitter="token", idempotency_key="k").pk in others


def test_the_same_key_with_other_inputs_is_refused(queue: KeepingEngine) -> None:
    submit("one", idempotency_key="k")
    with pytest.raises(InvalidInput, match="'k' was used with other inputs"):
        submit("two", idempotency_key="k")
    assert submit("one", idempotency_key="k").state == JobState.QUEUED


def test_a_key_may_be_used_again_within_a_transaction_that_goes_on(queue: KeepingEngine) -> None:
    with transaction.atomic():
        first = submit(idempotency_key="k")
        assert submit(idempotency_key="k").pk == first.pk
        assert User.objects.count() == 0
    assert queue.sent == [(first.pk, 0.0)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"priority": "urgent"}, "priority is one of high, normal, low"),
        ({"idempotency_key": "k" * 256}, "255 characters"),
        ({"idempotency_key": "\0"}, "no NUL"),
        ({"inputs": object()}, "cannot be kept: .*object"),
        ({"inputs": [1 << 70, b""]}, "cannot be kept"),
    ],
)
def test_what_cannot_be_kept_is_refused_at_once(
    options: dict[str, Any], said: str, queue: KeepingEngine
) -> None:
    with pytest.raises(InvalidInput, match=said):
        submit(**options)
    assert Job.objects.count() == 0


@pytest.mark.usefixtures("queue")
def test_who_is_not_logged_in_is_nobody() -> None:
    assert submit(owner=AnonymousUser()).owner is None
    assert list(Job.objects.for_user(AnonymousUser())) == []
    assert list(Job.objects.for_user(None)) == []


@pytest.mark.usefixtures("queue")
def test_questions_to_the_manager_can_be_chained(model: DummyBackend) -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    mine, other, done = submit(owner=ann), submit(owner=bob), submit(owner=ann)
    done.cancel()
    assert set(Job.objects.for_user(ann)) == {mine, done}
    assert list(Job.objects.for_user(ann).unfinished().for_predictor("model")) == [mine]
    assert set(Job.objects.finished()) == {done}
    assert not Job.objects.for_predictor("another").exists()
    assert not Job.objects.due().exists()
    light = Job.objects.without_payloads().get(pk=other.pk)
    assert "inputs_json" in light.get_deferred_fields()
    assert light.inputs == "text"


@pytest.mark.usefixtures("queue")
def test_jobs_and_their_files_go_with_their_owner(
    declare: Callable[..., None], storage: Path
) -> None:
    declare(INLINE_LIMIT=10)
    ann = User.objects.create(username="ann")
    job = submit(np.zeros(100), owner=ann)
    file = storage / job.inputs_file
    assert file.exists()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        User.objects.all().delete()
        raise ZeroDivisionError
    assert file.exists()
    User.objects.all().delete()
    assert not Job.objects.exists()
    assert not file.exists()


@pytest.mark.usefixtures("queue")
def test_the_file_of_a_second_submission_is_not_left_behind(
    declare: Callable[..., None], storage: Path
) -> None:
    declare(INLINE_LIMIT=10)
    # The second one does not find the first, as if it were not committed yet.
    from django_inference.jobs import submission

    first = submit(np.zeros(100), idempotency_key="k")
    found, answers = submission._earlier, [None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submission, "_earlier", lambda job: answers.pop() if answers else found(job))
        assert submit(np.zeros(100), idempotency_key="k").pk == first.pk
    files = [path for path in storage.rglob("*") if path.is_file()]
    assert files == [storage / first.inputs_file]


@pytest.mark.parametrize("error", [OperationalError("gone"), DataError("wrong")])
def test_the_file_stays_where_nobody_knows_whether_its_row_was_committed(
    error: Exception,
    queue: KeepingEngine,
    declare: Callable[..., None],
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare(INLINE_LIMIT=10)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(Job, "save", fail)
    with pytest.raises(type(error)):
        submit(np.zeros(100))
    left = [path for path in storage.rglob("*") if path.is_file()]
    assert len(left) == isinstance(error, OperationalError)


async def test_everything_can_be_awaited(queue: KeepingEngine, hang_up: None) -> None:
    job = await predictors["model"].asubmit("text", one=True)
    assert job.state == JobState.QUEUED
    assert await job.acancel()
    assert await job.aretry()
    assert not await job.aretry()


@pytest.mark.usefixtures("queue")
def test_the_default_predictor_submits_too(settings: Settings) -> None:
    settings.INFERENCE = {"default": {"BACKEND": "django_inference.backends.dummy.DummyBackend"}}
    assert predictor.submit([1]).predictor == "default"


def test_without_the_app_the_error_says_what_to_add(settings: Settings) -> None:
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if name != "django_inference.jobs"
    ]
    with pytest.raises(ImproperlyConfigured, match="add 'django_inference.jobs' to INSTALLED_APPS"):
        submit()
