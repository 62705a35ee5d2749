"""ONNX models, run by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.onnx_axes import batch_axes
from django_inference.runtimes.onnx_session import (
    Providers,
    device_of,
    framework,
    open_session,
    quiet,
    refusals,
)
from django_inference.runtimes.onnx_sharing import open_shared
from django_inference.runtimes.texts import checked_texts
from django_inference.tensors import Signature, TensorSpec
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis, Tensors

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
        batch_axis: the axis of each tensor that has an entry for each row of a batch, by its
            name, None where it has none; None alone makes each call a run of its own.
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
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self.batch_axis = batch_axis
        self._providers = providers
        self._threads = usable_cores() if threads is None else threads
        self._session_options = session_options or {}
        self._wanted = outputs
        self._names: list[str] = []
        self._text: list[str] = []
        self._run: Any = None
        self._quiet: Any = None
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
        given, returned = session.get_inputs(), self._outputs(session.get_outputs())
        axes = batch_axes(_dimensions(given), _dimensions(returned))
        inputs = tuple(_spec(node, axes[node.name]) for node in given)
        outputs = tuple(_spec(node, axes[node.name]) for node in returned)
        # An input with no axes is a single value, or one whose shape the file does not say.
        if any(spec.shape for spec in inputs) or not inputs:
            self.signature = Signature(inputs, outputs)
        self._text = [spec.name for spec in inputs if spec.dtype == "str"]
        self._names = [spec.name for spec in outputs]
        self._run, self._quiet = session.run, quiet()

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the session once.

        Raises:
            InvalidInput: the model does not take these inputs.
        """
        if self._text:
            texts = {
                name: checked_texts(name, inputs[name], decode=True)
                for name in self._text
                if name in inputs
            }
            inputs = {**inputs, **texts}
        names = self._names
        with refusals(inputs):
            return dict(zip(names, self._run(names, inputs, self._quiet), strict=True))

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


def _dimensions(nodes: Sequence[Any]) -> dict[str, Sequence[int | str | None]]:
    return {node.name: node.shape for node in nodes}


def _spec(node: Any, batch_axis: int | None) -> TensorSpec:
    element = _ELEMENT.fullmatch(node.type)
    if element is None or element[1].startswith(_NOT_IN_NUMPY):
        is_of_maps = node.type.startswith("seq(map(")
        remedy = "; a classifier of scikit-learn is best exported with zipmap=False"
        raise ValueError(
            f"{node.name!r} is a {node.type}, which is no tensor that numpy knows. For an "
            f"output, the option `outputs` can leave it out{remedy if is_of_maps else ''}."
        )
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
    return TensorSpec(node.name, _DTYPES.get(element[1], element[1]), shape, batch_axis)
