"""What small models of tensors compute, and what they are asked, in any framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from tests.contract.asking import Probe

WEIGHTS = np.arange(9, dtype=np.float32).reshape(3, 3) / 9
ROWS = np.arange(24, dtype=np.float32).reshape(8, 3) - 11.5
#: Inputs of each kind of model: name, dtype, and the names or lengths of the axes.
INPUTS: dict[str, list[tuple[str, str, list[Any]]]] = {
    "plain": [("x", "float32", ["n", 3])],
    "coupled": [("x", "float32", ["n", 3])],
    "state": [
        ("x", "float32", ["n", 3]),
        ("rate", "float32", []),
        ("scales", "float32", [3]),
        ("state", "float32", [2, "n", 3]),
    ],
    "time": [("x", "float32", [None, None, 2])],
    "ragged": [("x", "float32", ["n", 3])],
    "lookup": [("x", "int64", ["n", 2])],
}


#: Of the models that return what they get.
DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("int4", "uint4", "complex64", "complex128", "str"),
)


class Made(NamedTuple):
    """A model on the disk, and its framework."""

    declared: dict[str, Any]
    direct: Callable[[Any], Any]


#: Makes a model of a kind; `same`, which returns what it gets, for a dtype.
Maker = Callable[..., Made]


def state(number: int) -> dict[str, Any]:
    return {
        "x": ROWS[number : number + 1],
        "rate": np.float32(1 + number % 2),
        "scales": np.array([1, 2, 1 + number % 3], np.float32),
        "state": np.full((2, 1, 3), 10 * number, np.float32),
    }


def probes(make: Maker) -> dict[str, Probe | None]:
    """The questions that every runtime of tensors is asked; None: its framework has no such model.

    Args:
        make: returns a `Made` for the name of a kind; raises `NotImplementedError`.
    """
    found: dict[str, Probe | None] = {}
    for column, kind, payloads in _QUESTIONS:
        try:
            declared, direct = make(kind)
        except NotImplementedError:
            found[column] = None
            continue
        found[column] = Probe(declared, payloads, direct)
    if found["batchless input"]:
        stated = _with(found["batchless input"], _AXES)
        found["batchless input"] = stated
        swapped = [dict(reversed(payload.items())) for payload in stated.payloads]
        found["other order"] = replace(stated, payloads=swapped)
    if timed := found["time on axis 0"]:
        found["declared axis 1"] = _with(timed, {"x": 1, "y": 1})
    plain = found["alone = together"]
    assert plain
    found["missing"] = replace(plain, payloads=[{}], direct=None)
    found["null"] = replace(plain, payloads=[{"x": [[1.0, None, 3.0]]}], direct=None)
    return found


def dtypes(make: Maker) -> dict[str, Probe | None]:
    """A model of each dtype that returns what it gets; None where the framework has none."""
    found: dict[str, Probe | None] = {}
    for dtype in DTYPES:
        values: Any = [[1, 0, 1], [0, 1, 1]]
        if dtype == "str":
            values = [["a", "é", ""], ["b", "c", "d"]]
        elif dtype == "bool":
            values = [[True, False, True]]
        payloads = [{"x": values[:1]}, {"x": values}]
        try:
            declared, direct = make("same", dtype)
            found[dtype] = Probe(declared, payloads, direct)
        except Exception:
            # As many errors as frameworks.
            found[dtype] = None
    return found


def numpy_type(dtype: str) -> Any:
    """numpy's type of that name; those of an extension too."""
    if dtype == "str":
        return object
    try:
        return np.dtype(dtype)
    except TypeError:
        return np.dtype(getattr(import_module("ml_dtypes"), dtype))


def _with(probe: Probe, axes: dict[str, int | None]) -> Probe:
    """The probe with declared batch axes."""
    options = probe.declared.get("RUNTIME_OPTIONS", {}) | {"batch_axis": axes}
    return replace(probe, declared={**probe.declared, "RUNTIME_OPTIONS": options})


_AXES = {"x": 0, "rate": None, "scales": None, "state": 1, "y": 0, "next": 1}
_QUESTIONS: list[tuple[str, str, list[Any]]] = [
    ("alone = together", "plain", [{"x": ROWS[n : n + 1 + n % 2]} for n in range(6)]),
    ("coupled rows", "coupled", [{"x": ROWS[n : n + 2]} for n in range(6)]),
    ("batchless input", "state", [state(n) for n in range(6)]),
    (
        "time on axis 0",
        "time",
        [{"x": np.full((steps, 1, 2), steps, np.float32)} for steps in (100, 3, 3, 40)],
    ),
    ("ragged outputs", "ragged", [{"x": ROWS[n : n + 1] * (n % 2)} for n in range(5, 8)]),
    ("unknown category", "lookup", [{"x": [[0, 99]]}]),
]
