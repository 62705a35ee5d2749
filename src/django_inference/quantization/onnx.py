"""ONNX models, quantised by ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from django_inference.artifacts import Artifact
from django_inference.quantization.base import CannotQuantize, Made, Wanted, require
from django_inference.runtimes import BUILT_IN
from django_inference.runtimes.loading import model_file
from django_inference.runtimes.processor import VNNI, saturates
from django_inference.specs import EngineOptions, ModelSpec, one_line

if TYPE_CHECKING:
    from django_inference.tensors import Tensors

#: Options of every built-in runtime for ONNX that say how fast it runs.
_OF_THE_SESSION = ("providers", "threads", "session_options")
#: Where nearly all the time goes, and few bits suffice: sums and products between the layers
#: of magika in integers leave nothing of its answers.
_WITH_WEIGHTS = ["Conv", "MatMul", "Gemm"]
#: What a file of ONNX can hold without a second one beside it.
_LARGEST = 2 << 30


def raw(spec: ModelSpec) -> ModelSpec:
    """The same file in the runtime `onnx`, whatever runs it in the predictor."""
    options = {
        name: spec.runtime_options[name] for name in _OF_THE_SESSION & spec.runtime_options.keys()
    }
    return msgspec.structs.replace(
        spec,
        runtime=BUILT_IN["onnx"],
        runtime_options=options,
        options=EngineOptions(max_batch_size=1024, warmup=False),
        golden=(),
    )


def make(spec: ModelSpec, wanted: Wanted, samples: Sequence[Tensors], folder: Path) -> Made:
    """Write a `.onnx` file. The runtime stays what it is.

    Without calibration, convolutions are left as they are: ONNX Runtime runs them slower
    with integers whose ranges it has to find each time.
    """
    require("onnx", "quantize")
    assert spec.artifact is not None
    source = model_file(Artifact(spec.artifact), (".onnx",))
    size = sum(file.stat().st_size for file in Artifact(spec.artifact).files())
    if size > _LARGEST:
        raise CannotQuantize(f"{source} has {size} bytes, and one file of ONNX holds 2 GB.")
    target = folder / source.name
    note = ""
    try:
        with _quiet():
            if wanted.to == "fp16":
                _halve(source, target)
            elif wanted.is_static:
                _quantize_static(source, target, wanted, samples)
            else:
                _quantize_dynamic(source, target, wanted)
    except CannotQuantize:
        raise
    except Exception as error:
        # Both the tools and the session that they open raise anything.
        raise CannotQuantize(f"ONNX Runtime cannot do it: {one_line(error)}") from error
    if wanted.to == "int8" and not wanted.is_static and target.stat().st_size > 0.9 * size:
        note = (
            "It is hardly smaller: without calibration, convolutions and what is no "
            "multiplication of matrices stay as they are. Try --calibrate FOLDER."
        )
    needs = VNNI if wanted.to == "int8" and not _reduces_range(wanted) else ()
    return Made(target, spec.runtime, spec.runtime_options, note, needs)


@contextmanager
def recorded() -> Iterator[list[Tensors]]:
    """What sessions are given that are opened and run meanwhile."""
    from onnxruntime import InferenceSession

    seen: list[Tensors] = []
    run = InferenceSession.run

    def listen(session: Any, names: Any, feed: Tensors, *others: Any, **more: Any) -> Any:
        seen.append({name: tensor.copy() for name, tensor in feed.items()})
        return run(session, names, feed, *others, **more)

    InferenceSession.run = listen
    try:
        yield seen
    finally:
        InferenceSession.run = run


def _quantize_dynamic(source: Path, target: Path, wanted: Wanted) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=[kind for kind in IntegerOpsRegistry if kind != "Conv"],
        per_channel=wanted.per_channel,
        reduce_range=_reduces_range(wanted),
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_excluded(source, wanted),
    )


def _quantize_static(
    source: Path, target: Path, wanted: Wanted, samples: Sequence[Tensors]
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Samples(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(samples)

        def get_next(self) -> Tensors | None:
            return next(self._rest, None)

    is_signed = wanted.activations == "int8"
    quantize_static(
        source,
        target,
        Samples(),
        op_types_to_quantize=None if wanted.every_operator else _WITH_WEIGHTS,
        per_channel=wanted.per_channel,
        reduce_range=_reduces_range(wanted),
        activation_type=QuantType.QInt8 if is_signed else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_excluded(source, wanted),
    )


def _reduces_range(wanted: Wanted) -> bool:
    """Whether weights have 7 bits: their products are cut off nowhere."""
    return wanted.portable or saturates()


def _halve(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Callers go on sending and getting float32.
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _excluded(source: Path, wanted: Wanted) -> list[str]:
    import onnx

    model = onnx.load(source, load_external_data=False)
    names = [node.name for node in model.graph.node]
    if wanted.exclude is None:
        return _head_of_yolo(model, names)
    found = [name for name in names if any(fnmatch(name, each) for each in wanted.exclude)]
    if wanted.exclude and not found:
        raise CannotQuantize(
            f"no node of {source} has a name like {', '.join(wanted.exclude)}; the first ones "
            f"are {', '.join(names[:5])}."
        )
    return found


def _head_of_yolo(model: Any, names: Sequence[str]) -> list[str]:
    """The last module of an export of ultralytics: in integers it finds nothing any more."""
    said = {each.key: each.value for each in model.metadata_props}
    parts = [name.split("/")[1] for name in names if name.startswith("/model.")]
    if "stride" not in said or "task" not in said or not parts:
        return []
    last = max(parts, key=lambda part: int(part.removeprefix("model.")))
    return [name for name in names if name.startswith(f"/{last}/")]


@contextmanager
def _quiet() -> Iterator[None]:
    """The tools log their advice, and warn of weights that 16 bits round to nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
