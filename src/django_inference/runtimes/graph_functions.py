"""The functions of TensorFlow's graphs, and what they take and give.

Nothing here imports TensorFlow: it is handed over by the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from django_inference.runtimes.graph_files import clean, rank_examples
from django_inference.tensors import Signature, TensorSpec


class GraphFunction(NamedTuple):
    """A function of a graph, called with tensors by name.

    Attributes:
        inputs: their TensorSpecs, by name.
        outputs: likewise.
        call: the function.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    call: Callable[..., Mapping[str, Any]]

    def signature(self, name: str = "") -> Signature | None:
        """None where an input takes any number of axes, which a signature cannot say."""
        if any(spec.shape.rank is None for spec in self.inputs.values()):
            return None
        return Signature(
            tuple(_spec(name, spec) for name, spec in self.inputs.items()),
            tuple(_spec(name, spec) for name, spec in self.outputs.items()),
            name,
        )


def functions_of(
    tf: Any, signatures: Mapping[str, Any], meta_graph: Callable[[], Any]
) -> dict[str, GraphFunction]:
    """The functions of a SavedModel by the names of their signatures.

    Args:
        tf: TensorFlow.
        signatures: as TensorFlow has loaded them.
        meta_graph: reads the graph as it was saved, or None; called where it is needed.
    """
    found = {}
    declared: dict[tuple[str, str], Any] | None = None
    for name in sorted(signatures):
        function = signatures[name]
        inputs = dict(sorted(function.structured_input_signature[1].items()))
        if any(spec.shape.rank is None for spec in inputs.values()):
            # What a loaded graph does not say any more, the file may.
            if declared is None:
                meta = meta_graph()
                declared = {} if meta is None else _declared(tf, meta)
            for key, spec in inputs.items():
                if spec.shape.rank is None:
                    inputs[key] = declared.get((name, key), spec)
        outputs = dict(sorted(function.structured_outputs.items()))
        found[name] = GraphFunction(inputs, outputs, function)
    return found


def _declared(tf: Any, meta: Any) -> dict[tuple[str, str], Any]:
    """The inputs of a SavedModel, by the names of their signatures and their own."""
    clean(meta.graph_def)
    rank_examples(meta.graph_def)
    specs = {}
    with tf.Graph().as_default() as graph, suppress(ValueError, tf.errors.OpError):
        tf.graph_util.import_graph_def(meta.graph_def, name="")
        for signature, said in meta.signature_def.items():
            for key, info in said.inputs.items():
                tensor = graph.get_tensor_by_name(info.name)
                specs[signature, key] = tf.TensorSpec(tensor.shape, tensor.dtype, key)
    return specs


def _spec(name: str, spec: Any) -> TensorSpec:
    dtype = "str" if spec.dtype.name == "string" else spec.dtype.name
    axes = () if spec.shape.rank is None else spec.shape
    return TensorSpec(name, dtype, tuple(-1 if axis is None else axis for axis in axes))
