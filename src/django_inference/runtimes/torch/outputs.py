"""What a model of PyTorch's has returned, as named arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django_inference.words import suggestion

if TYPE_CHECKING:
    import torch

    from django_inference.tensors import Tensors


def by_name(returned: Any, wanted: Sequence[str] | None) -> dict[str, torch.Tensor]:
    """Name what a model has returned.

    Args:
        returned: a tensor, a list or tuple of them, or a dict or dataclass.
        wanted: names for the first of them; of a dict or dataclass, the keys to keep.

    Raises:
        ValueError: there are fewer, or none of such a name.
        TypeError: an output is no tensor.
    """
    import torch

    if isinstance(returned, torch.Tensor):
        returned = {"output": returned} if wanted is None else [returned]
    named = _chosen(returned, wanted) if _is_keyed(returned) else _numbered(returned, wanted)
    for name, tensor in named.items():
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"the output {name!r} is a {type(tensor).__name__} and no tensor; the option "
                "`outputs` can leave it out."
            )
    return named


def arrays(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return numpy's arrays of tensors on any device.

    Raises:
        ValueError: a tensor has no axis for the batch.
    """
    return {name: _array(name, tensor) for name, tensor in tensors.items()}


def _is_keyed(returned: Any) -> bool:
    is_instance = not isinstance(returned, type)
    return isinstance(returned, Mapping) or (is_instance and dataclasses.is_dataclass(returned))


def _chosen(returned: Any, wanted: Sequence[str] | None) -> dict[str, Any]:
    # The outputs of `transformers` are both.
    if not isinstance(returned, Mapping):
        fields = dataclasses.fields(returned)
        returned = {field.name: getattr(returned, field.name) for field in fields}
    if wanted is None:
        return _given(returned)
    for name in wanted:
        if name not in returned:
            raise ValueError(
                f"the model returned no {name!r}{suggestion(name, returned)}; "
                f"it returned {', '.join(returned)}."
            )
    return {name: returned[name] for name in wanted}


def _numbered(returned: Any, wanted: Sequence[str] | None) -> dict[str, Any]:
    if not isinstance(returned, list | tuple):
        raise TypeError(f"the model returned a {type(returned).__name__} and no tensor.")
    if wanted is None:
        # The fields of a named tuple, such as `values` and `indices`.
        names = getattr(returned, "_fields", [f"output{index}" for index in range(len(returned))])
        return _given(dict(zip(names, returned, strict=True)))
    if len(wanted) > len(returned):
        raise ValueError(
            f"the option `outputs` names {len(wanted)}, but the model returned {len(returned)}."
        )
    return dict(zip(wanted, returned, strict=False))


def _given(outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in outputs.items() if tensor is not None}


def _array(name: str, tensor: torch.Tensor) -> Any:
    import torch

    if not tensor.ndim:
        raise ValueError(f"the output {name!r} is a single number, without an axis for the batch.")
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float64):
        # numpy has no bfloat16, nor any float of 8 bits.
        tensor = tensor.float()
    return tensor.numpy(force=True)
