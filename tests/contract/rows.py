"""The rows of the table, and the page around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.contract import item_models, kinds, table_models
from tests.contract.asking import Outcome, Probe, asked

Probes = dict[str, Probe | None]

COLUMNS = (
    *("alone = together", "coupled rows", "batchless input", "time on axis 0"),
    *("declared axis 1", "ragged outputs", "other order", "missing", "null", "bytes"),
    "unknown category",
)

HEAD = """\
# What each runtime makes of people's data

`make contract-table` has written this page. It makes small models with each framework and asks
each of them from six threads at once. Every answer is held to what the framework says when it is
called directly with the data of that caller alone. A wrong answer, or an error that is not the
caller's, fails the command.

- *right*: the framework's own answer; *refused*: `InvalidInput`, or a load that fails, with a
  sentence; –: there is no such thing with this framework;
- *proven*: requests share runs, for runs at load have shown that they may; *on requests*: the
  examples at load could not show it, so the first requests do; *alone*: a run has
  shown that they must not, and each has a run of its own;
- *coupled rows*: a row of the answer depends on the other rows of the request, and an item on those
  of other requests;
- *batchless input*: a scalar, parameters and a state of the whole call beside the rows;
- *time on axis 0*: sequences of 3 to 100 steps, where nothing says that the steps are no rows;
  *declared axis 1*: the same with `batch_axis`;
- *ragged outputs*: as many rows as were found, or none;
- *other order*, *missing*: of columns in a data frame, or of named tensors;
- *null*: a missing value among others; *bytes*: in the place of text, or the file of a picture;
- *unknown category*: one that was not in the training, or a row that an embedding does not have.

"""


def _tensors(module: str, name: str = "make") -> tuple[Callable[..., Probes], ...]:
    def make(folder: Path, *kind: str) -> kinds.Made:
        made: kinds.Made = getattr(import_module(f"tests.contract.{module}"), name)(folder, *kind)
        return made

    return (
        lambda folder: kinds.probes(partial(make, folder)),
        lambda folder: kinds.dtypes(partial(make, folder)),
    )


def _tables(make: Callable[[Path], Any]) -> tuple[Callable[..., Probes], ...]:
    return (
        lambda folder: table_models.probes(make(folder)),
        lambda folder: table_models.dtypes(make(folder)),
    )


def _pictures(name: str) -> tuple[Callable[..., Probes], ...]:
    from tests.table import cases

    return (partial(item_models.pictures, cases.CASES[name]), lambda folder: {})


#: The questions for each runtime, and those about dtypes.
ROWS: Mapping[str, tuple[Callable[..., Probes], ...]] = {
    "onnx": _tensors("onnx_models"),
    "tensorflow": _tensors("tensorflow_models", "saved_model"),
    "tensorflow, Keras": _tensors("tensorflow_models", "keras"),
    "tensorflow1": _tensors("tensorflow_models", "graph"),
    "litert": _tensors("tensorflow_models", "litert"),
    "torch": _tensors("torch_models"),
    "transformers": (item_models.texts, lambda folder: {}),
    "ultralytics": _pictures("ultralytics"),
    "yolo": _pictures("yolo"),
    "sklearn": _tables(table_models.sklearn),
    "xgboost": _tables(table_models.xgboost),
    "lightgbm": _tables(table_models.lightgbm),
    "catboost": _tables(table_models.catboost),
    "callable": (item_models.functions, item_models.function_dtypes),
}
#: Those that take a second or two each.
LIGHT = ("onnx", "torch", "sklearn", "callable")

_SHARING = {
    "not batched": "alone",
    "proven at load": "proven",
    "proven": "on requests",
    "unproven": "on requests",
}
#: Of which it is worth to say how requests are run.
_RUN = COLUMNS[:6]


def row(name: str, folder: Path) -> dict[str, str]:
    """Ask one runtime everything.

    Raises:
        WrongAnswerError: an answer is wrong.
    """
    home = folder / name
    home.mkdir()
    questions, dtypes = ROWS[name]
    cells = dict.fromkeys(COLUMNS, "–")
    refusals = {}
    for column, probe in questions(home).items():
        if probe:
            outcome = asked(probe)
            cells[column] = _cell(column, outcome)
            if outcome.refusal:
                refusals[column] = outcome.refusal
    outcomes = {dtype: asked(probe) for dtype, probe in dtypes(home).items() if probe}
    for label, is_refused in (("right", False), ("refused", True)):
        those = [dtype for dtype, each in outcomes.items() if bool(each.refusal) == is_refused]
        cells[f"dtypes {label}"] = ", ".join(those) or "–"
    for dtype, outcome in outcomes.items():
        if outcome.refusal:
            refusals[dtype] = outcome.refusal
    return cells | {"refusals": "".join(f"\n  - {c}: {said}" for c, said in refusals.items())}


def _cell(column: str, outcome: Outcome) -> str:
    if outcome.refusal:
        # Every framework has these models. It is for types only to be unknown.
        assert not outcome.at_load, outcome.refusal
        return "refused"
    return f"right, {_SHARING[outcome.batching]}" if column in _RUN else "right"


def page(rows: Mapping[str, Mapping[str, str]]) -> str:
    """The page of the documentation."""
    dtypes = ("dtypes right", "dtypes refused")
    said = "".join(f"- `{name}`:{each['refusals']}\n" for name, each in rows.items())
    return (
        f"{HEAD}{table(rows, COLUMNS)}\n## Types\n\n"
        "Of a tensor, of an array that a function takes, and of a column of numbers in a data\n"
        "frame. Types that a framework does not have are left out.\n\n"
        f"{table(rows, dtypes)}\n## What the caller is told\n\n{said}"
    )


def table(rows: Mapping[str, Mapping[str, str]], columns: tuple[str, ...]) -> str:
    """A table of Markdown."""
    lines = ["| runtime | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [line(name, cells, columns) for name, cells in rows.items()]
    return "\n".join(lines) + "\n"


def line(name: str, cells: Mapping[str, str], columns: tuple[str, ...]) -> str:
    """One row."""
    return f"| {name} | " + " | ".join(cells[column] for column in columns) + " |"
