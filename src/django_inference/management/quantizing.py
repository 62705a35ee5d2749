"""`manage.py inference quantize`."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings as django_settings
from django.core.management.base import CommandError
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.artifacts.errors import ArtifactError
from django_inference.artifacts.fetch import fetch
from django_inference.artifacts.location import is_remote, locate
from django_inference.artifacts.records import StoreSettings
from django_inference.backends.models import model_spec
from django_inference.conf import host_settings
from django_inference.conf.validation import did_you_mean
from django_inference.handle import Predictor
from django_inference.management.golden_files import read_golden
from django_inference.management.inputs import read_input
from django_inference.quantization import CannotQuantize, Trial, Wanted, quantize
from django_inference.registry import predictors
from django_inference.specs import ModelSpec

#: Files of a folder that are read at the most: more change a range no more.
MOST_FILES = 256
_TO = ("int8", "fp16")


def add_quantize(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("alias")
    # Checked below, for a message that names the alias and the nearest choice.
    parser.add_argument("--to", default="int8", metavar="|".join(_TO), help="default: int8")
    parser.add_argument("--calibrate", metavar="FOLDER", help="of .npz, .npy or any inputs (ONNX)")
    parser.add_argument("--golden", metavar="FILE", help=".json or .npz; default: GOLDEN")
    parser.add_argument("--output", metavar="FILE", help="default: beside the model")
    parser.add_argument("--force", action="store_true", help="keep it without golden answers")
    parser.add_argument("--activations", default="uint8", metavar="uint8|int8")
    parser.add_argument(
        "--every-operator", action="store_true", help="integers between layers, too"
    )
    parser.add_argument(
        "--this-machine", action="store_true", help="weights of 8 bits where only VNNI is exact"
    )
    parser.add_argument("--exclude", nargs="*", metavar="PATTERN", help="nodes to leave alone")


def quantize_model(console: Console, options: dict[str, Any]) -> None:
    """Quantise a model; keep the result if it gives the golden answers.

    Raises:
        CommandError: it is not kept.
    """
    alias = options["alias"]
    predictor = predictors[alias]
    try:
        spec = _spec(predictor)
        wanted = _wanted(alias, options)
        golden = read_golden(options["golden"]) if options["golden"] else spec.golden
        inputs = [*_inputs(options["calibrate"])] if options["calibrate"] else []
        with tempfile.TemporaryDirectory(prefix="inference-quantize-") as name:
            trial = quantize(spec, wanted, Path(name), calibration=inputs, golden=golden)
            console.print(_tables(trial, wanted))
            if trial.refusal:
                raise CommandError(f"{alias} in {wanted.to} is not kept: {trial.refusal}")
            if trial.refusal is None and not options["force"]:
                raise CommandError(
                    f"{alias} in {wanted.to} is not kept: there is no golden answer that it has "
                    "to give. Set GOLDEN, or name a file with --golden; --force keeps it "
                    "whatever it answers."
                )
            kept = _kept(trial, _target(predictor, wanted, trial, options["output"]))
    except (CannotQuantize, ArtifactError) as error:
        raise CommandError(f"{alias} cannot be quantised to {options['to']}: {error}") from error
    console.print(_settings(alias, spec, trial, kept), highlight=False, markup=False)


def _spec(predictor: Predictor) -> ModelSpec:
    backend = predictor.backend
    spec = model_spec(backend.settings, backend.options)
    if spec.artifact is None or not is_remote(spec.artifact):
        return spec
    host = host_settings()
    store = StoreSettings(host.artifact_dir, host.artifact_limit)
    return msgspec.structs.replace(
        spec, artifact=fetch(spec.artifact, store, sha256=spec.sha256).path, sha256=None
    )


def _wanted(alias: str, options: dict[str, Any]) -> Wanted:
    for name, choices in (("to", _TO), ("activations", ("uint8", "int8"))):
        if options[name] not in choices:
            hint = did_you_mean(options[name], choices)
            raise CommandError(f"{alias}: --{name} cannot be {options[name]!r}. {hint}")
    if options["calibrate"] and options["to"] != "int8":
        raise CommandError(f"{alias}: --calibrate is for --to int8: fp16 has no ranges to find.")
    exclude = options["exclude"]
    return Wanted(
        to=options["to"],
        is_static=bool(options["calibrate"]),
        activations=options["activations"],
        every_operator=options["every_operator"],
        portable=not options["this_machine"],
        exclude=None if exclude is None else tuple(exclude),
    )


def _inputs(folder: str) -> Iterator[Any]:
    path = Path(folder)
    if not path.is_dir():
        raise CommandError(f"--calibrate {folder}: there is no such folder.")
    files = sorted(file for file in path.rglob("*") if file.is_file())[:MOST_FILES]
    if not files:
        raise CommandError(f"--calibrate {folder}: there is no file in it.")
    for file in files:
        yield read_input(str(file), option="--calibrate")


def _target(predictor: Predictor, wanted: Wanted, trial: Trial, output: str | None) -> Path:
    made = trial.made.path
    if output is not None:
        target = Path(output).absolute()
    else:
        model = predictor.backend.settings.model or ""
        source = Path(locate(model).name if is_remote(model) else model)
        folder = Path(getattr(django_settings, "BASE_DIR", None) or Path.cwd())
        stem = source.name.removesuffix(source.suffix) if source.suffix else source.name
        target = (folder / source).parent / f"{stem}.{wanted.to}{made.suffix}"
    if target.suffix != made.suffix:
        raise CommandError(f"--output {output}: the result ends in {made.suffix}.")
    if target.exists():
        raise CommandError(f"{target} exists already: remove it, or name another with --output.")
    return target


def _kept(trial: Trial, target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Whoever watches the folder shall not find half a file.
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(trial.made.path, partial)
        partial.replace(target)
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def _settings(alias: str, spec: ModelSpec, trial: Trial, kept: Path) -> str:
    said: dict[str, Any] = {"MODEL": str(kept), "SHA256": Artifact(kept).digest()}
    if trial.made.runtime != spec.runtime:
        by_path = {dotted: name for name, dotted in runtimes.BUILT_IN.items()}
        said["RUNTIME"] = by_path.get(trial.made.runtime, trial.made.runtime)
    if trial.made.runtime_options != spec.runtime_options:
        said["RUNTIME_OPTIONS"] = trial.made.runtime_options
    lines = [f'INFERENCE["{alias}"]["{key}"] = {_written(value)}' for key, value in said.items()]
    return "\n".join(
        [
            f"\nKept as {kept}. To serve it, put this behind INFERENCE in the settings:\n",
            *lines,
            f"\nThen: manage.py inference load {alias}",
        ]
    )


def _written(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _tables(trial: Trial, wanted: Wanted) -> RenderableType:
    costs = Table(box=None, pad_edge=False, header_style="bold")
    costs.add_column("")
    for heading in ("original", wanted.to, "ratio"):
        costs.add_column(heading, justify="right")
    rows = {"size, MB": (trial.bytes[0] / 1e6, trial.bytes[1] / 1e6)}
    rows |= {f"batch of {size}, ms": pair for size, pair in trial.latencies.items()}
    for name, (ours, theirs) in rows.items():
        costs.add_row(name, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}")
    likeness = Table(box=None, pad_edge=False, header_style="bold")
    likeness.add_column("output")
    for heading in ("cosine", "largest difference", "same top-1"):
        likeness.add_column(heading, justify="right")
    for name, found in trial.agreements.items():
        top1 = "-" if found.top1 is None else f"{found.top1:.1%}"
        likeness.add_row(name, f"{found.cosine:.4f}", f"{found.largest:.3g}", top1)
    verdict = {None: "none were given", "": "all as expected"}.get(trial.refusal, "NOT as expected")
    below = [Text(f"\ngolden answers: {verdict}")]
    if trial.is_made_up:
        below.append(Text("The numbers are of made-up inputs, which say little."))
    if trial.made.needs:
        below.append(Text(f"It needs a processor with {' or '.join(trial.made.needs)}."))
    if trial.made.note:
        below.append(Text(trial.made.note))
    return Group(costs, Text(), likeness, *below)
