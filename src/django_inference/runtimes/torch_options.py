"""What the options `device` and `dtype` stand for, wherever torch runs a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_of(wanted: str | None) -> torch.device:
    """The device of that name; None for the GPU where there is one.

    Raises:
        ValueError: it cannot be used here.
    """
    import torch

    if wanted is None:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # "cuda" becomes the GPU that it stands for.
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"the device {wanted!r} cannot be used: {said}") from error


def dtype_of(wanted: str) -> torch.dtype:
    """The type of that name.

    Raises:
        ValueError: there is none, or it is not one of floats.
    """
    import torch

    dtype = getattr(torch, wanted, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(
            f"dtype is one such as 'float16', 'bfloat16' or 'float32', not {wanted!r}."
        )
    return dtype
