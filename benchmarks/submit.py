"""How long a view takes that submits a job, whatever becomes of the model and of the queue.

    python benchmarks/submit.py [--quick] [--json FILE]

Django's own handler calls the view, so what is measured is what a web worker spends: the view, the
row, its commit, and the task in the queue. The database is SQLite with a write-ahead log; the
queue is Django's tasks in the same database. The model is being loaded (for an hour), busy
(every call takes a second, and eight callers wait), or failed (there is no file). At last the
queue is one that cannot be reached: a broker at a port where nobody listens.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import numpy as np
from django.conf import settings
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.test import Client, override_settings
from django.urls import path

from _common import Report, arguments
from django_inference import InferenceError, Runtime, predictors
from django_inference.specs import State

TASKS = "django_inference.jobs.engines.django_tasks.DjangoTasksEngine"
CELERY = "django_inference.jobs.engines.celery.CeleryEngine"

#: A row of a table, and a photo of 224 by 224 pixels.
INPUTS: dict[str, Callable[[], Any]] = {
    "4 numbers, in the row": lambda: {"x": [1.0, 2.0, 3.0, 4.0]},
    "150 KB, in a file": lambda: {"x": np.zeros((224, 224, 3), np.uint8)},
}


class Loading(Runtime):
    """A model that is being loaded."""

    def load(self, artifact: Any) -> None:
        time.sleep(3600)

    def predict(self, items: list[Any]) -> list[Any]:
        return items


class Busy(Runtime):
    """A model that takes its time."""

    def predict(self, items: list[Any]) -> list[Any]:
        time.sleep(1.0)
        return [0] * len(items)


def submit(request: HttpRequest, alias: str, inputs: str) -> JsonResponse:
    job = predictors[alias].submit(INPUTS[inputs](), one=True)
    return JsonResponse({"job": str(job.pk), "state": job.state}, status=202)


urlpatterns = [path("<alias>/<inputs>/", submit)]


def configure(folder: Path) -> None:
    options = {"timeout": 60.0, "max_batch_size": 1}
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF="submit",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django_inference",
            "django_inference.jobs",
            "django_tasks_db",
        ],
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "db.sqlite3",
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                },
            }
        },
        MEDIA_ROOT=folder / "media",
        INFERENCE={
            "loading": {"RUNTIME": "submit.Loading", "OPTIONS": options},
            "busy": {"RUNTIME": "submit.Busy", "OPTIONS": options},
            "failed": {"MODEL": folder / "nothing.onnx", "OPTIONS": options},
        },
        INFERENCE_HOST={"RUNTIME_DIR": folder / "host", "GRACEFUL_TIMEOUT": 0.0},
        INFERENCE_JOBS={"ENGINE": TASKS},
    )
    django.setup()
    call_command("migrate", verbosity=0)


def keep_busy(over: threading.Event) -> list[threading.Thread]:
    """Callers of a busy model, as other users of the site are."""

    def call() -> None:
        while not over.is_set():
            try:
                predictors["busy"].predict_one({"x": 0})
            except InferenceError:
                over.wait(0.1)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    return threads


def wait_for(alias: str, *states: State) -> None:
    until = time.monotonic() + 60
    while predictors[alias].status().state not in states:
        assert time.monotonic() < until
        time.sleep(0.05)


def measured(alias: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds for each kind of inputs."""
    client = Client()
    rows = {}
    for inputs in INPUTS:
        taken, states = [], set()
        for number in range(rounds + 5):
            began = time.perf_counter()
            answer = client.post(f"/{alias}/{inputs}/")
            spent = (time.perf_counter() - began) * 1000
            assert answer.status_code == 202
            states.add(answer.json()["state"])
            # The first ones import what the others find.
            if number >= 5:
                taken.append(spent)
        median, late, most = np.quantile(taken, [0.5, 0.95, 1.0])
        rows[f"{alias}, {inputs}"] = {
            "median": float(median),
            "95 %": float(late),
            "longest": float(most),
            "state": ", ".join(sorted(states)),
        }
    return rows


def with_a_broker_that_is_away(rounds: int) -> dict[str, dict[str, Any]]:
    from celery import Celery

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    Celery("benchmark", broker=f"amqp://127.0.0.1:{port}//").set_default()
    with override_settings(INFERENCE_JOBS={"ENGINE": CELERY}):
        rows = measured("failed", rounds)
    return {name.replace("failed", "broker away"): row for name, row in rows.items()}


def measure(rounds: int) -> dict[str, dict[str, Any]]:
    over = threading.Event()
    for alias in ("loading", "busy", "failed"):
        predictors[alias].preload()
    wait_for("busy", State.READY)
    wait_for("failed", State.FAILED)
    wait_for("loading", State.LOADING)
    rows = measured("loading", rounds)
    callers = keep_busy(over)
    try:
        rows |= measured("busy", rounds)
    finally:
        over.set()
        for caller in callers:
            caller.join()
    return rows | measured("failed", rounds) | with_a_broker_that_is_away(rounds)


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    with tempfile.TemporaryDirectory(prefix="submit-") as name:
        configure(Path(name))
        report = Report("How long a view takes that submits a job")
        try:
            rows = measure(50 if options.quick else 500)
        finally:
            with open(os.devnull, "w") as nowhere:
                call_command("inference_host", stop=True, stdout=nowhere)
        report.table("One request, ms", rows)
        for variant, row in rows.items():
            report.ratio(f"{variant}: median ms", row["median"], at_most=20)
        report.finish(options.json)


if __name__ == "__main__":
    main()
