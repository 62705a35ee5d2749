"""What single parts of fitted estimators tell: encoders, imputers, boosters and the like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django_inference.runtimes.tables import boosters
from django_inference.runtimes.tables.columns import Column, Kind, Unknown

#: Where estimators around others keep the fitted one.
_INNER = ("best_estimator_", "estimator_", "regressor_", "estimators_", "calibrated_classifiers_")


def filled_in(column: Column | None, before: Column | None, absent: Any, name: str) -> Column:
    """A column whose missing values are filled in before the part that tells its type."""
    if column is None:
        return before or Column(name, "number")
    known = column.known
    if known is not None and isinstance(absent, str | int) and absent not in known:
        known = (*known, absent)
    missing = before.missing if before is not None else column.missing
    return replace(column, known=known, missing=missing, takes_missing=True)


def column_of(name: str, categories: Any, unknown: Unknown) -> Column | None:
    """The column that an encoder has seen these categories of; None where they are mixed."""
    values = [value.item() if hasattr(value, "item") else value for value in categories]
    missing = next((value for value in values if value is None), Column.missing)
    known = tuple(value for value in values if value is not None and value == value)
    kinds = {type(value) for value in known}
    kind: Kind
    if kinds == {str}:
        kind = "text"
    elif kinds == {bool}:
        kind = "boolean"
    elif kinds == {int}:
        kind = "integer"
    elif kinds and kinds <= {int, float}:
        kind = "number"
    else:
        return None
    return Column(
        name,
        kind,
        known=known,
        unknown=unknown,
        missing=missing,
        takes_missing=unknown != "refuse" or len(known) < len(values),
    )


def chosen_names(picked: Any, names: Sequence[str]) -> list[str]:
    """The names that a ColumnTransformer's choice of columns means."""
    if isinstance(picked, slice):
        bounds = [
            names.index(bound) + (place == 1) if isinstance(bound, str) else bound
            for place, bound in enumerate((picked.start, picked.stop))
        ]
        return list(names[bounds[0] : bounds[1] : picked.step])
    every = picked.tolist() if hasattr(picked, "tolist") else picked
    every = every if isinstance(every, list | tuple) else [every]
    if every and all(isinstance(each, bool) for each in every):
        return [name for name, chosen in zip(names, every, strict=True) if chosen]
    return [each if isinstance(each, str) else names[each] for each in every]


def booster_columns(part: Any) -> tuple[list[str], dict[str, Column]] | None:
    """The names and the columns of gradient-boosted trees; None where a part is none."""
    kind = type(part)
    if hasattr(kind, "get_booster"):
        return boosters.of_xgboost(part.get_booster())
    if hasattr(kind, "booster_"):
        return boosters.of_lightgbm(part.booster_)
    return boosters.of_catboost(part) if hasattr(kind, "get_cat_feature_indices") else None


def is_vectorizer(part: Any) -> bool:
    """It makes columns of texts, as CountVectorizer does."""
    united = getattr(part, "transformer_list", None)
    if united:
        return all(is_vectorizer(first(each)) for _, each in united)
    return hasattr(part, "build_analyzer") and hasattr(part, "transform")


def first(estimator: Any) -> Any:
    """The part that is given the items first: of pipelines, searches and the like."""
    while True:
        steps = getattr(estimator, "steps", None)
        if steps:
            estimator = next((each for _, each in steps if not isinstance(each, str)), None)
            continue
        inner = inner_of(estimator) if not hasattr(estimator, "feature_names_in_") else None
        if inner is None:
            return estimator
        estimator = inner


def inner_of(part: Any) -> Any:
    """The fitted estimator in one that is around others; None where it is around none."""
    for name in _INNER:
        inner = getattr(part, name, None)
        if name == "calibrated_classifiers_" and inner:
            return inner[0].estimator
        if isinstance(inner, list) and inner and hasattr(inner[0], "get_params"):
            return inner[0]
        if inner is not None and hasattr(inner, "get_params"):
            return inner
    return getattr(part, "estimator", None) if type(part).__name__ == "FrozenEstimator" else None


def numbered(count: int) -> list[str]:
    """The names that scikit-learn gives columns without names."""
    return [f"x{place}" for place in range(count)]
