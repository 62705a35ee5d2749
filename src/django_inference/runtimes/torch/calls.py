"""How named tensors reach what PyTorch has loaded."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.torch.outputs import by_name
from django_inference.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.export import ExportedProgram


class Call(Protocol):
    """A loaded model, called with tensors by name."""

    @property
    def signature(self) -> Signature | None:
        """What the model takes and gives; None where nobody says so."""

    def dtype_of(self, name: str, given: np.dtype[Any]) -> torch.dtype | None:
        """The type to convert an input to; None to leave it at what was given."""

    def __call__(self, tensors: dict[str, torch.Tensor]) -> Any:
        """Run the model once.

        Raises:
            InvalidInput: there is a tensor too many, or too few.
        """


class ModuleCall:
    """Calls a module, one in TorchScript too.

    Args:
        module: on its device.
        inputs: what it takes, as the user says. Their names are those of the arguments of
            `forward()`, or else they stand for these in their order.

    Raises:
        ValueError: `forward()` cannot be called with these inputs.
    """

    def __init__(self, module: torch.nn.Module, inputs: Sequence[TensorSpec]) -> None:
        self.signature = Signature(tuple(inputs)) if inputs else None
        self._module = module
        self._arguments = _arguments(module)
        self._names = [spec.name for spec in inputs]
        self._by_position = self._must_go_by_position()
        dtypes = {each.dtype for each in module.parameters() if each.is_floating_point()}
        # A model of several types has to know by itself which input is of which.
        self._dtype = dtypes.pop() if len(dtypes) == 1 else None

    def dtype_of(self, name: str, given: np.dtype[Any]) -> torch.dtype | None:
        """That of the weights, for floats."""
        return self._dtype if given.kind == "f" else None

    def __call__(self, tensors: dict[str, torch.Tensor]) -> Any:
        """Run `forward()`."""
        if self.signature is None and (objection := self._objection(**tensors)):
            given = ", ".join(tensors) or "nothing"
            raise InvalidInput(f"{self._expected()}; given: {given} ({objection}).")
        try:
            if self._by_position:
                return self._module(*(tensors[name] for name in self._names))
            return self._module(**tensors)
        except RuntimeError as error:
            said = str(error).strip()
            if "TorchScript" not in said.partition("\n")[0]:
                raise
            # Its interpreter says last what belongs into the one line of a log.
            raise RuntimeError(said.rpartition("\n")[2]) from error

    def _must_go_by_position(self) -> bool:
        objection = self._objection(**dict.fromkeys(self._names))
        if not self._names or not objection:
            return False
        are_other_names = not set(self._names) & self._arguments.parameters.keys()
        if are_other_names and not self._objection(*self._names):
            return True
        names = ", ".join(self._names)
        raise ValueError(f"`inputs` names {names}, but {self._expected()} ({objection}).")

    def _objection(self, *args: Any, **kwargs: Any) -> str:
        try:
            self._arguments.bind(*args, **kwargs)
        except TypeError as error:
            return str(error)
        return ""

    def _expected(self) -> str:
        return f"the arguments of forward() are {', '.join(self._arguments.parameters) or 'none'}"


class ProgramCall:
    """Calls a program of torch.export, which says itself what it takes and gives.

    Args:
        program: on its device.
        outputs: the option of that name.
    """

    def __init__(self, program: ExportedProgram, outputs: Sequence[str] | None) -> None:
        said, called = program.graph_signature, program.call_spec
        # Beside tensors, a program takes the plain values that it was exported with.
        self._leaves = [spec.arg for spec in said.input_specs if _is_users(spec)]
        returned = [spec.arg for spec in said.output_specs if _is_users(spec)]
        examples = {node.name: node.meta.get("val") for node in program.graph.nodes}
        inputs = {leaf.name: examples[leaf.name] for leaf in self._leaves if _is_tensor(leaf)}
        self._dtypes = {name: example.dtype for name, example in inputs.items()}
        structure = called.out_spec.unflatten([examples.get(leaf.name) for leaf in returned])
        self.signature = Signature(
            tuple(_spec(name, example) for name, example in inputs.items()),
            tuple(_spec(name, example) for name, example in by_name(structure, outputs).items()),
        )
        self._structure = called.in_spec
        self._module = program.module()

    def dtype_of(self, name: str, given: np.dtype[Any]) -> torch.dtype:
        """That of the input that it was exported with."""
        dtype: torch.dtype = self._dtypes[name]
        return dtype

    def __call__(self, tensors: dict[str, torch.Tensor]) -> Any:
        """Run the program."""
        args, kwargs = self._structure.unflatten(
            [tensors[leaf.name] if _is_tensor(leaf) else leaf.value for leaf in self._leaves]
        )
        return self._module(*args, **kwargs)


def _arguments(module: Any) -> inspect.Signature:
    import torch

    if not isinstance(module, torch.jit.ScriptModule):
        return inspect.signature(module.forward)
    _, *arguments = module.forward.schema.arguments  # type: ignore[attr-defined]
    return inspect.Signature(
        [
            inspect.Parameter(
                each.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=each.default_value if each.has_default_value() else inspect.Parameter.empty,
            )
            for each in arguments
        ]
    )


def _is_users(spec: Any) -> bool:
    return spec.kind.name in ("USER_INPUT", "USER_OUTPUT")


def _is_tensor(leaf: Any) -> bool:
    from torch.export.graph_signature import TensorArgument

    return isinstance(leaf, TensorArgument)


def _spec(name: str, example: torch.Tensor) -> TensorSpec:
    dtype = str(example.dtype).removeprefix("torch.")
    # numpy has no bfloat16, nor any float of 8 bits.
    dtype = "float32" if dtype.startswith(("bfloat", "float8")) else dtype
    axes = tuple(axis if isinstance(axis, int) else -1 for axis in example.shape)
    return TensorSpec(name, dtype, axes)
