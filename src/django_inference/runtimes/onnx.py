"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.onnx_session import Providers, device_of, framework, open_session
from django_inference.runtimes.onnx_sharing import open_shared
from django_inference.tensors import Signature, TensorSpec
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors

_ELEMENT = re.compile(r"tensor\((\w+)\)")
#: Where ONNX's name of an element type is not numpy's.
_DTYPES = {"float": "float32", "double": "float64", "string": "str"}
_NOT_IN_NUMPY = ("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2")


class OnnxRuntime(TensorRuntime):
    """A `.onnx` or `.ort` file, or a folder that holds one beside its external data.

    Where replicas share the weights, the graph is optimised once on this machine and kept
    with its weights in a file beside it, which every replica maps. They then stay in the
    order of the file, so some models run slower with batches.

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
    can_share_weights: ClassVar[bool] = True

    def __init__(
        self,
        *,
        providers: Providers | None = None,
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
        self._weights: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Open a session and read its signature.

        Raises:
            ValueError: an option does not fit this model or this machine.
        """
        artifact = required(artifact)
        file = model_file(artifact, self.suffixes)
        how: dict[str, Any] = {
            "providers": self._providers,
            "threads": self._threads,
            "session_options": self._session_options,
        }
        if self.share_weights:
            session, self._weights = open_shared(artifact, file, **how)
        else:
            session = open_session(file, **how)
        self.device, self.framework = device_of(session), framework()
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
        self._run = self._weights = None

    def _outputs(self, nodes: Sequence[Any]) -> list[Any]:
        if self._wanted is None:
            return list(nodes)
        by_name = {node.name: node for node in nodes}
        for name in self._wanted:
            if name not in by_name:
                raise ValueError(
                    f"the model has no output {name!r}{suggestion(name, by_name)}; "
                    f"it has {', '.join(by_name)}."
                )
        return [by_name[name] for name in self._wanted]


def _spec(node: Any) -> TensorSpec:
    element = _ELEMENT.fullmatch(node.type)
    if element is None or element[1].startswith(_NOT_IN_NUMPY):
        is_of_maps = node.type.startswith("seq(map(")
        remedy = "; a classifier of scikit-learn is best exported with zipmap=False"
        raise ValueError(
            f"{node.name!r} is a {node.type}, which is no tensor that numpy knows. For an "
            f"output, the option `outputs` can leave it out{remedy if is_of_maps else ''}."
        )
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
    return TensorSpec(node.name, _DTYPES.get(element[1], element[1]), shape)


def _as_text(tensor: Any) -> Any:
    """ONNX Runtime would take an object b'x' for the text "b'x'"."""
    import numpy as np

    if tensor.dtype.kind != "O":
        return tensor
    flat = [each.decode() if isinstance(each, bytes) else each for each in tensor.flat]
    return np.array(flat, dtype=object).reshape(tensor.shape)
