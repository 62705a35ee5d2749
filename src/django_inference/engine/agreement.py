"""Whether a request has got the answer in a shared run that it gets in a run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: What rounding explains, by the size of a number in bytes: the order of the sums in a
#: product of matrices depends on the number of rows. Relative to the number, and for numbers
#: below the largest of the answer also to that, up to 1.
_ROUNDING = {2: 1e-2, 4: 1e-4, 8: 1e-6, 16: 1e-6}
#: Of a float in plain Python, which most frameworks have computed in four bytes.
_PLAIN = 1e-4
_NUMBERS = "biufc"


def difference(alone: Any, shared: Any, tolerance: float | None = None) -> str:
    """Say by what two answers differ; empty where they agree.

    Args:
        alone: the answer of a run of its own: named tensors, or the result of an item.
        shared: the same, of a run that was shared.
        tolerance: by how much a number may differ, relative to numbers above 1; None for
            what rounding explains.
    """
    return _difference("", alone, shared, tolerance)


def _difference(place: str, alone: Any, shared: Any, tolerance: float | None) -> str:
    where = place or "the answer"
    if isinstance(alone, Mapping) and isinstance(shared, Mapping):
        if alone.keys() != shared.keys():
            return f"{where} has other keys"
        pairs = (
            (f"{place}.{key}" if place else str(key), alone[key], shared[key]) for key in alone
        )
        return next((said for pair in pairs if (said := _difference(*pair, tolerance))), "")
    if isinstance(alone, str | bytes) or alone is None:
        return "" if _equal(alone, shared) else f"{where} differs"
    have, want = _numbers(shared), _numbers(alone)
    if have is not None and want is not None:
        if tolerance is None:
            allowed = _allowed(alone, want)
            return _of_numbers(where, want, have, allowed, allowed * _scale(want))
        return _of_numbers(where, want, have, tolerance, tolerance)
    if isinstance(alone, np.ndarray) and isinstance(shared, np.ndarray):
        if alone.shape != shared.shape:
            return f"{where} has the shape {list(alone.shape)} alone and {list(shared.shape)}"
        alone, shared = alone.tolist(), shared.tolist()
    if isinstance(alone, list | tuple) and isinstance(shared, list | tuple):
        if len(alone) != len(shared):
            return f"{where} has {len(alone)} entries alone and {len(shared)}"
        pairs = (
            (f"{where}[{n}]", a, b) for n, (a, b) in enumerate(zip(alone, shared, strict=True))
        )
        return next((said for pair in pairs if (said := _difference(*pair, tolerance))), "")
    return "" if _equal(alone, shared) else f"{where} differs"


def _numbers(value: Any) -> np.ndarray[Any, Any] | None:
    """Return an array of numbers; None for anything else."""
    if not isinstance(value, bool | int | float | complex | np.generic | np.ndarray | list | tuple):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        return None
    return array if array.dtype.kind in _NUMBERS else None


def _allowed(alone: Any, array: np.ndarray[Any, Any]) -> float:
    if array.dtype.kind not in "fc":
        return 0.0
    if not isinstance(alone, np.ndarray | np.generic):
        return _PLAIN
    return _ROUNDING.get(array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1), 1e-6)


def _scale(array: np.ndarray[Any, Any]) -> float:
    """The size of the largest number, 1 at the most."""
    sizes = np.abs(array[np.isfinite(array)].astype(complex if array.dtype.kind == "c" else float))
    return min(1.0, float(sizes.max())) if sizes.size else 1.0


def _of_numbers(
    where: str,
    alone: np.ndarray[Any, Any],
    shared: np.ndarray[Any, Any],
    relative: float,
    absolute: float,
) -> str:
    if alone.shape != shared.shape:
        return f"{where} has the shape {list(alone.shape)} alone and {list(shared.shape)}"
    if relative == 0.0 or not alone.size:
        return "" if np.array_equal(alone, shared) else f"{where} differs{_by(alone, shared)}"
    close = np.isclose(shared, alone, rtol=relative, atol=absolute, equal_nan=True)
    return "" if bool(close.all()) else f"{where} differs{_by(alone, shared)}"


def _by(alone: np.ndarray[Any, Any], shared: np.ndarray[Any, Any]) -> str:
    """The largest difference in words."""
    kind = np.complex128 if "c" in (alone.dtype.kind, shared.dtype.kind) else np.float64
    with np.errstate(all="ignore"):
        gaps = np.abs(alone.astype(kind) - shared.astype(kind))
    gaps = gaps[np.isfinite(gaps)]
    return f" by {float(gaps.max()):.3g}" if gaps.size and gaps.max() > 0 else ""


def _equal(alone: Any, shared: Any) -> bool:
    try:
        same = alone == shared
        return bool(np.all(same)) if isinstance(same, np.ndarray) else bool(same)
    except Exception:
        # Objects of the user's own may refuse to be compared: what cannot be shown is not so.
        return False
