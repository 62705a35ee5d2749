"""How often the bytes of a 12 MB tensor are copied on their way through the model host.

    python benchmarks/copies.py [--quick] [--json FILE]

Every copy needs a place to go to, and there are three on the way. All of them are counted:

- the arena, the shared memory between the two processes. Its pages are given back to the
  system before a call (`MADV_REMOVE`), so the blocks that it has afterwards are the bytes
  that were written into it since;
- the heap of the caller: what Python and numpy allocate at the most during the call, by
  `tracemalloc`;
- the heap of the model's process, likewise: between the end of one run and the start of the
  next, which is when a call is read and a reply is written.

A copy that overwrote one of these places a second time would hide from the count. So the time
is measured too: what 12 MB more add to a call, in times of numpy's own copy of 12 MB into
memory that is mapped already.

The model is numpy code that looks at 16 values of its input, or returns an array that it has
had since it was loaded: nothing of what is counted is the model's own. Linux only.
"""

from __future__ import annotations

import mmap
import os
import statistics
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import numpy as np
from django.conf import settings
from django.core.management import call_command

from _common import Report, arguments
from django_inference import Signature, TensorRuntime, TensorSpec, predictors

LENGTH = 3 << 20
BYTES = 4 * LENGTH
#: What the rest of a call may allocate.
SLACK = 0.02


class Mirror(TensorRuntime):
    """Looks at its input, or returns a row of 12 MB, and counts what its process allocates.

    Args:
        counts: trace allocations, which slows it down.
    """

    signature = Signature(
        (
            TensorSpec("x", "float32", (-1, -1)),
            # 1 asks for the long answer.
            TensorSpec("wanted", "int64", (-1,)),
        ),
        (TensorSpec("y", "float32", (-1, -1)), TensorSpec("allocated", "int64", (-1,))),
    )

    def __init__(self, counts: bool) -> None:
        self._counts = counts

    def load(self, artifact: Any) -> None:
        """Make the long answer."""
        self._long = np.ones((2, LENGTH), np.float32)
        self._short = np.ones((2, 16), np.float32)
        if self._counts:
            tracemalloc.start()
            self._base, _ = tracemalloc.get_traced_memory()

    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Answer, and say what was allocated since the last answer."""
        rows = len(inputs["wanted"])
        allocated = 0
        if self._counts:
            allocated = tracemalloc.get_traced_memory()[1] - self._base
        chosen = self._long if inputs["wanted"][0] else self._short
        self._short[:rows] = inputs["x"][:, :16]
        answer = {"y": chosen[:rows], "allocated": np.full(rows, allocated)}
        if self._counts:
            tracemalloc.reset_peak()
            self._base, _ = tracemalloc.get_traced_memory()
        return answer


def configure(folder: Path) -> None:
    mirror = {"RUNTIME": "copies.Mirror", "OPTIONS": {"warmup": False}}
    pair = {"OPTIONS": {"max_batch_delay": 0.5, "max_batch_size": 2, "warmup": False}}
    settings.configure(
        INSTALLED_APPS=["django_inference"],
        INFERENCE={
            "counted": {**mirror, "RUNTIME_OPTIONS": {"counts": True}},
            "pair": {**mirror, **pair, "RUNTIME_OPTIONS": {"counts": True}},
            "timed": {**mirror, "RUNTIME_OPTIONS": {"counts": False}},
        },
        INFERENCE_HOST={"RUNTIME_DIR": folder / "host", "LINGER": 5.0},
    )
    django.setup()


def inputs(length: int, wanted: int) -> dict[str, Any]:
    return {"x": np.ones((1, length), np.float32), "wanted": np.full(1, wanted)}


SHORT, LONG_IN, LONG_OUT = inputs(16, 0), inputs(LENGTH, 0), inputs(16, 1)


class Arenas:
    """The arenas that this process has open."""

    def __init__(self) -> None:
        # By inode: Python's mmap holds a second descriptor of the file that it maps.
        fds: dict[int, int] = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue
            if "inference-arena" in target:
                fds.setdefault(os.fstat(int(name)).st_ino, int(name))
        assert fds, "this process has no arena"
        self._fds = list(fds.values())

    def empty(self) -> None:
        """Give every page back."""
        for fd in self._fds:
            with mmap.mmap(fd, os.fstat(fd).st_size) as memory:
                memory.madvise(mmap.MADV_REMOVE)

    def written(self) -> int:
        """Bytes that have been written since."""
        return sum(os.fstat(fd).st_blocks * 512 for fd in self._fds)


def count(call: dict[str, Any]) -> dict[str, float]:
    """Count the copies of one call, in times of 12 MB."""
    predict = predictors["counted"].predict
    # So that the arena is as long as it needs to be, and a call after it starts a new count.
    predict(call)
    predict(SHORT)
    arenas = Arenas()
    arenas.empty()
    tracemalloc.start()
    found = predict(call)
    here = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    written = arenas.written()
    # The next call says what sending the answer took.
    reading, replying = (int(each["allocated"][0]) for each in (found, predict(SHORT)))
    return {
        "arena": written / BYTES,
        "heap of the caller": here / BYTES,
        "heap of the model's process": (reading + replying) / BYTES,
        "all": (written + here + reading + replying) / BYTES,
    }


def count_pair() -> dict[str, float]:
    """Count the copies of two long inputs that share a batch, in times of 12 MB each."""
    predict = predictors["pair"].predict

    def both(call: dict[str, Any]) -> list[Any]:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(predict(call))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    both(LONG_IN)
    both(SHORT)
    arenas = Arenas()
    arenas.empty()
    found = both(LONG_IN)
    written = arenas.written()
    reading = int(found[0]["allocated"][0])
    return {
        "arena": written / BYTES / 2,
        "heap of the model's process": reading / BYTES / 2,
        "all": (written + reading) / BYTES / 2,
    }


def timed(rounds: int) -> dict[str, list[float]]:
    """Time calls that differ in their length, and numpy's copy, in turns."""
    predict = predictors["timed"].predict
    source = np.ones(LENGTH, np.float32)
    target = np.ones(LENGTH, np.float32)
    variants: dict[str, Callable[[], Any]] = {
        "64 bytes in, 64 out": lambda: predict(SHORT),
        "12 MB in, 64 bytes out": lambda: predict(LONG_IN),
        "64 bytes in, 12 MB out": lambda: predict(LONG_OUT),
        "numpy's copy of 12 MB": lambda: np.copyto(target, source),
        "numpy's copy of 12 MB into new memory": source.copy,
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, call in variants.items():
            began = time.perf_counter()
            call()
            if number:
                times[name].append((time.perf_counter() - began) * 1000)
    return times


def main() -> None:
    options = arguments("Copies of a tensor on its way through the model host.")
    if not hasattr(mmap, "MADV_REMOVE"):
        sys.exit("The pages of an arena are counted by means that only Linux has.")
    with tempfile.TemporaryDirectory(prefix="copies-") as name:
        configure(Path(name))
        report = Report("Copies on the way to the model host and back")
        try:
            way_in, way_out, pair = count(LONG_IN), count(LONG_OUT), count_pair()
            rows = {
                "12 MB in, batch of 1": way_in,
                "12 MB out, batch of 1": way_out,
                "12 MB in, batch of 2 (a row)": pair,
            }
            report.raw["counted"] = rows
            report.table(
                "Bytes written, in times of 12 MB",
                {
                    name: {key: f"{each:.3f}" for key, each in row.items()}
                    for name, row in rows.items()
                },
            )
            times = timed(30 if options.quick else 200)
        finally:
            with open(os.devnull, "w") as nowhere:
                call_command("inference_host", stop=True, stdout=nowhere)
        report.table(
            "Time, ms",
            {
                name: {key: f"{value:.3f}" for key, value in _spread(each).items()}
                for name, each in times.items()
            },
        )
        short, long_in, long_out, copy, _ = times.values()
        report.ratio("copies of 12 MB on the way in", way_in["all"], at_most=1 + SLACK)
        report.ratio("copies of 12 MB on the way out", way_out["all"], at_most=1 + SLACK)
        for way, long in (("in", long_in), ("out", long_out)):
            # The least, not the median: what else the machine does only ever adds.
            added = (min(long) - min(short)) / min(copy)
            report.note(f"12 MB {way} add {added:.2f} times numpy's copy of 12 MB.")
            report.raw[f"time that 12 MB {way} add, in copies"] = added
        report.finish(options.json)


def _spread(times: list[float]) -> dict[str, float]:
    return {"median": statistics.median(times), "least": min(times), "most": max(times)}


if __name__ == "__main__":
    main()
