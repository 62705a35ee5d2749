"""What replicas that share their weights save, and what that costs them in speed.

    python benchmarks/sharing.py [--quick] [--json FILE]

A model of about 180 MB for each framework that can share, in four replicas: once with
weights of their own, once with `OPTIONS: {"share_weights": True}`. Memory is the
proportional set size (PSS) of the four processes, each of which has run the model; the
frameworks themselves are in it. Then the time of a call with 1, 8 and 64 rows. Linux only.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import numpy as np
import psutil
from django.conf import settings
from django.core.management import call_command

from _common import Report, arguments, write_mlp
from django_inference import predictors
from footprint import megabytes

if TYPE_CHECKING:
    import torch

REPLICAS = 4
WIDTHS = (2048, 5000, 5000, 2048)
ROWS = (1, 8, 64)
#: By framework: how much of the memory shall be left, after the figures of an earlier study.
AIMS = {"onnx": 0.35, "torch": 0.65, "sklearn": 0.55, "litert": 0.3}
OWN, SHARED = "own weights", "shared weights"


def perceptron(widths: list[int]) -> torch.nn.Module:
    """Make the module that the torch runtime fills with weights."""
    from torch import nn

    layers: list[nn.Module] = []
    for have, want in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(have, want), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def write_onnx(folder: Path) -> dict[str, Any]:
    return {"MODEL": write_mlp(folder / "perceptron.onnx", *WIDTHS)}


def write_torch(folder: Path) -> dict[str, Any]:
    from safetensors.torch import save_file

    path = folder / "perceptron.safetensors"
    save_file(perceptron(list(WIDTHS)).state_dict(), path)
    return {
        "MODEL": path,
        "RUNTIME": "torch",
        "RUNTIME_OPTIONS": {
            "model": "sharing.perceptron",
            "model_options": {"widths": list(WIDTHS)},
            "inputs": [f"x float32 [-1, {WIDTHS[0]}]"],
        },
    }


def write_sklearn(folder: Path) -> dict[str, Any]:
    import joblib
    from sklearn.neighbors import KNeighborsClassifier

    random = np.random.default_rng(0)
    known = random.standard_normal((11_000, WIDTHS[0]))
    neighbours = KNeighborsClassifier(algorithm="brute").fit(known, random.integers(0, 9, 11_000))
    path = folder / "neighbours.joblib"
    joblib.dump(neighbours, path)
    return {"MODEL": path, "TRUSTED": True}


def write_litert(folder: Path) -> dict[str, Any]:
    import tensorflow as tf

    random = np.random.default_rng(0)
    layers = [
        tf.Variable(random.standard_normal((have, want), dtype=np.float32) / have**0.5)
        for have, want in zip(WIDTHS, WIDTHS[1:], strict=False)
    ]

    def run(x: Any) -> Any:
        for layer in layers:
            x = tf.nn.relu(x @ layer)
        return {"y": x}

    signature = [tf.TensorSpec([None, WIDTHS[0]], tf.float32, name="x")]
    module = tf.Module()
    module.layers = layers
    module.run = tf.function(run, input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.run.get_concrete_function()], module
    )
    path = folder / "perceptron.tflite"
    path.write_bytes(converter.convert())
    return {"MODEL": path}


WRITERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "onnx": write_onnx,
    "torch": write_torch,
    "sklearn": write_sklearn,
    "litert": write_litert,
}


def configure(folder: Path) -> None:
    settings.configure(
        INSTALLED_APPS=["django_inference"],
        INFERENCE={},
        INFERENCE_HOST={
            "RUNTIME_DIR": folder / "host",
            "ARTIFACT_DIR": folder / "artifacts",
            "LINGER": 5.0,
        },
    )
    django.setup()


def measure(declared: dict[str, Any], *, share: bool, rounds: int) -> dict[str, float]:
    """Load the replicas; return their memory, and milliseconds for each number of rows."""
    options = {"replicas": REPLICAS, "share_weights": share, "timeout": 300.0}
    predictor = predictors.register("model", **{**declared, "OPTIONS": options})
    try:
        predictor.preload(wait=True)
        _until(lambda: len(predictor.status().replicas) == REPLICAS)
        name = "x"
        if signature := predictor.signature:
            name = signature.inputs[0].name
        row = np.random.default_rng(1).standard_normal((max(ROWS), WIDTHS[0])).astype(np.float32)
        # Calls at the same time, until each replica has had one.
        while not all(each.statistics.requests for each in predictor.status().replicas):
            _together(lambda: predictor.predict({name: row[:8]}), 2 * REPLICAS)
        status = predictor.status()
        found = {
            "MB (PSS)": megabytes(*(psutil.Process(each.pid) for each in status.replicas)),
            "load s": round(status.load_seconds, 2),
        }
        for rows in ROWS:
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                predictor.predict({name: row[:rows]})
                times.append(time.perf_counter() - began)
            found[f"{rows} rows, ms"] = round(1000 * statistics.median(times), 2)
        return found
    finally:
        predictor.unload()
        predictors.unregister("model")


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("the replicas did not come up")
        time.sleep(0.05)


def _together(call: Callable[[], Any], times: int) -> None:
    threads = [threading.Thread(target=call) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    options = arguments("What replicas that share their weights save.")
    report = Report(f"Weights that {REPLICAS} replicas share")
    with tempfile.TemporaryDirectory(prefix="sharing-") as name:
        folder = Path(name)
        configure(folder)
        kinds = ["onnx"] if options.quick else list(WRITERS)
        try:
            for kind in kinds:
                declared = WRITERS[kind](folder)
                found = {
                    said: measure(declared, share=share, rounds=5 if options.quick else 20)
                    for said, share in ((OWN, False), (SHARED, True))
                }
                report.table(f"{kind}, {REPLICAS} replicas", found)
                ratio = found[SHARED]["MB (PSS)"] / found[OWN]["MB (PSS)"]
                report.ratio(f"{kind}: memory, shared / own", ratio, at_most=AIMS[kind])
        finally:
            call_command("inference_host", stop=True)
    report.finish(options.json)


if __name__ == "__main__":
    main()
