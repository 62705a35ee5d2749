"""What goes into a graph of TensorFlow 1, and what comes out of it.

Such a graph is a list of operations. Which of their tensors somebody is to feed and to fetch
is known to the code that made it, and often to nobody else. Nothing here imports
TensorFlow: a graph says all of this by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from django_inference.runtimes.graph_inputs import parses_examples
from django_inference.tensors import Signature, TensorSpec
from django_inference.words import suggestion

#: Names that callers use, each with the name of the tensor in the graph.
Names: TypeAlias = Mapping[str, str]

_DEFAULT = "serving_default"
#: What initialises a SavedModel stands among its signatures.
_INTERNAL = "__saved_model_init_op"
#: Candidates that a message lists; a training graph has hundreds.
_MOST = 20


class Declared(NamedTuple):
    """The ends that a file, or the user, has declared; None where they have not."""

    inputs: Names | None = None
    outputs: Names | None = None


class Ends(NamedTuple):
    """The tensors of a graph that are fed and fetched, by the names that callers use."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]


def by_signature(signatures: Mapping[str, Any], name: str | None) -> Declared:
    """Return what a signature of a MetaGraph declares.

    Args:
        signatures: all of them.
        name: of one; None for `serving_default`, or the only one.

    Raises:
        ValueError: there is none of that name, or one has to be named.
    """
    known = sorted(each for each in signatures if each != _INTERNAL)
    if name is None:
        if not known:
            return Declared()
        name = known[0] if len(known) == 1 else _DEFAULT
    if name not in known:
        raise ValueError(
            f"the model has no signature {name!r}{suggestion(name, known)}; "
            f"the option `signature` can be {', '.join(known) or 'left out only'}."
        )
    return Declared(_names(signatures[name].inputs), _names(signatures[name].outputs))


def find_ends(graph: Any, declared: Declared, fed: Collection[str]) -> Ends:
    """Look the ends up, and find those that nobody has declared.

    Args:
        graph: whose tensors they are.
        declared: by the user, else by the file.
        fed: names of the tensors that get the same value at every run.

    Raises:
        ValueError: the graph lacks one of them, or it cannot be told what they are.
    """
    outputs = _last(graph, fed) if declared.outputs is None else _tensors(graph, declared.outputs)
    if declared.inputs is None:
        return Ends(_placeholders(outputs.values(), fed), outputs)
    inputs = _tensors(graph, declared.inputs)
    inputs = {name: each for name, each in inputs.items() if each.name not in fed}
    missing = _placeholders(outputs.values(), {*fed, *(each.name for each in inputs.values())})
    if missing:
        raise ValueError(
            f"the outputs depend on {', '.join(missing)}, too: name them in the option `inputs`, "
            "or give them a value in `feed`."
        )
    return Ends(inputs, outputs)


def tensor(graph: Any, name: str) -> Any:
    """Return the tensor of that name; `:0`, the first output of an operation, may be left out.

    Raises:
        ValueError: the graph has none.
    """
    full = name if ":" in name else f"{name}:0"
    try:
        return graph.get_tensor_by_name(full)
    except (KeyError, ValueError) as error:
        known = [each.name for operation in graph.get_operations() for each in operation.outputs]
        raise ValueError(f"the graph has no tensor {full!r}{suggestion(full, known)}.") from error


def signature(ends: Ends, name: str = "") -> Signature | None:
    """Return the signature that the ends amount to; None where an input takes any shape."""
    if any(each.shape.rank is None and not parses_examples(each) for each in ends.inputs.values()):
        return None
    return Signature(
        tuple(_spec(key, each) for key, each in ends.inputs.items()),
        tuple(_spec(key, each) for key, each in ends.outputs.items()),
        name,
    )


def _tensors(graph: Any, names: Names) -> dict[str, Any]:
    return {ours: tensor(graph, theirs) for ours, theirs in names.items()}


def _placeholders(outputs: Iterable[Any], fed: Collection[str]) -> dict[str, Any]:
    """The placeholders that must be fed to compute some tensors."""
    found = {}
    seen = set()
    left = [each.op for each in outputs if each.name not in fed]
    while left:
        operation = left.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        if _is_placeholder(operation):
            found[operation.name] = operation.outputs[0]
        left += [each.op for each in operation.inputs if each.name not in fed]
        left += operation.control_inputs
    return dict(sorted(found.items()))


def _last(graph: Any, fed: Collection[str]) -> dict[str, Any]:
    """The outputs of the one operation that depends on inputs and that nothing follows."""
    depending: set[str] = set()
    ends = []
    # They are in the order in which they were made: what an operation takes comes before it.
    for operation in graph.get_operations():
        if _is_placeholder(operation):
            depending.add(operation.name)
        elif any(each.op.name in depending for each in operation.inputs if each.name not in fed):
            depending.add(operation.name)
            if operation.outputs and not any(each.consumers() for each in operation.outputs):
                ends.append(operation)
    if len(ends) == 1:
        return {each.name.removesuffix(":0"): each for each in ends[0].outputs}
    said = [f"{each.name} {each.dtype.name} {each.shape}" for end in ends for each in end.outputs]
    more = f", and {len(said) - _MOST} more" if len(said) > _MOST else ""
    raise ValueError(
        "the graph does not say what it computes, so the option `outputs` must, as in "
        '{"scores": "softmax:0"}. '
        f"The ends of the graph: {', '.join(said[:_MOST]) or 'none'}{more}."
    )


def _is_placeholder(operation: Any) -> bool:
    # A PlaceholderWithDefault, such as Keras's learning phase, need not be fed.
    return bool(operation.type == "Placeholder")


def _names(infos: Mapping[str, Any]) -> Names:
    for name, info in infos.items():
        if info.WhichOneof("encoding") != "name":
            raise ValueError(
                f"{name!r} of the signature is no dense tensor: name others in the options "
                "`inputs` and `outputs`."
            )
    # A signature keeps no order: without one, no two processes would say the same.
    return {name: infos[name].name for name in sorted(infos)}


def _spec(name: str, each: Any) -> TensorSpec:
    dtype = each.dtype.base_dtype.name
    axes = () if each.shape.rank is None else each.shape.as_list()
    if each.shape.rank is None and parses_examples(each):
        axes = [None]
    shape = tuple(-1 if axis is None else axis for axis in axes)
    return TensorSpec(name, "str" if dtype == "string" else dtype, shape)
