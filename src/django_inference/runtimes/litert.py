"""LiteRT models, which were TensorFlow Lite's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.refusals import refusal
from django_inference.runtimes.texts import checked_texts
from django_inference.tensors import Signature, TensorSpec
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis, Tensors

_DEFAULT = "serving_default"
#: Said of an index beyond a table, and where a graph cannot take the shapes of its inputs.
_OF_THE_INPUT = re.compile(r"out of (?:bounds|range)|failed to prepare|failed to reshape")
#: Beside the message: a place in the library's own source, and the number of the node.
_PLACE = re.compile(r"^\S+\.(?:cc|h):\d+ |Node number \d+ .*$", re.DOTALL)

#: What LiteRT says of each tensor, by the tensor's name.
_Details = dict[str, dict[str, Any]]


class LitertRuntime(TensorRuntime):
    """A `.tflite` file.

    Its tensors are resized where the file leaves an axis open, and only when a batch differs
    in shape from the one before. It runs without XNNPACK where replicas share the weights, of
    which XNNPACK would make a copy in another order; and where operators take numbers in
    `float32` and weights in `int8`, for which XNNPACK gives wrong numbers now and then (seen
    with ai-edge-litert 2.3: one interpreter in 25, from its second call on).

    Args:
        signature: the one to run; None for `serving_default`, the only one, or, where the
            file has none, the tensors themselves.
        dequantize: take and give `float32` where the file has quantised integers, and
            convert by its scale and zero point. Otherwise callers see the integers.
        threads: that one operator is spread over; None for as many as this process may
            use cores.
        batch_axis: the axis of each tensor that has an entry for each row of a batch, by its
            name, None where it has none; None alone makes each call a run of its own.
    """

    requires: ClassVar[tuple[str, ...]] = ("ai_edge_litert",)
    extra: ClassVar[str] = "litert"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)
    needs_artifact: ClassVar[bool] = True
    can_share_weights: ClassVar[bool] = True

    def __init__(
        self,
        *,
        signature: str | None = None,
        dequantize: bool = False,
        threads: int | None = None,
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self.batch_axis = batch_axis
        self._signature_name = signature
        self._dequantize = dequantize
        self._threads = usable_cores() if threads is None else threads
        self._run: Any = None
        self._inputs: dict[str, _Scale] = {}
        self._outputs: dict[str, _Scale] = {}
        self._text: list[str] = []

    def load(self, artifact: Artifact | None) -> None:
        """Map the file and read its signature.

        Raises:
            ValueError: the artifact is not what it should be, or an option does not fit it.
            RuntimeError: it needs operators that LiteRT does not have.
        """
        import ai_edge_litert
        from ai_edge_litert.interpreter import OpResolverType

        file = model_file(required(artifact), self.suffixes)
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = _opened(file, self._threads, plain)
        if not self.share_weights and not _mixes_types(interpreter):
            interpreter = _opened(file, self._threads, OpResolverType.AUTO)
        interpreter.allocate_tensors()
        self._run, inputs, outputs = self._signature_of(interpreter)
        if self._dequantize:
            self._inputs, self._outputs = _scales(inputs), _scales(outputs)
        self.signature = Signature(
            tuple(
                _spec(name, each, dequantized=name in self._inputs) for name, each in inputs.items()
            ),
            tuple(
                _spec(name, each, dequantized=name in self._outputs)
                for name, each in outputs.items()
            ),
        )
        self._text = [spec.name for spec in self.signature.inputs if spec.dtype == "str"]
        self.device = "cpu"
        self.framework = f"ai-edge-litert {ai_edge_litert.__version__}"

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the signature once.

        Raises:
            InvalidInput: the model does not take these inputs.
        """
        if self._inputs:
            scaled = {name: scale.quantized(inputs[name]) for name, scale in self._inputs.items()}
            inputs = inputs | scaled
        if self._text:
            texts = {name: checked_texts(name, inputs[name], decode=False) for name in self._text}
            inputs = inputs | texts
        try:
            outputs: Tensors = self._run(**inputs)
        except RuntimeError as error:
            if not _OF_THE_INPUT.search(str(error)):
                raise
            raise refusal(inputs, _PLACE.sub("", str(error))) from error
        for name, scale in self._outputs.items():
            outputs[name] = scale.dequantized(outputs[name])
        return outputs

    def close(self) -> None:
        """Let go of the interpreter."""
        self._run = None

    def _signature_of(self, interpreter: Any) -> tuple[Callable[..., Tensors], _Details, _Details]:
        known = list(interpreter.get_signature_list())
        name = self._signature_name
        if name is None and not known:
            inputs = {each["name"]: each for each in interpreter.get_input_details()}
            outputs = {each["name"]: each for each in interpreter.get_output_details()}
            return _Run(interpreter, 0, inputs, outputs), inputs, outputs
        if name is None:
            name = known[0] if len(known) == 1 else _DEFAULT
        if name not in known:
            raise ValueError(
                f"the model has no signature {name!r}{suggestion(name, known)}; "
                f"the option `signature` can be {', '.join(known) or 'left out only'}."
            )
        runner = interpreter.get_signature_runner(name)
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        return _Run(interpreter, runner._subgraph_index, inputs, outputs), inputs, outputs


class _Run:
    """One graph of a file, called with its tensors by name.

    The library's own way to call a signature resizes the inputs, and plans the memory anew, at
    every call. Its public calls know the first graph only, hence what they stand on is called
    here.
    """

    def __init__(self, interpreter: Any, graph: int, inputs: _Details, outputs: _Details) -> None:
        self._interpreter = interpreter._interpreter
        self._graph = graph
        self._inputs = {name: each["index"] for name, each in inputs.items()}
        self._outputs = {name: each["index"] for name, each in outputs.items()}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def __call__(self, **inputs: Any) -> Tensors:
        import numpy as np

        interpreter, graph = self._interpreter, self._graph
        shapes = {name: tensor.shape for name, tensor in inputs.items()}
        if shapes != self._shapes:
            # Where one of them cannot be, none may be taken for the current one.
            self._shapes = {}
            for name, shape in shapes.items():
                axes = np.array(shape, np.int32)
                interpreter.ResizeInputTensor(self._inputs[name], axes, False, graph)
            interpreter.AllocateTensors(graph)
            self._shapes = shapes
        for name, tensor in inputs.items():
            interpreter.SetTensor(self._inputs[name], tensor, graph)
        interpreter.Invoke(graph)
        return {name: self._value(at) for name, at in self._outputs.items()}

    def _value(self, at: int) -> Any:
        import numpy as np

        interpreter, graph = self._interpreter, self._graph
        shape = interpreter.TensorSize(at, graph)
        if 0 in shape:
            # GetTensor raises for a tensor without values.
            return np.empty(shape, interpreter.TensorType(at, graph))
        return interpreter.GetTensor(at, graph)


class _Scale:
    """The numbers that the integers of a tensor stand for."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        import numpy as np

        scale, zero_point = details["quantization"]
        self._scale, self._zero_point = np.float32(scale), np.float32(zero_point)
        self._integers = np.iinfo(details["dtype"])

    def quantized(self, numbers: Any) -> Any:
        """As XNNPACK does it where the conversion is in the file: halves go to the even one."""
        import numpy as np

        rounded = np.rint(numbers * (1 / self._scale)) + self._zero_point
        return rounded.clip(self._integers.min, self._integers.max).astype(self._integers.dtype)

    def dequantized(self, integers: Any) -> Any:
        return (integers.astype("float32") - self._zero_point) * self._scale


def _opened(file: Path, threads: int, resolver: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        # By its path it is mapped, so that processes share what they do not change.
        return Interpreter(
            model_path=str(file), num_threads=threads, experimental_op_resolver_type=resolver
        )
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _mixes_types(interpreter: Any) -> bool:
    """Whether an operator takes `float32` and `int8`, as after quantising only the weights."""
    import numpy as np

    return any(
        {np.float32, np.int8} <= set(operator["operand_types"])
        for operator in interpreter._get_ops_details()
    )


def _scales(details: _Details) -> dict[str, _Scale]:
    """Of the quantised tensors; the others have a scale of 0."""
    import numpy as np

    return {
        name: _Scale(each)
        for name, each in details.items()
        if each["quantization"][0] and np.dtype(each["dtype"]).kind in "iu"
    }


def _spec(name: str, details: Mapping[str, Any], *, dequantized: bool) -> TensorSpec:
    import numpy as np

    dtype = np.dtype(details["dtype"])
    shape = tuple(int(axis) for axis in details["shape_signature"])
    if dequantized:
        return TensorSpec(name, "float32", shape)
    return TensorSpec(name, "str" if dtype.kind == "S" else dtype.name, shape)
