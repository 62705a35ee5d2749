"""A module that is made for weights, and filled with them."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django_inference.runtimes.loading import import_object

if TYPE_CHECKING:
    import torch

#: Names that an error lists, of what may be hundreds.
_LISTED = 5


def filled(
    model: str | Callable[..., Any],
    options: Mapping[str, Any],
    weights: MutableMapping[str, torch.Tensor],
    *,
    dtype: torch.dtype | None,
    share: bool,
) -> torch.nn.Module:
    """Make a module and put the weights into it.

    Args:
        model: a class or a function, or its dotted path.
        options: its keyword arguments.
        weights: by name, on the CPU.
        dtype: of all floats among the weights; None for what the model makes.
        share: leave the weights in the memory where they are.

    Raises:
        ImportError: the model cannot be imported.
        TypeError: it does not take the options, or makes something else.
        ValueError: the weights do not fit it, or cannot be shared.
    """
    import torch

    name = model if isinstance(model, str) else getattr(model, "__qualname__", repr(model))
    make = import_object(model) if isinstance(model, str) else model
    _check_call(name, make, options)
    try:
        with _parameters_without_memory() if share else nullcontext():
            module = make(**options)
    except (NotImplementedError, RuntimeError) as error:
        if not share or "meta" not in str(error):
            raise
        raise ValueError(
            f"{name} needs its weights while it is made, which it does not have yet under "
            f"share_weights: {error}"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"{name} made a {type(module).__name__}, which is no torch.nn.Module.")
    if dtype is not None:
        module.to(dtype)
    if share:
        _refuse_other_types(name, module, weights)
    _fill(name, module, weights, assign=share)
    _refuse_without_memory(name, module)
    return module


def _check_call(name: str, make: Any, options: Mapping[str, Any]) -> None:
    if not callable(make):
        raise TypeError(f"{name} is a {type(make).__name__}, and neither a class nor a function.")
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        given = ", ".join(options) or "nothing"
        raise TypeError(
            f"{name} cannot be called with `model_options` ({given}): {error}."
        ) from error
    except ValueError:
        # Some classes written in C do not say what they take.
        pass


def _fill(
    name: str, module: torch.nn.Module, weights: MutableMapping[str, torch.Tensor], *, assign: bool
) -> None:
    _add_tied(module, weights)
    try:
        found = module.load_state_dict(weights, strict=False, assign=assign)
    except RuntimeError as error:
        # The first line says no more than that; each of the others names a weight.
        _, *lines = (line.strip() for line in str(error).splitlines())
        raise ValueError(f"the weights do not fit {name}: {_listed(lines)}") from error
    # What older releases of a model have saved and newer ones compute is not missed.
    computed = {buffer for buffer, _ in module.named_buffers()} - module.state_dict().keys()
    unexpected = [key for key in found.unexpected_keys if key not in computed]
    wrong = [
        f"{what} {len(keys)} ({_listed(keys)})"
        for what, keys in (("missing", found.missing_keys), ("not in the model", unexpected))
        if keys
    ]
    if wrong:
        raise ValueError(f"the weights do not fit {name}: {'; '.join(wrong)}.")


def _add_tied(module: torch.nn.Module, weights: MutableMapping[str, torch.Tensor]) -> None:
    """Name a weight by all its names: safetensors keeps only one of them."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for tied in names.values():
        present = next((name for name in tied if name in weights), None)
        if present is not None:
            for name in tied:
                weights.setdefault(name, weights[present])


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Have the modules that this thread makes keep their parameters on the meta device.

    Unlike `torch.device("meta")` it leaves alone the buffers that are in no state_dict:
    the constructor computes them, and nobody would do so again.
    """
    from torch.nn import Parameter
    from torch.nn.modules.module import register_module_parameter_registration_hook
    from torch.nn.parameter import is_lazy
    from torch.utils.weak import WeakIdKeyDictionary

    thread = threading.get_ident()
    replaced: Any = WeakIdKeyDictionary()

    def replace(module: Any, name: str, parameter: Any) -> Any:
        # The hook holds for the whole process.
        if threading.get_ident() != thread or parameter.is_meta or is_lazy(parameter):
            return None
        if parameter not in replaced:
            replaced[parameter] = Parameter(
                parameter.detach().to("meta"), requires_grad=parameter.requires_grad
            )
        # One that is tied to another stays so.
        return replaced[parameter]

    handle = register_module_parameter_registration_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _refuse_other_types(
    name: str, module: torch.nn.Module, weights: Mapping[str, torch.Tensor]
) -> None:
    for key, tensor in module.state_dict().items():
        if key in weights and weights[key].dtype != tensor.dtype:
            there, here = (
                str(each.dtype).removeprefix("torch.") for each in (weights[key], tensor)
            )
            raise ValueError(
                f"share_weights cannot convert: {key!r} is {there} in the file and {here} in "
                f"{name}. Save the weights anew, or set the option `dtype`."
            )


def _refuse_without_memory(name: str, module: torch.nn.Module) -> None:
    import torch

    for prefix, part in module.named_modules():
        held = {**vars(part), **part._parameters, **part._buffers}
        for key, value in held.items():
            if isinstance(value, torch.Tensor) and value.is_meta:
                raise ValueError(
                    f"{name} makes {'.'.join(filter(None, (prefix, key)))!r} of weights that it "
                    "does not have yet under share_weights: register it as a buffer that is "
                    "saved, or compute it in forward()."
                )


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = [f"{len(words) - _LISTED} more"] if len(words) > _LISTED else []
    return ", ".join([*words[:_LISTED], *more])
