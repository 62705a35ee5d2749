"""Which axis of a tensor is the batch, by the names that exporters give to its dimensions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

#: The dimensions of a tensor: a length, a name, or None for one that has neither.
Dimensions: TypeAlias = "Sequence[int | str | None]"

_BATCH = re.compile(r"(.*_)?batch(_?size|_?dim|_?axis)?(_?\d+)?|bs|n|b", re.IGNORECASE)
_STEPS = re.compile(
    r"(.*_)?(time|times|timesteps?|steps?|seq|sequence|seq_?len|sequence_?length|length|len|frames?"
    r"|samples|tokens|words|chunk|t|l)(_?\d+)?|(num|n|src|tgt)_?(steps|frames|samples|tokens|words|len)",
    re.IGNORECASE,
)


def batch_axes(
    inputs: Mapping[str, Dimensions], outputs: Mapping[str, Dimensions]
) -> dict[str, int | None]:
    """Return the batch axis of each tensor, as far as names of dimensions tell.

    A dimension that is called `batch` or the like is the batch wherever it stands, and an
    input without it belongs to the whole call. Without such a name, it is axis 0, unless that
    is called `time` or the like: then there is none.

    Args:
        inputs: the dimensions by the tensor's name.
        outputs: likewise.
    """
    symbol = _symbol(inputs)
    everything = {**inputs, **outputs}
    if symbol is None:
        return {
            name: None if _is_steps(dims) or not dims else 0 for name, dims in everything.items()
        }
    axes: dict[str, int | None] = {}
    for name, dims in everything.items():
        if symbol in dims:
            axes[name] = list(dims).index(symbol)
        elif name in outputs or (dims and dims[0] is None):
            # Shape inference loses names: whether there are rows is seen when it is run.
            axes[name] = 0 if dims else None
        else:
            axes[name] = None
    return axes


def _symbol(inputs: Mapping[str, Dimensions]) -> str | None:
    """The name of the batch: on axis 0, or else behind an axis of steps or of a fixed length."""
    for dims in inputs.values():
        if dims and isinstance(dims[0], str) and _BATCH.fullmatch(dims[0]):
            return dims[0]
    for dims in inputs.values():
        if _is_steps(dims) or (dims and isinstance(dims[0], int) and len(inputs) > 1):
            for name in dims[1:]:
                if isinstance(name, str) and _BATCH.fullmatch(name):
                    return name
    return None


def _is_steps(dims: Dimensions) -> bool:
    return bool(dims) and isinstance(dims[0], str) and _STEPS.fullmatch(dims[0]) is not None
