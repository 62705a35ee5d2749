from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
from pytest_django import Settings
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from django_inference import Predictor, predictors

LOCAL = "django_inference.backends.local.LocalBackend"

Serve = Callable[..., Any]


@pytest.fixture
def serve(settings: Settings, tmp_path: Path) -> Iterator[Serve]:
    """Declares a fitted object, or a file, in this process, and returns its predictor."""
    declared: dict[str, Any] = {}

    def serve(model: Any, runtime: str = "sklearn", **options: Any) -> Predictor:
        alias = f"m{len(declared)}"
        path = model
        if not isinstance(model, Path):
            path = tmp_path / f"{alias}.joblib"
            joblib.dump(model, path)
        declared[alias] = {
            "MODEL": str(path),
            "RUNTIME": runtime,
            "RUNTIME_OPTIONS": options,
            "BACKEND": LOCAL,
            "TRUSTED": True,
            "OPTIONS": {"timeout": 60},
        }
        settings.INFERENCE = dict(declared)
        return predictors[alias]

    yield serve
    predictors.reset()


@pytest.fixture(scope="session")
def people() -> pandas.DataFrame:
    """Numbers, some of them missing, texts, whole numbers and booleans."""
    rng = np.random.default_rng(0)
    size = 120
    frame = pandas.DataFrame(
        {
            "age": rng.integers(18, 80, size).astype(float),
            "city": rng.choice(["Oslo", "Rome", "Tokyo"], size),
            "children": rng.integers(0, 4, size),
            "member": rng.choice([True, False], size),
        }
    )
    frame.loc[::7, "age"] = np.nan
    return frame


@pytest.fixture(scope="session")
def target(people: pandas.DataFrame) -> Any:
    old = people["age"].fillna(40) > 45
    return (old ^ (people["city"] == "Rome")).astype(int).to_numpy()


@pytest.fixture(scope="session")
def pipeline(people: pandas.DataFrame, target: Any) -> Any:
    """What most sites have: numbers that are imputed and scaled, and categories."""
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("city", OneHotEncoder(), ["city"]),
            ("children", OneHotEncoder(handle_unknown="ignore"), ["children", "member"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression()).fit(people, target)


@pytest.fixture(scope="session")
def categorical(people: pandas.DataFrame) -> pandas.DataFrame:
    """With categories of pandas in the place of texts and of whole numbers."""
    return people.astype({"city": "category", "children": "category"})


@pytest.fixture(scope="session")
def forest(categorical: pandas.DataFrame, target: Any) -> Any:
    return HistGradientBoostingClassifier(
        max_iter=10, categorical_features="from_dtype", min_samples_leaf=5
    ).fit(categorical, target)
