"""Sessions of ONNX Runtime, for every runtime that opens one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from django_inference.runtimes.onnx_products import exact_products
from django_inference.runtimes.refusals import refusal
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.exceptions import InvalidInput
    from django_inference.tensors import Tensors

#: Names of execution providers, or pairs of a name and its options.
Providers: TypeAlias = Sequence[str | Sequence[Any]]

_ON_GPU = "CUDAExecutionProvider"
ON_CPU = "CPUExecutionProvider"
_FATAL = 4
_NVIDIA = (_ON_GPU, "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")

#: What ONNX Runtime says, under the general code, of shapes and indices that do not fit each other
#: or the weights. Where an axis has any length, only the run shows it.
_OF_THE_INPUT = re.compile(
    r"mismatch|must match|broadcast an axis|cannot be reshaped|out of (?:data )?(?:bounds|range)"
    r"|not equal to kernel channels|num_dims must be >= 1|Invalid (?:input shape|rank|index)",
    re.IGNORECASE,
)
_MISSING = "Required inputs"
#: Before the message: codes, the node, and a place in ONNX Runtime's own source.
_HEAD = re.compile(r"^.*Status Message: |^\[ONNXRuntimeError\] : \d+ : \w+ : ", re.DOTALL)
_PLACE = re.compile(r"^\S+\.(?:cc|h|cpp|cu):\d+ ")
_FUNCTION = re.compile(r"^(?:void )?onnxruntime::.*?\) (?:\[with .*?\] )?(?:.*? was false\. )?")
_TYPES = re.compile(r"Actual: \(tensor\((\w+)\)\) , expected: \(tensor\((\w+)\)\)")


def open_session(
    file: Path,
    *,
    providers: Providers | None,
    threads: int,
    session_options: Mapping[str, Any],
) -> Any:
    """Return an `onnxruntime.InferenceSession`.

    Args:
        file: of the model.
        providers: that must run it, in order of preference; None for CUDA where the
            installed build has it, then the CPU.
        threads: that one operator is spread over; 0 lets ONNX Runtime choose.
        session_options: attributes of `onnxruntime.SessionOptions`, enumerations by name;
            a name with a dot is a configuration entry.

    Raises:
        ValueError: an option does not fit this build or this machine.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for name, value in exact_products(file, session_options).items():
        if "." in name:
            options.add_session_config_entry(name, str(value))
        else:
            _set(options, name, value)
    chosen = _chosen(providers, onnxruntime.get_available_providers())
    session = onnxruntime.InferenceSession(str(file), options, chosen)
    _refuse_fallback(providers or (), session.get_providers())
    return session


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, so that it neither reports what it runs nor marks this machine.

    A site's models and their use are nobody else's business.
    """
    # Newer ones ask for this when they are imported, older ones when they are told to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def device_of(session: Any) -> str:
    """Where a session runs: `cpu`, `cuda:0`, or its first execution provider, as in `coreml`."""
    first: str = session.get_providers()[0]
    if first in _NVIDIA:
        return f"cuda:{session.get_provider_options()[first]['device_id']}"
    return first.removesuffix("ExecutionProvider").lower()


def framework() -> str:
    """The name and the version of what runs the sessions."""
    return f"onnxruntime {import_onnxruntime().__version__}"


def quiet() -> Any:
    """Options of a run, for one without ONNX Runtime's own lines about what it raises anyway.

    They would stand in the log as errors, for inputs that a client got wrong.
    """
    options = import_onnxruntime().RunOptions()
    options.log_severity_level = _FATAL
    return options


@contextmanager
def refusals(inputs: Tensors) -> Iterator[None]:
    """Raise `InvalidInput` where a session says that its inputs are at fault.

    Args:
        inputs: of the run.

    Raises:
        InvalidInput: instead of ONNX Runtime's error.
    """
    try:
        yield
    except Exception as error:
        # Not before: nearly every run passes here, and needs none of it.
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        said = str(error)
        is_doubtful = isinstance(error, (state.Fail, state.RuntimeException, ValueError))
        if isinstance(error, state.InvalidArgument) or (
            is_doubtful and (said.startswith(_MISSING) or _OF_THE_INPUT.search(said))
        ):
            raise _refusal(error, inputs) from error
        raise


def _refusal(error: Exception, inputs: Tensors) -> InvalidInput:
    said = _HEAD.sub("", str(error)).strip()
    if types := _TYPES.search(said):
        given, wanted = types.groups()
        return refusal(inputs, f"one is to be of the type {wanted}, not {given}")
    said = _FUNCTION.sub("", _PLACE.sub("", said)).strip()
    said = said.removesuffix("Please fix either the inputs/outputs or the model.").strip()
    return refusal(inputs, said)


def _chosen(providers: Providers | None, available: Sequence[str]) -> list[str | tuple[Any, ...]]:
    if providers is None:
        return [name for name in (_ON_GPU, ON_CPU) if name in available]
    for name in map(_name, providers):
        if name not in available:
            raise ValueError(
                f"the execution provider {name!r} is not in this build of ONNX Runtime"
                f"{suggestion(name, available)}; it has {', '.join(available)}."
            )
    # A pair that came through settings in JSON or msgpack is a list.
    return [each if isinstance(each, str) else tuple(each) for each in providers]


def _refuse_fallback(providers: Providers, running: Sequence[str]) -> None:
    missing = set(map(_name, providers)) - set(running)
    if missing:
        raise ValueError(
            f"ONNX Runtime could not start {', '.join(sorted(missing))} and fell back to "
            f"{', '.join(running)}; its log says why."
        )


def _name(provider: str | Sequence[Any]) -> str:
    return provider if isinstance(provider, str) else str(provider[0])


def _set(options: Any, name: str, value: Any) -> None:
    settable = [each for each in dir(options) if not each.startswith("_")]
    settable = [each for each in settable if not callable(getattr(options, each))]
    if name not in settable:
        raise ValueError(
            f"session_options has no attribute {name!r}{suggestion(name, settable)}; "
            f"it has {', '.join(settable)}."
        )
    members = getattr(type(getattr(options, name)), "__members__", None)
    if members is not None and isinstance(value, str):
        if value not in members:
            raise ValueError(
                f"session_options: {name} cannot be {value!r}{suggestion(value, members)}; "
                f"it is one of {', '.join(members)}."
            )
        value = members[value]
    try:
        setattr(options, name, value)
    except TypeError as error:
        raise ValueError(f"session_options: {name} cannot be {value!r}.") from error
