"""The columns of gradient-boosted trees, as XGBoost, LightGBM and CatBoost keep them.

Nothing here imports any of them: what is given is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from django_inference.runtimes.tables.columns import Column

_OF_LIGHTGBM = re.compile(r"Column_\d+")


def of_xgboost(booster: Any) -> tuple[list[str], dict[str, Column]] | None:
    """The names, and the columns whose types are known; None where there are no names.

    Args:
        booster: a `xgboost.Booster`.
    """
    types = booster.feature_types
    names = booster.feature_names
    if names is None:
        if not types or "c" not in types:
            return None
        names = [f"x{place}" for place in range(booster.num_features())]
    if not types:
        return names, {name: Column(name, "number", "float32") for name in names}
    known = _categories(booster) if "c" in types else []
    columns = {}
    for place, (name, kind) in enumerate(zip(names, types, strict=True)):
        if kind != "c":
            columns[name] = Column(name, "number", "float32")
        elif place < len(known) and known[place]:
            columns[name] = Column(name, "category", known=known[place], unknown="refuse")
    return names, columns


class _Categories(msgspec.Struct):
    enc: list[dict[str, Any]] = []


class _Model(msgspec.Struct):
    cats: _Categories | None = None
    gbtree: _Tree | None = None
    model: _Model | None = None


class _Tree(msgspec.Struct):
    model: _Model | None = None


class _Learner(msgspec.Struct):
    gradient_booster: _Model


class _Document(msgspec.Struct):
    learner: _Learner


def _categories(booster: Any) -> list[tuple[Any, ...]]:
    """The categories of each column, which XGBoost writes from 3.1 on; empty before."""
    document = msgspec.json.decode(bytes(booster.save_raw("json")), type=_Document)
    model = document.learner.gradient_booster
    if model.gbtree is not None:  # of DART
        model = model.gbtree.model or model
    model = model.model or model
    return [_decoded(each) for each in (model.cats.enc if model.cats else ())]


def _decoded(written: Mapping[str, Any]) -> tuple[Any, ...]:
    values = written["values"]
    if "offsets" not in written:
        return tuple(values)
    text = bytes(value & 0xFF for value in values)
    ends = written["offsets"]
    return tuple(text[start:end].decode() for start, end in zip(ends[:-1], ends[1:], strict=True))


def of_lightgbm(booster: Any) -> tuple[list[str], dict[str, Column]] | None:
    """As `of_xgboost`, of a `lightgbm.Booster`.

    Raises:
        ValueError: it has categories of a data frame and does not say of which columns.
    """
    names: list[str] = booster.feature_name()
    known: Sequence[Sequence[Any]] = booster.pandas_categorical or ()
    if not known and all(map(_OF_LIGHTGBM.fullmatch, names)):
        return None
    columns = {name: Column(name, "number", "float64") for name in names}
    if known:
        text = booster.model_to_string(num_iteration=1)
        said = re.search(r"^\[categorical_feature: ([\d,]+)\]$", text, re.MULTILINE)
        places = [int(place) for place in said[1].split(",")] if said else []
        if len(places) != len(known):
            raise ValueError(
                "it has categories of a data frame, and does not say of which of its columns: "
                "train it with categorical_feature='auto'."
            )
        for place, values in zip(places, known, strict=True):
            name = names[place]
            # A category that LightGBM has not seen counts as missing.
            columns[name] = Column(name, "category", known=tuple(values), unknown="missing")
    return names, columns


def of_catboost(model: Any) -> tuple[list[str], dict[str, Column]] | None:
    """As `of_xgboost`, of a CatBoost model.

    Raises:
        ValueError: it takes vectors in a column.
    """
    names: list[str] = list(model.feature_names_)
    labels, texts = model.get_cat_feature_indices(), model.get_text_feature_indices()
    if model.get_embedding_feature_indices():
        raise ValueError("columns of vectors (embedding_features) are not supported.")
    if names == [str(place) for place in range(len(names))]:
        if not (len(labels) or len(texts)):
            return None
        names = [f"x{place}" for place in range(len(names))]
    columns = {name: Column(name, "number", "float64") for name in names}
    for place in labels:
        columns[names[place]] = Column(names[place], "label", takes_missing=False)
    for place in texts:
        columns[names[place]] = Column(names[place], "text", takes_missing=False)
    return names, columns
