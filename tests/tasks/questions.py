"""What tests ask in a process of the site: a line of JSON each, as in `["submit", 10]`."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections import Counter
from typing import Any

import django
from django.apps import apps
from django.db import connection, connections
from django.utils import timezone

#: Longer than `INLINE_LIMIT`: such inputs and results are files.
LONG = 3000


def submit(count: int, seconds: float = 0.0, first: int = 0) -> list[str]:
    """Submit so many numbers; every tenth one as a long text."""
    from django_inference import predictors

    numbers = range(first, first + count)
    items = ({"value": _value(number), "seconds": seconds} for number in numbers)
    return [str(predictors["shaken"].submit(item, one=True).pk) for item in items]


def submit_one(value: int, priority: Any) -> None:
    """Submit one number."""
    from django_inference import predictors

    predictors["shaken"].submit({"value": value}, one=True, priority=priority)


def is_running(seconds: float) -> bool:
    """Whether a job is being run that takes so long."""
    from django_inference.jobs.models import Job

    running = Job.objects.filter(state="running")
    return any(job.inputs.get("seconds") == seconds for job in running)


def hurry() -> None:
    """Have jobs take no time from their next run on."""
    from django_inference.jobs.models import Job

    for job in Job.objects.all():
        hurried = json.dumps(job.inputs | {"seconds": 0.0})
        Job.objects.filter(pk=job.pk).update(inputs_json=hurried)


def submit_and_die() -> None:
    """As a web process that is killed between the commit and the queue."""
    from django.db import transaction

    from django_inference import predictors

    with transaction.atomic():
        transaction.on_commit(lambda: os.kill(os.getpid(), 9))
        predictors["shaken"].submit({"value": 21}, one=True)


def jobs() -> dict[str, int]:
    """How many jobs are in each state."""
    from django_inference.jobs.models import Job

    return dict(Counter(Job.objects.values_list("state", flat=True)))


def are_done(count: int) -> bool:
    """Whether so many jobs have ended, and none is left."""
    from django_inference.jobs.models import Job

    return Job.objects.finished().count() == count and not Job.objects.unfinished().exists()


def report() -> dict[str, Any]:
    """What became of all the jobs."""
    from django_tasks_db.models import DBTaskResult

    from django_inference.jobs.models import Job

    found = list(Job.objects.all())
    return {
        "states": Counter(job.state for job in found),
        "wrong": [
            f"{job.pk} {job.state}: {job.error or job.get_result()}"
            for job in found
            if job.state != "succeeded" or job.get_result() != 2 * job.inputs["value"]
        ],
        "attempts": Counter(job.attempts for job in found),
        "records": _records(),
        "tasks": Counter(DBTaskResult.objects.values_list("status", flat=True)),
        "files": sum(bool(job.inputs_file) + bool(job.result_file) for job in found),
    }


def watch_records() -> None:
    """Have the database itself note each time that a result is written."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE records (job VARCHAR(36))")
        note = "INSERT INTO records VALUES (NEW.id)"
        if connection.vendor == "postgresql":
            cursor.execute(
                f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql "
                f"AS $$ BEGIN {note}; RETURN NEW; END $$"
            )
            action = "FOR EACH ROW EXECUTE FUNCTION note()"
        else:
            action = f"BEGIN {note}; END"
        cursor.execute(
            "CREATE TRIGGER note AFTER UPDATE OF result_json, result_packed, result_file "
            f"ON django_inference_jobs_job {action}"
        )


def _records() -> Counter[int]:
    """How many jobs had how many results written."""
    if "records" not in connection.introspection.table_names():
        return Counter()
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM records GROUP BY job")
        return Counter(count for (count,) in cursor.fetchall())


def order() -> list[Any]:
    """The values in the order in which their jobs were begun."""
    from django_inference.jobs.models import Job

    return [
        job.inputs["value"] for job in Job.objects.exclude(started_at=None).order_by("started_at")
    ]


def tasks() -> list[dict[str, Any]]:
    """What is in the queue's table."""
    from django_tasks_db.models import DBTaskResult

    names = ("status", "queue_name", "priority", "task_path")
    return list(DBTaskResult.objects.order_by("-priority").values(*names))


def claim_tasks(status: str = "READY") -> int:
    """Leave the tasks as a worker does that has claimed them, and has died an hour ago."""
    from django_tasks_db.models import DBTaskResult

    hour_ago = timezone.now() - datetime.timedelta(hours=1)
    # So their jobs have ended an hour ago, too, if they have.
    Job = apps.get_model("django_inference_jobs.Job")
    Job.objects.exclude(finished_at=None).update(finished_at=hour_ago)
    tasks = DBTaskResult.objects.filter(status=status)
    return tasks.update(status="RUNNING", started_at=hour_ago, finished_at=None)


def is_queue_over() -> bool:
    """Whether no task is left that is ready, or is said to run."""
    from django_tasks_db.models import DBTaskResult

    return not DBTaskResult.objects.filter(status__in=("READY", "RUNNING")).exists()


def cancel(value: int) -> bool:
    """Cancel the job of a number."""
    from django_inference.jobs.models import Job

    (job,) = (job for job in Job.objects.all() if job.inputs["value"] == value)
    return job.cancel()


def _value(number: int) -> Any:
    return str(number) * LONG if number % 10 == 9 else number


def main() -> None:
    """Answer a line each, until there are no more."""
    for line in sys.stdin:
        question, *arguments = json.loads(line)
        answer = globals()[question](*arguments)
        # Who waits between two questions keeps no place in the database.
        connections.close_all()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    django.setup()
    main()
