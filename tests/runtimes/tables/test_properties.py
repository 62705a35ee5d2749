"""Random tables for random models: the framework's own answer, or a refusal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from django_inference.exceptions import InvalidInput
from django_inference.frames import as_payload
from django_inference.specs import ModelSpec
from tests.engine.engines import Engine

SIZE = 30
KINDS = {
    "number": st.floats(-1e6, 1e6, width=32),
    "whole": st.integers(-5, 5),
    "text": st.sampled_from(["x", "y", "ä", "", "nan", "1"]),
    "flag": st.booleans(),
}
#: What a client may send where something else is wanted.
ODD = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.text(max_size=3),
    st.booleans(),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@st.composite
def frames(draw: st.DrawFn) -> pandas.DataFrame:
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    columns: dict[str, Any] = {}
    for place, kind in enumerate(kinds):
        values: list[Any] = [draw(KINDS[kind]) for _ in range(6)] * (SIZE // 6)
        if kind in ("number", "text") and draw(st.booleans()):
            values[3::6] = [None if kind == "text" else math.nan] * (SIZE // 6)
        columns[f"{kind} {place}"] = values
    return pandas.DataFrame(columns)


def fitted(frame: pandas.DataFrame, unknown: str) -> Any:
    numbers = [name for name in frame if name.startswith("number")]
    others = [name for name in frame if not name.startswith("number")]
    encoder = (
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
        )
        if unknown == "encode"
        else OneHotEncoder(handle_unknown=unknown)
    )
    parts = [(make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers)]
    columns = make_column_transformer(*parts, *[(encoder, others)] * bool(others))
    return make_pipeline(columns, LogisticRegression()).fit(frame, np.arange(SIZE) % 2)


def engine_of(model: Any, folder: Path) -> Engine:
    joblib.dump(model, folder / "m.joblib")
    spec = ModelSpec(
        alias="m",
        runtime="django_inference.runtimes.sklearn.SklearnRuntime",
        runtime_options={"method": "predict_proba"},
        artifact=str(folder / "m.joblib"),
        trusted=True,
    )
    engine = Engine(spec)
    engine.runner.load()
    return engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def judged(model: Any, rows: pandas.DataFrame) -> Any:
    try:
        return model.predict_proba(rows)
    except (ValueError, TypeError):
        return None


RANDOM = settings(
    max_examples=10,
    # Each example trains a model: a failing one is shown as it was drawn.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@RANDOM
@given(frame=frames(), unknown=st.sampled_from(["error", "ignore", "encode"]), data=st.data())
def test_a_random_table_gets_the_estimators_answer(
    folder: Path, frame: pandas.DataFrame, unknown: str, data: st.DataObject
) -> None:
    model = fitted(frame, unknown)
    engine = engine_of(model, folder)
    order = data.draw(st.permutations(list(frame)))
    expected = model.predict_proba(frame)
    columns = {name: frame[name].astype(object).tolist() for name in order}
    for given_ in (frame[order], columns, frame.to_numpy(dtype=object)):
        (answer,) = engine.run(as_payload(given_))
        np.testing.assert_allclose(answer["y"], expected, rtol=1e-9)
    # Rows of several callers that share a run.
    records = frame[:6].to_dict("records")
    answers = engine.run(*([row] for row in records))
    np.testing.assert_allclose([one[0]["y"] for one in answers], expected[:6], rtol=1e-9)


@RANDOM
@given(frame=frames(), unknown=st.sampled_from(["error", "ignore", "encode"]), data=st.data())
def test_a_wrong_value_is_refused_or_what_the_estimator_makes_of_it(
    folder: Path, frame: pandas.DataFrame, unknown: str, data: st.DataObject
) -> None:
    model = fitted(frame, unknown)
    engine = engine_of(model, folder)
    name = data.draw(st.sampled_from(list(frame)))
    row = frame.iloc[0].to_dict() | {name: data.draw(ODD)}
    (answer,) = engine.run([row])
    if isinstance(answer, InvalidInput):
        assert name in answer.message
        return
    assert isinstance(answer, list), answer
    value = row[name]
    if isinstance(value, bytes):
        value = value.decode()
    direct = frame[:1].copy()
    if value is None:
        direct[name] = direct[name].where([False])
    else:
        direct[name] = pandas.Series([value])
    if name.startswith("number"):
        direct[name] = direct[name].astype(float)
    expected = judged(model, direct)
    assert expected is not None
    np.testing.assert_allclose(answer[0]["y"], expected[0], rtol=1e-9)


@RANDOM
@given(frame=frames(), data=st.data())
def test_lightgbm_gets_the_categories_of_the_training(
    folder: Path, frame: pandas.DataFrame, data: st.DataObject
) -> None:
    typed = frame.astype({name: "category" for name in frame if not name.startswith("number")})
    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=1, verbose=-1, n_jobs=1)
    model.fit(typed, np.arange(SIZE) % 2)
    engine = engine_of(model, folder)
    order = data.draw(st.permutations(list(frame)))
    rows = frame.copy()
    name = data.draw(st.sampled_from(list(frame)))
    if name.startswith("text"):
        rows.loc[2, name] = "never seen"
    (answer,) = engine.run(as_payload(rows[order]))
    if name.startswith("text"):
        rows.loc[2, name] = None
    direct = rows.astype({name: typed[name].dtype for name in frame})
    np.testing.assert_allclose(answer["y"], model.predict_proba(direct), rtol=1e-9)
