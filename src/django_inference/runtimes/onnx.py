"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, nearest, required
from django_inference.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors

_ELEMENT = re.compile(r"tensor\((\w+)\)")
#: Where ONNX's name of an element type is not numpy's.
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_NOT_IN_NUMPY = ("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2")
_ON_GPU = "CUDAExecutionProvider"
_ON_CPU = "CPUExecutionProvider"


class OnnxRuntime(TensorRuntime):
    """A `.onnx` or `.ort` file, or a folder that holds one beside its external data.

    Args:
        providers: execution providers in order of preference, each a name or a
            `[name, {option: value}]` pair. The model fails to load if one of them cannot
            be had. None: CUDA where the installed build has it, then the CPU.
        threads: that one operator is spread over; None for as many as this process may
            use cores, 0 to let ONNX Runtime choose.
        session_options: attributes of `onnxruntime.SessionOptions`, enumerations by name
            (`{"graph_optimization_level": "ORT_ENABLE_BASIC"}`); a name with a dot is a
            configuration entry (`{"session.disable_prepacking": "1"}`).
        outputs: names of the outputs to compute; None for all.
    """

    requires: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    extra: ClassVar[str] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx", ".ort")
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self,
        *,
        providers: Sequence[str | Sequence[Any]] | None = None,
        threads: int | None = None,
        session_options: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self._providers = providers
        self._threads = usable_cores() if threads is None else threads
        self._session_options = session_options or {}
        self._wanted = outputs
        self._names: list[str] = []
        self._text: list[str] = []
        self._run: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Open a session and read its signature.

        Raises:
            ValueError: an option does not fit this model or this machine.
        """
        import onnxruntime

        # A site's models and their use are nobody else's business.
        onnxruntime.disable_telemetry_events()
        file = model_file(required(artifact), self.suffixes)
        session = onnxruntime.InferenceSession(
            str(file), self._options(onnxruntime.SessionOptions()), self._chosen(onnxruntime)
        )
        self._refuse_fallback(session.get_providers())
        inputs = tuple(_spec(node) for node in session.get_inputs())
        outputs = tuple(_spec(node) for node in self._outputs(session.get_outputs()))
        # An input with no axes is one whose shape the file does not say.
        if all(spec.shape for spec in inputs):
            self.signature = Signature(inputs, outputs)
        self._text = [spec.name for spec in inputs if spec.dtype == "str"]
        self._names = [spec.name for spec in outputs]
        self._run = session.run

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the session once."""
        if self._text:
            inputs = {**inputs, **{name: _as_text(inputs[name]) for name in self._text}}
        names = self._names
        return dict(zip(names, self._run(names, inputs), strict=True))

    def close(self) -> None:
        """Free the session."""
        self._run = None

    def _options(self, options: Any) -> Any:
        options.intra_op_num_threads = self._threads
        for name, value in self._session_options.items():
            if "." in name:
                options.add_session_config_entry(name, str(value))
            else:
                _set(options, name, value)
        return options

    def _chosen(self, onnxruntime: Any) -> list[str | tuple[Any, ...]]:
        available = onnxruntime.get_available_providers()
        if self._providers is None:
            return [name for name in (_ON_GPU, _ON_CPU) if name in available]
        for name in map(_provider_name, self._providers):
            if name not in available:
                raise ValueError(
                    f"the execution provider {name!r} is not in this build of ONNX Runtime"
                    f"{nearest(name, available)}; it has {', '.join(available)}."
                )
        # A pair that came through settings in JSON or msgpack is a list.
        return [each if isinstance(each, str) else tuple(each) for each in self._providers]

    def _refuse_fallback(self, running: Sequence[str]) -> None:
        missing = {_provider_name(each) for each in self._providers or ()} - set(running)
        if missing:
            raise ValueError(
                f"ONNX Runtime could not start {', '.join(sorted(missing))} and fell back to "
                f"{', '.join(running)}; its log says why."
            )

    def _outputs(self, nodes: Sequence[Any]) -> list[Any]:
        if self._wanted is None:
            return list(nodes)
        by_name = {node.name: node for node in nodes}
        for name in self._wanted:
            if name not in by_name:
                raise ValueError(
                    f"the model has no output {name!r}{nearest(name, by_name)}; "
                    f"it has {', '.join(by_name)}."
                )
        return [by_name[name] for name in self._wanted]


def usable_cores() -> int:
    """The number of cores that this process may use."""
    # macOS and Windows cannot bind a process to cores.
    # What the model host, or the user, gives each process of several.
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _spec(node: Any) -> TensorSpec:
    element = _ELEMENT.fullmatch(node.type)
    if element is None or element[1].startswith(_NOT_IN_NUMPY):
        raise ValueError(
            f"{node.name!r} is a {node.type}, which is no tensor that numpy knows. For an "
            "output, the option `outputs` can leave it out; a classifier of scikit-learn "
            "is best exported with zipmap=False."
        )
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
    return TensorSpec(node.name, _DTYPES.get(element[1], element[1]), shape)


def _provider_name(provider: str | Sequence[Any]) -> str:
    return provider if isinstance(provider, str) else str(provider[0])


def _set(options: Any, name: str, value: Any) -> None:
    settable = [each for each in dir(options) if not each.startswith("_")]
    settable = [each for each in settable if not callable(getattr(options, each))]
    if name not in settable:
        raise ValueError(
            f"session_options has no attribute {name!r}{nearest(name, settable)}; "
            f"it has {', '.join(settable)}."
        )
    members = getattr(type(getattr(options, name)), "__members__", None)
    if members is not None and isinstance(value, str):
        if value not in members:
            raise ValueError(
                f"session_options: {name} cannot be {value!r}{nearest(value, members)}; "
                f"it is one of {', '.join(members)}."
            )
        value = members[value]
    try:
        setattr(options, name, value)
    except TypeError as error:
        raise ValueError(f"session_options: {name} cannot be {value!r}.") from error


def _as_text(tensor: Any) -> Any:
    """ONNX Runtime would take an object b'x' for the text "b'x'"."""
    import numpy as np

    if tensor.dtype.kind != "O":
        return tensor
    flat = [each.decode() if isinstance(each, bytes) else each for each in tensor.flat]
    return np.array(flat, dtype=object).reshape(tensor.shape)
