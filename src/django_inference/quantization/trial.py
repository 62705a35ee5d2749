"""One attempt: quantise, measure, and ask the golden questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from django_inference.artifacts import Artifact
from django_inference.artifacts.quantized import Quantized, read_quantized, write_quantized
from django_inference.engine.golden import GoldenMismatch
from django_inference.engine.quantized import lasting_options
from django_inference.quantization import onnx, tensorflow, torch
from django_inference.quantization.base import CannotQuantize, Made, Quantizer, Wanted
from django_inference.quantization.loaded import Loaded
from django_inference.quantization.measure import Agreement, agreements, side_by_side
from django_inference.quantization.samples import answers, made_up, rows_of, tensors_of
from django_inference.runtimes import BUILT_IN
from django_inference.specs import Golden, ModelSpec, one_line
from django_inference.tensors import Tensors

_BY_RUNTIME: dict[str, Quantizer] = {
    BUILT_IN["tensorflow"]: tensorflow,
    BUILT_IN["torch"]: torch,
}

BATCHES = (1, 8)
#: Rounds and seconds that a batch is timed for at the most.
ROUNDS, SECONDS = 50, 2.0


class Trial(NamedTuple):
    """What came of it; of the pairs, the first is of the model as it was.

    Attributes:
        made: the quantised model.
        bytes: of the files.
        latencies: median milliseconds, by the rows of a batch.
        agreements: by output.
        refusal: which golden answer it does not give; empty where it gives all of them, None
            where there are none.
        is_made_up: the samples are random numbers.
    """

    made: Made
    bytes: tuple[int, int]
    latencies: dict[int, tuple[float, float]]
    agreements: dict[str, Agreement]
    refusal: str | None
    is_made_up: bool


def quantize(
    spec: ModelSpec,
    wanted: Wanted,
    folder: Path,
    *,
    calibration: Sequence[Any] = (),
    golden: Sequence[Golden] = (),
    batches: Sequence[int] = BATCHES,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> Trial:
    """Write a quantised model into a folder, and say what it is worth.

    Args:
        spec: of the predictor, whose artifact is on this disk.
        wanted: how.
        folder: an empty one.
        calibration: inputs of the predictor, as callers send them.
        golden: the questions that decide.
        batches: rows of those that are timed.
        rounds: that each is timed for at the most.
        seconds: likewise.

    Raises:
        CannotQuantize: it cannot be done so, or the model does not give the golden answers
            as it is.
    """
    quantizer = quantizer_of(spec)
    if wanted.is_static and quantizer is not onnx:
        raise CannotQuantize(
            "calibration is for ONNX: with other frameworks the weights alone become smaller."
        )
    asked = msgspec.structs.replace(spec, golden=tuple(golden))
    _check(asked)
    raw = quantizer.raw(spec)
    with Loaded(raw) as original:
        inputs = [*calibration] or [one.input for one in golden]
        samples = tensors_of(inputs, spec, original.signature, quantizer.recorded)
        is_made_up = not samples
        samples = samples or made_up(original.signature)
        before = list(answers(original, samples))
        made = quantizer.make(spec, wanted, samples, folder)
        if read_quantized(Artifact(made.path)) is not None:
            # ONNX's tools keep what the original says of itself.
            write_quantized(made.path, Quantized(to=wanted.to))
        candidate = _with(made, asked)
        refusal = _refusal(candidate) if golden else None
        try:
            loaded = Loaded(quantizer.raw(candidate))
        except Exception as error:
            raise CannotQuantize(f"the result cannot be loaded: {one_line(error)}") from error
        with loaded:
            after = list(answers(loaded, samples))
            latencies = _latencies((original, loaded), samples[0], batches, rounds, seconds)
    if not refusal:
        made = _noted(made, wanted, golden)
    return Trial(
        made,
        (_size(Path(cast(str, spec.artifact))), _size(made.path)),
        latencies,
        agreements(before, after),
        refusal,
        is_made_up,
    )


def quantizer_of(spec: ModelSpec) -> Quantizer:
    """What quantises a model.

    Raises:
        CannotQuantize: nothing does.
    """
    if spec.artifact is None:
        raise CannotQuantize("it has no MODEL whose numbers could become smaller.")
    if any(file.name.endswith(".onnx") for file in Artifact(spec.artifact).files()):
        return onnx
    if spec.runtime in _BY_RUNTIME:
        return _BY_RUNTIME[spec.runtime]
    raise CannotQuantize(
        f"{spec.runtime} runs {spec.artifact}, which cannot be quantised here. What can be is "
        "any model in ONNX, and models of the runtimes 'tensorflow' and 'torch'."
    )


def _check(spec: ModelSpec) -> None:
    """See that the model gives the golden answers before anything is done to it."""
    try:
        Loaded(spec).close()
    except GoldenMismatch as error:
        raise CannotQuantize(f"the model does not give them as it is: {error}") from error
    except Exception as error:
        raise CannotQuantize(f"the model cannot be loaded: {one_line(error)}") from error


def _refusal(spec: ModelSpec) -> str:
    try:
        Loaded(spec).close()
    except GoldenMismatch as error:
        return str(error)
    except Exception as error:
        return f"it cannot be loaded: {one_line(error)}"
    return ""


def _with(made: Made, spec: ModelSpec) -> ModelSpec:
    return msgspec.structs.replace(
        spec,
        runtime=made.runtime,
        runtime_options=made.runtime_options,
        artifact=str(made.path),
        sha256=Artifact(made.path).digest(),
    )


def _noted(made: Made, wanted: Wanted, golden: Sequence[Golden]) -> Made:
    """Write into the model what it needs, and what it was accepted against."""
    said = Quantized(
        to=wanted.to,
        needs=made.needs,
        runtime=made.runtime,
        runtime_options=lasting_options(made.runtime_options),
        golden=tuple(golden),
    )
    kept = write_quantized(made.path, said)
    if kept == len(golden):
        return made
    note = f"Only {kept} of the {len(golden)} golden answers fit into the file."
    return made._replace(note=f"{made.note}\n{note}".strip())


def _latencies(
    models: tuple[Loaded, Loaded],
    sample: Tensors,
    batches: Sequence[int],
    rounds: int,
    seconds: float,
) -> dict[int, tuple[float, float]]:
    found = {}
    for rows in batches:
        batch = rows_of(sample, rows)
        calls = [partial(model, batch) for model in models]
        ours, theirs = side_by_side(calls, rounds=rounds, seconds=seconds)
        found[rows] = ours, theirs
    return found


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in Artifact(path).files())
