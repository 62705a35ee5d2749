"""What a model is given while it is quantised and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.engine.fitting import Fitting
from django_inference.exceptions import InferenceError, InvalidInput
from django_inference.quantization.base import CannotQuantize
from django_inference.quantization.loaded import Loaded
from django_inference.runtimes.base import Runtime, TensorRuntime
from django_inference.specs import ModelSpec
from django_inference.tensors import Signature, Tensors, TensorSpec

#: Rows of what is made up where nobody has given anything.
ROWS = 4
#: Samples that are made up.
RANDOM = 8
#: For an axis of any length, made up.
_LENGTH = 16

Recorder = Callable[[], AbstractContextManager[list[Tensors]] | None]


def tensors_of(
    payloads: Iterable[Any], spec: ModelSpec, signature: Signature | None, recorder: Recorder
) -> list[Tensors]:
    """Turn inputs, as callers send them, into what the model is given.

    Args:
        payloads: named tensors, arrays, lists of items, or items.
        spec: of the predictor, whose runtime prepares items.
        signature: of the model itself.
        recorder: `Quantizer.recorded`.

    Raises:
        CannotQuantize: items cannot be prepared, or do not fit the model.
    """
    samples: list[Any] = []
    items: list[Any] = []
    for payload in payloads:
        if isinstance(payload, dict | np.ndarray):
            samples.append(payload)
        else:
            items += payload if isinstance(payload, list) else [payload]
    if items:
        samples += _prepared(items, spec, recorder)
    fitting = Fitting(signature)
    try:
        return [fitting.fit(sample) for sample in samples]
    except InvalidInput as error:
        raise CannotQuantize(f"the model does not take a sample: {error.message}") from error


def made_up(signature: Signature | None) -> list[Tensors]:
    """Random numbers of the right types and shapes, the same each time.

    Raises:
        CannotQuantize: the signature does not say enough.
    """
    if signature is None or any(s.dtype in ("str", "bytes") for s in signature.inputs):
        raise CannotQuantize(
            "what the model takes cannot be made up: give it inputs with --calibrate or --golden."
        )
    random = np.random.default_rng(0)
    return [{spec.name: _random(spec, random) for spec in signature.inputs} for _ in range(RANDOM)]


def rows_of(sample: Tensors, rows: int) -> Tensors:
    """So many rows, all the first one of a sample."""
    return {name: np.repeat(tensor[:1], rows, axis=0) for name, tensor in sample.items()}


def _prepared(items: Sequence[Any], spec: ModelSpec, recorder: Recorder) -> list[Any]:
    artifact = None
    if spec.artifact is not None:
        artifact = Artifact(spec.artifact, sha256=spec.sha256, trusted=spec.trusted)
    runtime = runtimes.create(spec.runtime, spec.runtime_options)
    try:
        if isinstance(runtime, TensorRuntime):
            runtime.load(artifact)
            return [_row(runtime.preprocess(item)) for item in items]
        assert isinstance(runtime, Runtime)
        recording = recorder()
        if recording is None:
            raise CannotQuantize(
                f"{spec.runtime} takes items, and does not say what its model is given for them. "
                "Use files of named tensors (.npz)."
            )
        with recording as seen:
            runtime.load(artifact)
            for item in items:
                runtime.predict([runtime.preprocess(item)])
        return seen
    except InferenceError as error:
        raise CannotQuantize(f"the predictor does not take an input: {error.message}") from error
    finally:
        runtime.close()


def _row(row: Any) -> Any:
    """What `preprocess` made of an item, as a batch of one."""
    if isinstance(row, dict):
        return {name: np.asarray(value)[None] for name, value in row.items()}
    if isinstance(row, bytes | str):
        raise CannotQuantize(
            "the runtime's preprocess() makes no tensors of files: use .npz or .npy."
        )
    return np.asarray(row)[None]


def _random(spec: TensorSpec, random: np.random.Generator) -> Any:
    batch, *axes = spec.shape
    shape = (batch if batch > 0 else ROWS, *(_LENGTH if axis < 0 else axis for axis in axes))
    kind = np.dtype(spec.dtype).kind
    if kind in "iub":
        return random.integers(0, 2 if kind == "b" else 100, shape).astype(spec.dtype)
    return random.standard_normal(shape).astype(spec.dtype)


def answers(model: Loaded, samples: Sequence[Tensors]) -> Iterator[Tensors]:
    """What a model makes of the samples.

    Raises:
        CannotQuantize: it does not take one of them.
    """
    for sample in samples:
        try:
            yield model(sample)
        except InferenceError as error:
            raise CannotQuantize(f"the model does not take a sample: {error.message}") from error
