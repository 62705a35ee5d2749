"""Models over columns, and what they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from tests.contract.asking import Probe

Direct = Callable[[pandas.DataFrame], Any]
DTYPES = (
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bool", "Int64", "Float64", "boolean", "object"),
    *("string", "complex64", "datetime64[ns]"),
)


@cache
def people() -> pandas.DataFrame:
    """Numbers, some of them missing, and texts."""
    rng = np.random.default_rng(0)
    size = 120
    frame = pandas.DataFrame(
        {
            "age": rng.integers(18, 80, size).astype(float),
            "city": rng.choice(["Oslo", "Rome", "Tokyo"], size),
            "height": rng.integers(0, 2, size).astype(float),
        }
    )
    frame.loc[::7, "age"] = np.nan
    return frame


@cache
def target() -> Any:
    old = people()["age"].fillna(40) > 45
    return (old ^ (people()["city"] == "Rome")).astype(int).to_numpy()


def sklearn(folder: Path) -> tuple[dict[str, Any], Direct]:
    """A pipeline that imputes numbers and encodes categories."""
    import joblib
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    columns = ColumnTransformer(
        [("numbers", SimpleImputer(), ["age", "height"]), ("city", OneHotEncoder(), ["city"])]
    )
    fitted = make_pipeline(columns, LogisticRegression()).fit(people(), target())
    joblib.dump(fitted, folder / "m.joblib")
    options = {"method": "predict_proba"}
    declared = {"MODEL": folder / "m.joblib", "RUNTIME_OPTIONS": options}
    return declared, lambda frame: fitted.predict_proba(frame)


def xgboost(folder: Path) -> tuple[dict[str, Any], Direct]:
    """Trees over pandas' categories."""
    from xgboost import XGBClassifier

    fitted = XGBClassifier(enable_categorical=True, n_estimators=8, n_jobs=1)
    fitted.fit(_categorical(people()), target()).save_model(folder / "m.ubj")
    return {"MODEL": folder / "m.ubj"}, lambda frame: fitted.predict_proba(_categorical(frame))[
        :, 1
    ]


def lightgbm(folder: Path) -> tuple[dict[str, Any], Direct]:
    """Trees over pandas' categories."""
    from lightgbm import LGBMClassifier

    fitted = LGBMClassifier(n_estimators=8, n_jobs=1, min_child_samples=3, verbose=-1)
    fitted.fit(_categorical(people()), target()).booster_.save_model(folder / "m.txt")
    declared = {"MODEL": folder / "m.txt", "RUNTIME": "lightgbm"}
    return declared, lambda frame: fitted.booster_.predict(_categorical(frame))


def catboost(folder: Path) -> tuple[dict[str, Any], Direct]:
    """Trees over texts as categories."""
    from catboost import CatBoostClassifier

    fitted = CatBoostClassifier(
        iterations=8, verbose=0, allow_writing_files=False, thread_count=1, cat_features=["city"]
    )
    fitted.fit(people(), target()).save_model(str(folder / "m.cbm"))
    declared = {"MODEL": folder / "m.cbm", "RUNTIME_OPTIONS": {"method": "predict_proba"}}
    return declared, lambda frame: fitted.predict_proba(frame)


def probes(made: tuple[dict[str, Any], Direct]) -> dict[str, Probe | None]:
    """The questions that every runtime of tables is asked."""
    declared, direct = made
    frame = people()
    rows = [frame[n : n + 1 + n % 3] for n in range(1, 7)]

    def answer(payload: Any) -> Any:
        return {"y": direct(payload[list(frame)])}

    plain = Probe(declared, rows, answer)
    row = frame[1:3]

    def as_if(given: pandas.DataFrame, right: pandas.DataFrame | None) -> Probe:
        """The framework is given what the first table means."""
        judge = None if right is None else lambda payload: {"y": direct(right)}
        return Probe(declared, [given], judge)

    missing = row.assign(age=pandas.Series([None, 30.0], row.index, object))
    return {
        "alone = together": plain,
        "other order": replace(plain, payloads=[each[sorted(each)[::-1]] for each in rows]),
        "missing": replace(plain, payloads=[row.drop(columns="height")], direct=None),
        "null": as_if(missing, missing.astype({"age": float})),
        "bytes": as_if(row.assign(city=[each.encode() for each in row["city"]]), row),
        "unknown category": replace(plain, payloads=[row.assign(city="Paris")]),
    }


def dtypes(made: tuple[dict[str, Any], Direct]) -> dict[str, Probe | None]:
    """The column of numbers in every type of numpy and pandas."""
    declared, direct = made
    rows = people()[1:3].assign(height=[1.0, 0.0])
    found: dict[str, Probe | None] = {}
    for dtype in DTYPES:
        given = rows.assign(height=pandas.Series([1, 0], rows.index).astype(dtype))
        is_number = dtype not in ("string", "complex64", "datetime64[ns]")
        found[dtype] = Probe(
            declared, [given], (lambda payload: {"y": direct(rows)}) if is_number else None
        )
    return found


def _categorical(frame: pandas.DataFrame) -> pandas.DataFrame:
    known = [*dict.fromkeys(["Oslo", "Rome", "Tokyo", *frame["city"].dropna()])]
    return frame.assign(city=pandas.Categorical(frame["city"], categories=known))
