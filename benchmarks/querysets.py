"""What it takes to fill a column of a whole table with predictions.

    python benchmarks/querysets.py [--quick] [--json FILE]

100,000 rows in SQLite, a small perceptron in the model host. `predict_queryset` against the loop
that one would write: `predict_one` for each row, and `save`. Then the memory of the process that
fills, and how many rows are predicted again when that is killed with -9 half-way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import django
import numpy as np
import psutil
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models

from _common import Report, arguments, write_mlp
from django_inference import predictors
from django_inference.querysets import predict_queryset

BATCH = 512
WIDTH = 64
spawn = multiprocessing.get_context("spawn")


def configure(folder: Path) -> None:
    settings.configure(
        INSTALLED_APPS=["django_inference"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "db.sqlite3",
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INFERENCE={
            "scores": {
                "MODEL": folder / "model.onnx",
                "RUNTIME_OPTIONS": {"threads": 1},
                "OPTIONS": {"timeout": 60.0},
            }
        },
        INFERENCE_HOST={"RUNTIME_DIR": folder / "host", "LINGER": 60.0},
    )
    django.setup()


@cache
def table() -> Any:
    """The model of the rows; it can be declared once Django is set up."""

    class Row(models.Model):
        pixels = models.BinaryField()
        score = models.FloatField(null=True)

        class Meta:
            app_label = "benchmark"

    return Row


def pixels(row: Any) -> dict[str, Any]:
    return {"x": np.frombuffer(row.pixels, np.float32)}


def fill(progress: Callable[[int, int], None] | None = None) -> None:
    found = predict_queryset(
        table().objects.filter(score=None),
        "scores",
        input=pixels,
        output="score",
        batch_size=BATCH,
        progress=progress,
    )
    assert not found.failed


def loop(count: int) -> None:
    """The plain recipe."""
    predictor = predictors["scores"]
    for row in table().objects.filter(score=None).order_by("pk")[:count].iterator():
        row.score = float(predictor.predict_one(pixels(row))["y"][0])
        row.save(update_fields=["score"])


def make(count: int) -> None:
    with connection.schema_editor() as editor:
        editor.create_model(table())
    random = np.random.default_rng(0)
    for _ in range(0, count, 1000):
        values = random.standard_normal((1000, WIDTH), dtype=np.float32)
        table().objects.bulk_create([table()(pixels=value.tobytes()) for value in values])


def wrong(count: int) -> int:
    """Rows that differ from what the model says when it is asked for many at once."""
    found, last = 0, 0
    for _ in range(0, count, 1000):
        rows = list(table().objects.filter(pk__gt=last).order_by("pk")[:1000])
        x = np.stack([np.frombuffer(row.pixels, np.float32) for row in rows])
        y = predictors["scores"].predict({"x": x})["y"][:, 0]
        scores = np.array([np.nan if row.score is None else row.score for row in rows])
        found += int((~np.isclose(scores, y, atol=1e-4)).sum())
        last = rows[-1].pk
    return found


def fill_in_child(folder: Path) -> None:
    configure(folder)
    fill()


def filled() -> int:
    return int(table().objects.exclude(score=None).count())


def predicted() -> int:
    """Rows that the worker has run since it was started."""
    return sum(each.statistics.rows for each in predictors["scores"].status().replicas)


def killed_half_way(folder: Path, count: int) -> dict[str, dict[str, int]]:
    """Fill in a process that is killed, and again in another one."""
    table().objects.update(score=None)
    before = predicted()
    child = spawn.Process(target=fill_in_child, args=(folder,))
    child.start()
    assert child.pid is not None
    while filled() < count / 2:
        assert child.is_alive()
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    at_kill = filled()
    child = spawn.Process(target=fill_in_child, args=(folder,))
    child.start()
    child.join(300)
    assert child.exitcode == 0
    again = predicted() - before - count
    return {
        "predict_queryset": {
            "rows": count,
            "written before the kill": at_kill,
            "written in the end": filled(),
            "wrong": wrong(count),
            "predicted again": again,
        }
    }


def main() -> None:
    options = arguments(__doc__.splitlines()[0])
    count = 10_000 if options.quick else 100_000
    with tempfile.TemporaryDirectory(prefix="querysets-") as name:
        folder = Path(name)
        write_mlp(folder / "model.onnx", WIDTH, 64, 1)
        configure(folder)
        make(count)
        predictors["scores"].preload(wait=True, timeout=60)
        report = Report("What it takes to fill a column of a whole table")
        try:
            measure(report, folder, count)
        finally:
            with open(os.devnull, "w") as nowhere:
                call_command("inference_host", stop=True, stdout=nowhere)
        report.finish(options.json)


def measure(report: Report, folder: Path, count: int) -> None:
    looped = min(5000, count // 2)
    began = time.monotonic()
    loop(looped)
    by_hand = looped / (time.monotonic() - began)

    process, held = psutil.Process(), list[float]()

    def look(done: int, total: int) -> None:
        held.append(process.memory_info().rss / 1e6)

    began, rest = time.monotonic(), count - looped
    fill(look)
    in_bulk = rest / (time.monotonic() - began)
    report.table(
        f"{count:,} rows of {WIDTH} numbers in SQLite, rows a second",
        {
            f"predict_one and save, the first {looped:,} rows": {"rows/s": round(by_hand)},
            "predict_queryset, the rest": {"rows/s": round(in_bulk)},
        },
    )
    early, late = held[len(held) // 10], held[-1]
    report.table(
        "Memory of the process that fills (RSS), MB",
        {"predict_queryset": {"after a tenth": early, "at the end": late, "most": max(held)}},
    )
    report.table(
        "Killed with -9 half-way, and begun again", killed := killed_half_way(folder, count)
    )
    report.ratio("predict_queryset / predict_one and save, rows/s", in_bulk / by_hand, at_least=2)
    report.ratio("memory at the end / after a tenth", late / early, at_most=1.1)
    (row,) = killed.values()
    report.ratio(
        "rows predicted again / rows of a batch", row["predicted again"] / BATCH, at_most=1
    )
    report.ratio("wrong rows", row["wrong"], at_most=0)


if __name__ == "__main__":
    main()
