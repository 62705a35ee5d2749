"""What is found of the columns in fitted objects of many kinds."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas
import polars
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from django_inference.exceptions import InvalidInput, ModelLoadFailed
from tests.runtimes.tables.conftest import Serve
from tests.runtimes.tables.own import Shifted, parts_of_dates

rng = np.random.default_rng(1)
SIZE = 80
FRAME = pandas.DataFrame(
    {
        "a": rng.random(SIZE),
        "b": rng.integers(0, 9, SIZE),
        "c": rng.choice(["x", "y", "z"], SIZE),
        "d": rng.choice(np.array(["u", "v", None], dtype=object), SIZE),
        "e": rng.choice(["good day", "bad weather", "nice and good"], SIZE),
    }
)
TARGET = ((FRAME["a"] > 0.5) ^ (FRAME["c"] == "x")).astype(int).to_numpy()


def mixed(**options: Any) -> Any:
    return make_column_transformer(
        (StandardScaler(), ["a", "b"]),
        (OneHotEncoder(handle_unknown="ignore"), ["c", "d"]),
        (TfidfVectorizer(), "e"),
        **options,
    )


ENCODED = {
    "pipeline": lambda: make_pipeline(mixed(), LogisticRegression()),
    "forest": lambda: make_pipeline(mixed(), RandomForestClassifier(5, random_state=0)),
    "search": lambda: GridSearchCV(
        make_pipeline(mixed(), LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2
    ),
    "calibrated": lambda: CalibratedClassifierCV(
        make_pipeline(mixed(), LogisticRegression()), cv=2
    ),
    "voting": lambda: VotingClassifier(
        [("a", make_pipeline(mixed(), LogisticRegression()))], voting="soft"
    ),
    "stacking": lambda: StackingClassifier(
        [("a", make_pipeline(mixed(), LogisticRegression()))], cv=2
    ),
    "by position": lambda: make_pipeline(
        ColumnTransformer(
            [
                ("n", StandardScaler(), [0, 1]),
                ("c", OneHotEncoder(handle_unknown="ignore"), slice(2, 4)),
                ("t", TfidfVectorizer(), 4),
            ]
        ),
        LogisticRegression(),
    ),
    "union": lambda: make_pipeline(
        FeatureUnion(
            [("one", mixed()), ("two", make_column_transformer((TargetEncoder(), ["c"])))]
        ),
        LogisticRegression(),
    ),
    "nested": lambda: make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b"]),
            (
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"),
                    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                ),
                ["c", "d"],
            ),
            (TfidfVectorizer(), "e"),
        ),
        LogisticRegression(),
    ),
}


@pytest.mark.parametrize("name", ENCODED)
def test_types_are_found_and_answers_are_the_estimators(serve: Serve, name: str) -> None:
    fitted = ENCODED[name]().fit(FRAME, TARGET)
    model = serve(fitted, method="predict_proba")
    found = {spec.name: spec.dtype for spec in model.signature.inputs}
    assert found == {"a": "float64", "b": "float64", "c": "str", "d": "str", "e": "str"}
    expected = fitted.predict_proba(FRAME)
    shuffled = FRAME[["e", "c", "a", "d", "b"]]
    np.testing.assert_allclose(model.predict(shuffled)["y"], expected)
    columns: dict[str, Any] = {
        name: [None if value != value else value for value in FRAME[name].tolist()]
        for name in shuffled
    }
    np.testing.assert_allclose(model.predict(polars.DataFrame(columns))["y"], expected)
    odd = FRAME[:2].assign(c="new")
    np.testing.assert_allclose(model.predict(odd)["y"], fitted.predict_proba(odd))
    with pytest.raises(InvalidInput, match="'c' takes texts, .* the number 1"):
        model.predict(FRAME[:2].assign(c=1))


@pytest.mark.parametrize("gap", [None, np.nan])
def test_a_missing_text_is_the_one_of_the_training(serve: Serve, gap: Any) -> None:
    values = pandas.Series(["u", "v", gap] * 5, dtype=object)
    frame = pandas.DataFrame({"c": values})
    fitted = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, [0, 1, 2] * 5)
    model = serve(fitted)
    for given in (
        {"c": ["u", None, "v", float("nan")]},
        polars.DataFrame({"c": ["u", None, "v", None]}),
    ):
        assert model.predict(given)["y"].tolist() == [0, 2, 1, 2]
    assert model.predict_one({"c": pandas.NA})["y"] == 2
    with pytest.raises(InvalidInput, match="the text 'nan'"):
        model.predict_one({"c": "nan"})


def test_a_placeholder_that_is_imputed_is_no_unknown_value(serve: Serve) -> None:
    frame = pandas.DataFrame({"c": ["u", "v", "?", "u"] * 5})
    fitted = make_pipeline(
        SimpleImputer(missing_values="?", strategy="most_frequent"),
        OneHotEncoder(),
        LogisticRegression(),
    ).fit(frame, [0, 1, 0, 0] * 5)
    model = serve(fitted)
    assert model.predict(frame)["y"].tolist() == fitted.predict(frame).tolist()
    with pytest.raises(InvalidInput, match="takes one of 'u', 'v'"):
        model.predict({"c": ["w"]})


def test_columns_that_are_dropped_need_not_be_there(serve: Serve) -> None:
    fitted = make_pipeline(
        make_column_transformer((StandardScaler(), ["a"]), ("passthrough", ["b"])),
        LinearRegression(),
    ).fit(FRAME, TARGET)
    model = serve(fitted)
    assert [spec.name for spec in model.signature.inputs] == ["a", "b"]
    expected = fitted.predict(FRAME)
    np.testing.assert_allclose(model.predict(FRAME)["y"], expected)
    np.testing.assert_allclose(model.predict(FRAME[["b", "a"]])["y"], expected)


def test_numbers_are_told_by_every_part_of_scikit_learn(serve: Serve) -> None:
    numbers = FRAME[["a", "b"]]
    for fitted in (
        LinearRegression(),
        make_pipeline(StandardScaler(), LinearRegression()),
        make_pipeline(FunctionTransformer(np.log1p), LinearRegression()),
        TransformedTargetRegressor(LinearRegression()),
    ):
        fitted.fit(numbers, TARGET)
        y = serve(fitted).predict(numbers[["b", "a"]])["y"]
        np.testing.assert_allclose(y, fitted.predict(numbers))


WHEN = pandas.date_range("2026-01-01 05:00", periods=SIZE, freq="7h")


def dated(zone: str | None) -> pandas.DataFrame:
    return pandas.DataFrame({"when": WHEN.tz_localize(zone), "age": FRAME["b"]})


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_dates_are_dates_whichever_way_they_come(serve: Serve, zone: str | None) -> None:
    frame = dated(zone)
    fitted = make_pipeline(FunctionTransformer(parts_of_dates), LinearRegression())
    fitted.fit(frame, np.arange(SIZE))
    with pytest.raises(ModelLoadFailed, match=r'{"dtype": {"when": "float64", "age": "float64"}}'):
        serve(fitted).predict(frame)
    kind = "datetime64[ns, UTC]" if zone else "datetime64[ns]"
    model = serve(fitted, dtype={"when": kind, "age": "int64"})
    expected = fitted.predict(frame)
    tail = "Z" if zone else ""
    times = [time.to_pydatetime() for time in frame["when"]]
    for when in (
        frame["when"],
        times,
        [time.replace(tzinfo=None).isoformat() + tail for time in times],
        polars.Series(times),
    ):
        y = model.predict({"when": when, "age": frame["age"]})["y"]
        np.testing.assert_allclose(y, expected)
    np.testing.assert_allclose(
        model.predict(polars.DataFrame(frame.to_dict("list")))["y"], expected
    )
    gap = model.predict_one({"when": None, "age": 3})["y"]
    one = frame[:1].assign(when=pandas.Series([None]).astype(frame["when"].dtype), age=3)
    np.testing.assert_allclose(gap, fitted.predict(one)[0])
    other = times[0].replace(tzinfo=None if zone else datetime.UTC)
    for wrong in (other, "yesterday", 3, True):
        with pytest.raises(InvalidInput, match="'when' takes (dates|times with their zone)"):
            model.predict_one({"when": wrong, "age": 3})


def test_what_cannot_be_found_is_asked_for_to_be_pasted(serve: Serve) -> None:
    numbers = FRAME[["a", "b"]]
    fitted = make_pipeline(Shifted(), LinearRegression()).fit(numbers, TARGET)
    with pytest.raises(ModelLoadFailed, match="types of its columns a, b") as raised:
        serve(fitted).predict(numbers)
    paste = str(raised.value).partition('as in {"dtype": ')[2].partition("}, where")[0]
    types = __import__("json").loads(paste)
    assert types == {"a": "float64", "b": "float64"}
    y = serve(fitted, dtype=types).predict(numbers[["b", "a"]])["y"]
    np.testing.assert_allclose(y, fitted.predict(numbers))
    np.testing.assert_allclose(serve(fitted, dtype="float64").predict(numbers)["y"], y)


def test_a_wrong_option_is_said(serve: Serve) -> None:
    numbers = FRAME[["a", "b"]]
    fitted = LinearRegression().fit(numbers, TARGET)
    for options, message in (
        ({"dtype": {"aa": "str"}}, r"not fitted on a column 'aa' \(did you mean 'a'"),
        ({"dtype": {"a": "texts"}}, "type 'texts' is not known"),
        ({"dtype": {"a": "datetime64[ns, CET]"}}, "UTC"),
        ({"dtype": {"a": "category"}}, "as a list"),
        ({"extra_columns": "drop"}, "'refuse' or 'ignore', not 'drop'"),
    ):
        with pytest.raises(ModelLoadFailed, match=message):
            serve(fitted, **options).predict(numbers)
