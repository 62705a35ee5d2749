"""The columns of estimators with scikit-learn's interface, found in what they were fitted to.

An estimator keeps the names of its columns and not their types. These are told by the parts
that the columns reach first: encoders keep the categories they have seen, and scikit-learn's
other parts take numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django_inference.runtimes.tables.columns import Column
from django_inference.runtimes.tables.parts import (
    booster_columns,
    chosen_names,
    column_of,
    filled_in,
    first,
    inner_of,
    is_vectorizer,
    numbered,
)

#: Packages whose parts take numbers, but for those that keep no list of what else they have seen.
_TAKE_NUMBERS = {"sklearn", "xgboost", "lightgbm", "catboost"}
_TAKE_ANYTHING = {"FunctionTransformer", "MissingIndicator", "FeatureHasher", "DictVectorizer"}


@dataclass
class Found:
    """What a fitted object tells of its columns.

    Attributes:
        names: in its own order; None where it was fitted on an array.
        count: of its columns; None where it does not say.
        columns: by name, those whose type is known.
        guesses: at types of others.
        unused: names of columns that it does not look at.
        is_text: it takes one text an item, and no columns.
    """

    names: list[str] | None = None
    count: int | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    guesses: dict[str, str] = field(default_factory=dict)
    unused: set[str] = field(default_factory=set)
    is_text: bool = False


def columns_of(estimator: Any) -> Found:
    """Look for the columns of a fitted estimator.

    Raises:
        ValueError: it takes what cannot be a column.
    """
    if is_vectorizer(first(estimator)):
        return Found(is_text=True)
    if (booster := booster_columns(first(estimator))) is not None:
        names, columns = booster
        return Found(names, len(names), columns)
    said = getattr(estimator, "feature_names_in_", None)
    # CatBoost forgets how many they are when it is saved, but not that they have numbers for names.
    count = getattr(estimator, "n_features_in_", None) or None
    if count is None:
        known = said if said is not None else getattr(first(estimator), "feature_names_", None)
        count = None if known is None else len(known)
    # Fitted on an array, columns have the names that scikit-learn itself gives them.
    names = [str(name) for name in (said if said is not None else numbered(count or 0))]
    look = _Look(names)
    look.at(estimator, names)
    look.unused.difference_update(look.columns)
    return Found(None if said is None else names, count, look.columns, look.guesses, look.unused)


class _Look:
    """One walk through the parts of an estimator, by the columns that reach them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.columns: dict[str, Column] = {}
        self.guesses: dict[str, str] = {}
        self.unused: set[str] = set()

    def at(self, part: Any, names: Sequence[str]) -> None:
        """Note what a part tells of the columns that it is given."""
        names = [name for name in names if name not in self.columns]
        if not names or part is None or isinstance(part, str):
            return
        kind = type(part).__name__
        if (booster := booster_columns(part)) is not None and len(booster[0]) == len(names):
            for name, own in zip(names, booster[0], strict=True):
                if own in booster[1]:
                    self.columns[name] = replace(booster[1][own], name=name)
        elif hasattr(part, "transformers_"):
            self._at_columns(part, names)
        elif hasattr(part, "steps"):
            self._at_steps(part.steps, names)
        elif hasattr(part, "transformer_list"):
            self._at_each((each for _, each in part.transformer_list), names)
        elif hasattr(part, "categories_") and len(part.categories_) == len(names):
            self._at_categories(part, names)
        elif getattr(part, "_preprocessor", None) is not None:
            self.at(part._preprocessor, names)
        elif is_vectorizer(part):
            self.columns |= {name: Column(name, "text", takes_missing=False) for name in names}
        elif kind == "SimpleImputer":
            self._at_imputer(part, names)
        elif (inner := inner_of(part)) is not None:
            self.at(inner, names)
            self._numbers(part, names)
        else:
            self._numbers(part, names)

    def _at_steps(self, steps: Sequence[tuple[str, Any]], names: Sequence[str]) -> None:
        """The first part that makes other columns of them tells, and an imputer before it."""
        imputed: dict[str, Column] = {}
        absent: dict[str, Any] = {}
        for place, (_, step) in enumerate(steps):
            if step is None or isinstance(step, str):
                continue
            if type(step).__name__ == "SimpleImputer":
                look = _Look(names)
                look._at_imputer(step, names, ends=False)
                imputed |= look.columns
                absent |= dict.fromkeys(names, step.missing_values)
            elif type(step).__name__ != "FunctionTransformer" or step.func is not None:
                self.at(step, names)
                self._guess(steps[place + 1 :], names)
                break
        for name in absent:
            column = self.columns.get(name)
            self.columns[name] = filled_in(column, imputed.get(name), absent[name], name)

    def _guess(self, steps: Iterable[tuple[str, Any]], names: Sequence[str]) -> None:
        """What comes after a function takes columns of the same names, which is a hint."""
        for _, step in steps:
            look = _Look(getattr(step, "feature_names_in_", ()))
            look.at(step, look.names)
            for name, column in look.columns.items():
                if name in names:
                    self.guesses[name] = column.spec.dtype

    def _at_each(self, parts: Iterable[Any], names: Sequence[str]) -> None:
        """Several parts are given the same columns: what any of them tells counts."""
        found: dict[str, Column] = {}
        for part in parts:
            look = _Look(names)
            look.at(part, names)
            found |= {name: column for name, column in look.columns.items() if _says(column, found)}
        self.columns |= found

    def _at_columns(self, part: Any, names: Sequence[str]) -> None:
        own = [str(name) for name in getattr(part, "feature_names_in_", ())] or list(names)
        if len(own) != len(names):
            own = self.names
        found: dict[str, Column] = {}
        passed: list[str] = []
        dropped: set[str] = set()
        for _, each, picked in part.transformers_:
            chosen = [name for name in chosen_names(picked, own) if name in names]
            if isinstance(each, str):
                if each == "drop":
                    dropped.update(chosen)
                else:
                    passed += chosen
                continue
            if type(each).__name__ == "FunctionTransformer" and each.func is None:
                passed += chosen
                continue
            look = _Look(chosen)
            look.at(each, chosen)
            self.guesses |= look.guesses
            found |= {name: column for name, column in look.columns.items() if _says(column, found)}
        # What is passed on is used as numbers.
        found |= {name: Column(name, "number") for name in passed if name not in found}
        self.columns |= found
        used = {
            name
            for _, each, picked in part.transformers_
            if not (isinstance(each, str) and each == "drop")
            for name in chosen_names(picked, own)
        }
        self.unused |= dropped - used

    def _at_categories(self, part: Any, names: Sequence[str]) -> None:
        refuses = getattr(part, "handle_unknown", "pass") == "error"
        drawn = list(getattr(part, "categories_", ()))
        for name, categories in zip(names, drawn, strict=True):
            column = column_of(name, categories, "refuse" if refuses else "pass")
            if column is not None:
                self.columns[name] = column

    def _at_imputer(self, part: Any, names: Sequence[str], *, ends: bool = True) -> None:
        missing = None if part.missing_values is None else Column.missing
        statistics = getattr(part, "statistics_", ())
        if len(statistics) != len(names):
            return
        dtype = getattr(part, "_fit_dtype", getattr(statistics, "dtype", None))
        for name, value in zip(names, statistics, strict=True):
            if dtype is not None and dtype.kind in "fiub":
                self.columns[name] = Column(name, "number")
            elif isinstance(value, str):
                self.columns[name] = Column(name, "text", missing=missing)
            elif isinstance(value, bool):
                self.columns[name] = Column(name, "boolean", missing=missing)
            elif ends:
                self.columns[name] = Column(name, "number")

    def _numbers(self, part: Any, names: Sequence[str]) -> None:
        own = type(part).__module__.partition(".")[0] in _TAKE_NUMBERS
        if type(part).__name__ == "FunctionTransformer":
            # Functions of these packages, such as log1p, are of numbers.
            function = getattr(part.func, "func", part.func)
            package = (getattr(function, "__module__", None) or "numpy").partition(".")[0]
            own = package in ("numpy", "scipy", "sklearn")
        elif type(part).__name__ in _TAKE_ANYTHING:
            own = False
        if own:
            self.columns |= {
                name: Column(name, "number") for name in names if name not in self.columns
            }


def _says(column: Column, found: Mapping[str, Column]) -> bool:
    """Whether a column says more than what another part has told of it."""
    before = found.get(column.name)
    if before is None:
        return True
    return column.kind != "number" and (before.kind == "number" or column.unknown == "refuse")
