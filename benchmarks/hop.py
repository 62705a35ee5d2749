"""What a prediction in the model host costs, against calling the model directly.

    python benchmarks/hop.py [--quick] [--json FILE]

One caller: a direct call, `LocalBackend`, `HostBackend`, a bare echo of the same bytes over
a Unix socket, and a pair of `multiprocessing.Queue`s. Then 32 callers, and an image. The
variants take turns in short rounds, so that whatever else the machine does hits all of them
alike; a ratio is the median of the ratios of the rounds.

Two processes that talk to each other are fastest on one core, where neither has to be woken
from afar, and the system often but not always puts them there. So the first measurement is
made three times: as the system places them, on one core, and on two.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import django
import numpy as np
from django.conf import settings
from django.core.management import call_command

from _common import Report, arguments, summary, write_mlp
from _peers import (
    FRAME,
    Caller,
    QueueCaller,
    echo,
    echo_caller,
    echo_many,
    glance,
    place,
    placements,
    spawn,
    start,
)
from django_inference import TensorRuntime, predictors
from django_inference.artifacts import Artifact
from django_inference.runtimes.onnx import OnnxRuntime

#: Widths of the perceptrons: one that computes next to nothing, and one for small pictures.
MODELS = {"tiny": (64, 256, 10), "small": (784, 512, 256, 10)}
PROCESSES, THREADS = 2, 16

DIRECT, HOSTED, ECHO = "direct: session.run", "HostBackend", "echo over a Unix socket, no model"
Rounds = list[dict[str, list[int]]]


class Glance(TensorRuntime):
    """A model that looks at 16 values of each row, whatever its size."""

    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"mean": glance(inputs["x"])}


def configure(folder: Path) -> None:
    """Declare the predictors, in this process and in those of the callers."""
    inference: dict[str, Any] = {"glance": {"RUNTIME": "hop.Glance"}}
    for name in MODELS:
        # One thread: a second one gains nothing at this size, and would disturb the others.
        model = {"MODEL": folder / f"{name}.onnx", "RUNTIME_OPTIONS": {"threads": 1}}
        local = "django_inference.backends.local.LocalBackend"
        inference |= {name: model, f"{name} local": {**model, "BACKEND": local}}
    settings.configure(
        INSTALLED_APPS=["django_inference"],
        INFERENCE=inference,
        INFERENCE_HOST={"RUNTIME_DIR": folder / "host", "LINGER": 5.0},
    )
    django.setup()


def session(folder: Path, name: str) -> Callable[[Any], Any]:
    """The plain recipe: a session of one's own, in this process."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    run = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options).run
    return lambda x: run(["y"], {"x": x})[0]


def row(name: str) -> Any:
    return np.ones((1, MODELS[name][0]), np.float32)


def interleave(variants: dict[str, Caller], *, rounds: int, calls: int) -> Rounds:
    """Call each variant `calls` times a round; return the nanoseconds of every call."""
    names = list(variants)
    measured = []
    for number in range(rounds):
        found = {}
        # Nobody always goes after the same neighbour.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            call, times = variants[name], []
            for _ in range(5):
                call()
            for _ in range(calls):
                began = time.perf_counter_ns()
                call()
                times.append(time.perf_counter_ns() - began)
            found[name] = times
        measured.append(found)
    return measured


def summaries(measured: Rounds) -> dict[str, dict[str, float]]:
    return {name: summary([t for found in measured for t in found[name]]) for name in measured[0]}


def ratio(measured: Rounds, of: Callable[[dict[str, float]], float]) -> float:
    """The median over the rounds of what `of` makes of a round's medians."""
    medians = [{name: statistics.median(t) for name, t in found.items()} for found in measured]
    return statistics.median(of(found) for found in medians)


def one_caller(report: Report, folder: Path, name: str, queue: QueueCaller, rounds: int) -> None:
    x, run = row(name), session(folder, name)
    runtime = OnnxRuntime(threads=1)
    runtime.load(Artifact(folder / f"{name}.onnx"))
    hosted, local = predictors[name], predictors[f"{name} local"]
    path, size = folder / f"echo-{name}", x.nbytes + FRAME
    variants: dict[str, Caller] = {
        DIRECT: lambda: run(x),
        "direct: OnnxRuntime.predict": lambda: runtime.predict({"x": x}),
        "LocalBackend": lambda: local.predict({"x": x}),
        HOSTED: lambda: hosted.predict({"x": x}),
    }
    for predictor in (hosted, local):
        assert np.allclose(predictor.predict({"x": x})["y"], run(x), atol=1e-5), predictor
    peers = [queue.pid, start(echo, str(path), size), hosted.status().pid]
    variants[ECHO] = echo_caller(path, size)
    variants["multiprocessing.Queue, no model"] = lambda: queue(x)
    widths = "→".join(map(str, MODELS[name]))
    everywhere = placements()
    for where, (here, there) in everywhere.items():
        place(os.getpid(), here)
        for peer in peers:
            place(peer, there)
        measured = interleave(variants, rounds=rounds, calls=100)
        report.table(
            f"One caller, {name} model ({widths}), {x.nbytes} bytes, {where}, µs a call",
            summaries(measured),
        )
        report.ratio(
            f"(HostBackend - direct) / echo, {name} model, {where}",
            ratio(measured, lambda m: (m[HOSTED] - m[DIRECT]) / m[ECHO]),
            at_most=3,
        )
    for pid in (os.getpid(), *peers):
        place(pid, set())


# 32 callers.


def callers(connection: Connection, folder: Path) -> None:
    """A web worker's part in the rush: threads that call for as long as the parent says."""
    configure(folder)
    while True:
        try:
            name, begin, end = connection.recv()
        except EOFError:
            return
        times: list[int] = []
        arguments = (folder, name, begin, end, times)
        threads = [threading.Thread(target=rush, args=arguments) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connection.send((times, time.monotonic()))


def rush(folder: Path, name: str, begin: float, end: float, times: list[int]) -> None:
    call, now = caller(folder, name), time.perf_counter_ns
    call()
    time.sleep(max(0.0, begin - time.monotonic()))
    while time.monotonic() < end:
        began = now()
        call()
        times.append(now() - began)


def caller(folder: Path, name: str) -> Caller:
    if name == ECHO:
        return echo_caller(folder / "echo-many", row("tiny").nbytes + FRAME)
    predict, inputs = predictors[name].predict, {"x": row(name)}
    return lambda: predict(inputs)


class Rush:
    """The processes that call all at once."""

    def __init__(self, folder: Path) -> None:
        start(echo_many, str(folder / "echo-many"), row("tiny").nbytes + FRAME)
        pairs = [spawn.Pipe() for _ in range(PROCESSES)]
        for _, theirs in pairs:
            start(callers, theirs, folder)
        self._connections = [ours for ours, _ in pairs]

    def run(self, name: str, seconds: float) -> tuple[float, list[int]]:
        """Return the calls a second of all together, and the nanoseconds of each."""
        begin = time.monotonic() + 0.2
        for connection in self._connections:
            connection.send((name, begin, begin + seconds))
        found = [connection.recv() for connection in self._connections]
        times = [t for each, _ in found for t in each]
        return len(times) / (max(ended for _, ended in found) - begin), times


def loop(call: Caller, seconds: float) -> float:
    """Call in a loop; return the calls a second."""
    began, calls = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        call()
        calls += 1
    return calls / (time.monotonic() - began)


def many_callers(report: Report, folder: Path, rounds: int) -> None:
    rush = Rush(folder)
    rows: dict[str, dict[str, float]] = {}
    for name in (*MODELS, ECHO):
        # The first start the processes and make their connections.
        rush.run(name, 0.2)
    before = {name: counts(name) for name in MODELS}
    runs = {name: session(folder, name) for name in MODELS}
    direct: dict[str, list[float]] = {name: [] for name in MODELS}
    rates: dict[str, list[float]] = {name: [] for name in (*MODELS, ECHO)}
    times: dict[str, list[int]] = {name: [] for name in rates}
    for _ in range(rounds):
        for name in rates:
            rate, taken = rush.run(name, 0.4)
            rates[name].append(rate)
            times[name] += taken
        for name, run in runs.items():
            x = row(name)
            direct[name].append(loop(partial(run, x), 0.2))
    for name in MODELS:
        rate = round(statistics.median(direct[name]))
        rows[f"{DIRECT} in a loop, {name} model"] = {"calls/s": rate}
        rows[f"{HOSTED}, {name} model"] = {
            **crowd(rates[name], times[name]),
            "rows a batch": round(batch_size(before[name], counts(name)), 1),
        }
        report.ratio(
            f"rate of 32 callers / of the direct call in a loop, {name} model",
            statistics.median(h / d for h, d in zip(rates[name], direct[name], strict=True)),
            at_least=0.5,
        )
    rows[f"{ECHO}, bytes of the tiny model"] = crowd(rates[ECHO], times[ECHO])
    report.table(f"{PROCESSES} processes with {THREADS} threads each, against one loop", rows)
    report.note(
        "The echo is what Python threads and a socket allow on this machine with no work at all: "
        f"{statistics.median(rates[ECHO]) / statistics.median(direct['tiny']):.2f} of the direct "
        "call in a loop, tiny model."
    )


def crowd(rates: list[float], times: list[int]) -> dict[str, float]:
    found = summary(times)
    return {
        "calls/s": round(statistics.median(rates)),
        "median µs": found["median"],
        "p99 µs": found["p99"],
    }


def counts(name: str) -> Any:
    return predictors[name].status().replicas[0].statistics


def batch_size(before: Any, after: Any) -> float:
    return float((after.rows - before.rows) / (after.batches - before.batches))


# An image.


def image(report: Report, queue: QueueCaller, rounds: int) -> None:
    little = np.ones((1, 256), np.uint8)
    picture = np.ones((1, 640, 640, 3), np.uint8)
    hosted = predictors["glance"]
    for array in (little, picture):
        assert np.array_equal(hosted.predict({"x": array})["mean"], queue(array))
    variants: dict[str, Caller] = {
        "HostBackend, 256 bytes": lambda: hosted.predict({"x": little}),
        "HostBackend, image": lambda: hosted.predict({"x": picture}),
        "multiprocessing.Queue, 256 bytes": lambda: queue(little),
        "multiprocessing.Queue, image": lambda: queue(picture),
        "numpy's copy of the image": picture.copy,
    }
    measured = interleave(variants, rounds=rounds, calls=20)
    report.table(
        "A 640x640x3 uint8 image to a model that looks at 16 values of it, µs a call",
        summaries(measured),
    )
    report.ratio(
        "HostBackend: image / 256 bytes",
        ratio(measured, lambda m: m["HostBackend, image"] / m["HostBackend, 256 bytes"]),
        at_most=3,
    )
    report.ratio(
        "image: multiprocessing.Queue / HostBackend",
        ratio(measured, lambda m: m["multiprocessing.Queue, image"] / m["HostBackend, image"]),
        at_least=20,
    )


def main() -> None:
    options = arguments("What a prediction in the model host costs.")
    with tempfile.TemporaryDirectory(prefix="hop-") as name:
        folder = Path(name)
        for model, widths in MODELS.items():
            write_mlp(folder / f"{model}.onnx", *widths)
        configure(folder)
        report = Report("What the way to the model host costs")
        queue = QueueCaller()
        try:
            for model in MODELS:
                one_caller(report, folder, model, queue, 20 if options.quick else 100)
            many_callers(report, folder, 3 if options.quick else 15)
            image(report, queue, 10 if options.quick else 50)
        finally:
            with open(os.devnull, "w") as nowhere:
                call_command("inference_host", stop=True, stdout=nowhere)
        report.finish(options.json)


if __name__ == "__main__":
    main()
