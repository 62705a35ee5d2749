"""Proof runs: the same units run one by one, and together.

Args named `call` are a function that runs a batch and returns an output for each of its units.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np

from django_inference.engine.agreement import difference
from django_inference.engine.batching import Unit
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.models import Indivisible, Model
from django_inference.specs import one_line

Call: TypeAlias = Callable[..., list[Any]]


def kept(value: Any) -> Any:
    """Copy what must outlive the next run: a runtime may use its buffers again."""
    try:
        return deepcopy(value)
    except Exception:
        # What cannot be copied is most likely no buffer.
        return value


def fresh(unit: Unit) -> Unit:
    """Copy a unit that is run more than once: a runtime may write into its inputs."""
    return Unit(unit.request, unit.index, kept(unit.inputs), unit.rows, unit.key, unit.alone)


def compare(
    model: Model, call: Call, units: list[Unit], outputs: list[Any], tolerance: float | None
) -> str | None:
    """Run units together, or one in pieces, and say by what the answers differ.

    Args:
        model: that has run them.
        call: runs a batch.
        units: with one key.
        outputs: what each of them has got by itself.
        tolerance: of `agreement.difference`.

    Returns:
        What differs, empty where the answers agree, None where nothing could be compared.
    """
    shared = share(model, call, units)
    return shared if shared is None else differ(outputs, shared, tolerance)


def share(model: Model, call: Call, units: list[Unit]) -> list[Any] | str | None:
    """Run units together, one in pieces, or one filled up with other rows than before.

    Returns:
        An output for each, or why there is none; None where there is no such run.
    """
    try:
        if len(units) > 1:
            return call(units)
        if (pieces := model.pieces(units[0]))[1:]:
            return [model.joined([call([piece])[0] for piece in pieces])]
        if units[0].rows < model.fixed_rows:
            return call(units, with_zeros=True)
        return None
    except Indivisible as error:
        return str(error)
    except OF_THE_MODEL as error:
        return f"the model fails ({one_line(error)})"


def differ(outputs: list[Any], shared: list[Any] | str, tolerance: float | None) -> str:
    """Say by what outputs of units differ from those of a shared run, which may have failed."""
    if isinstance(shared, str):
        return shared
    differences = (
        difference(alone, other, tolerance) for alone, other in zip(outputs, shared, strict=True)
    )
    return next((said for said in differences if said), "")


def are_different(units: list[Unit]) -> bool:
    """Whether two of the units differ in more than their number of rows."""
    first = units[0].inputs
    return len(units) == 1 or any(not _same(first, unit.inputs) for unit in units[1:])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    try:
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            if one.shape != other.shape:
                # Ones for one row and ones for two: more of the same proves as little.
                return np.array_equal(np.unique(one), np.unique(other))
            return np.array_equal(one, other)
        return bool(one == other)
    except Exception:
        # Objects that cannot be compared are taken for equal, which proves less.
        return True
