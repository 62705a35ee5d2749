"""Models of items: functions, texts and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.contract.asking import Probe
from tests.contract.kinds import DTYPES, numpy_type
from tests.table import cases


def doubled(items: list[Any]) -> list[Any]:
    return [item * 2 for item in items]


def ranked(items: list[Any]) -> list[Any]:
    """Each depends on the others."""
    return [sorted(items).index(item) for item in items]


def scaled(items: list[Any]) -> list[Any]:
    return [item["x"] * item["rate"] for item in items]


def summed(items: list[Any]) -> list[Any]:
    return [np.cumsum(item, axis=0) for item in items]


def found(items: list[Any]) -> list[Any]:
    return [np.argwhere(item > 0) for item in items]


def same(items: list[Any]) -> list[Any]:
    return items


def functions(folder: Path) -> dict[str, Probe | None]:
    """The questions for functions."""
    x = np.arange(6, dtype=np.float32) - 2
    rows = [[x + n, x - n][: 1 + n % 2] for n in range(6)]
    return {
        "alone = together": _asked(doubled, rows),
        "coupled rows": _asked(ranked, [[5, n] for n in range(6)]),
        "batchless input": _asked(scaled, [[{"x": x, "rate": n % 2}] for n in range(6)]),
        "time on axis 0": _asked(summed, [[np.ones((n, 2))] for n in (100, 3, 3, 40)]),
        "ragged outputs": _asked(found, [[x * n] for n in range(3)]),
        "null": _asked(same, [[None], [[None, 1]]]),
        "bytes": _asked(same, [[b"a\xff\0"]]),
    }


def function_dtypes(folder: Path) -> dict[str, Probe | None]:
    """Arrays of every type."""
    found: dict[str, Probe | None] = {}
    for dtype in (*DTYPES, "datetime64[ns]"):
        plain = np.array(["a", "b"] if dtype == "str" else [1, 0])
        kind = plain.dtype if dtype == "str" else numpy_type(dtype)
        payload = [plain.astype(kind)]
        found[dtype] = Probe(
            {"RUNTIME": f"{__name__}.same"},
            [payload],
            lambda payload: [_known(each) for each in payload],
        )
    return found


def _known(array: Any) -> Any:
    return array if array.dtype.kind in "biufcMU" else array.astype(float)


def _asked(function: Callable[[list[Any]], Any], payloads: list[Any]) -> Probe:
    """A function with items, each of which is to have the answer that it has alone."""
    return Probe(
        {"RUNTIME": f"{__name__}.{function.__name__}"},
        payloads,
        lambda items: [function([item])[0] for item in items],
    )


def texts(folder: Path) -> dict[str, Probe | None]:
    """The questions for sentences of several lengths."""
    case = cases.transformers(folder)
    right = dict(zip(case.payload, case.direct(), strict=True))
    plain = Probe(
        case.declared,
        [[text] for text in right] + [list(right)[::-1]],
        lambda payload: [right[text] for text in payload],
        cases.near,
    )
    as_bytes = replace(
        plain,
        payloads=[[text.encode()] for text in right],
        direct=lambda payload: [right[text.decode()] for text in payload],
    )
    return {
        "alone = together": plain,
        "null": replace(plain, payloads=[[None]], direct=None),
        "bytes": as_bytes,
    }


def pictures(make: Callable[[Path], cases.Case], folder: Path) -> dict[str, Probe | None]:
    """The questions for photos."""
    case = make(folder)
    assert isinstance(case.payload, list)
    bus, zidane, _ = case.payload
    right = dict(zip((bus, zidane), case.direct(), strict=False))
    plain = Probe(
        case.declared,
        [[bus], [zidane], [zidane, bus]],
        lambda payload: [right[photo] for photo in payload],
        case.is_right,
        # A second each.
        rounds=1,
    )
    return {
        "alone = together": plain,
        "null": replace(plain, payloads=[[None]], direct=None),
        "bytes": replace(plain, payloads=[[zidane]]),
    }
