"""Gradient-boosted trees over columns, with the framework called directly as the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas
import polars
import pytest
import xgboost
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from django_inference.exceptions import InvalidInput, ModelLoadFailed
from tests.runtimes.tables.conftest import Serve

ORDER = ["member", "city", "age", "children"]
ROUNDS: dict[str, Any] = {"n_estimators": 8, "n_jobs": 1}


@pytest.fixture(scope="module")
def xgb(categorical: pandas.DataFrame, target: Any) -> Any:
    return xgboost.XGBClassifier(enable_categorical=True, **ROUNDS).fit(categorical, target)


@pytest.fixture(scope="module")
def lgbm(categorical: pandas.DataFrame, target: Any) -> Any:
    model = lightgbm.LGBMClassifier(min_child_samples=3, verbose=-1, **ROUNDS)
    return model.fit(categorical.rename(columns={"age": "the age"}), target)


@pytest.fixture(scope="module")
def cat(people: pandas.DataFrame, target: Any) -> Any:
    """With categories of all three kinds, and texts."""
    model = catboost.CatBoostClassifier(
        iterations=8,
        verbose=0,
        allow_writing_files=False,
        thread_count=1,
        cat_features=["city", "children", "member"],
        text_features=["words"],
    )
    return model.fit(with_words(people), target)


def with_words(frame: pandas.DataFrame) -> pandas.DataFrame:
    words = np.where(frame["city"] == "Rome", "a warm good day", "cold rain and wind")
    return frame.assign(words=words)


def test_xgboosts_own_file_takes_categories(
    serve: Serve, tmp_path: Path, xgb: Any, categorical: pandas.DataFrame, people: pandas.DataFrame
) -> None:
    xgb.save_model(tmp_path / "m.ubj")
    model = serve(tmp_path / "m.ubj", "xgboost")
    expected = xgb.predict_proba(categorical)[:, 1]
    assert [spec.dtype for spec in model.signature.inputs] == ["float32", "str", "int64", "float32"]
    for given in (
        categorical[ORDER],
        people[ORDER],
        polars.DataFrame(people.to_dict("list")),
        people.to_numpy(object),
        categorical.assign(
            city=categorical["city"].cat.reorder_categories(["Tokyo", "Rome", "Oslo"])
        ),
    ):
        np.testing.assert_array_equal(model.predict(given)["y"], expected)


@pytest.mark.parametrize("place", ["xgb", "lgbm", "forest"])
def test_categories_of_pandas_reach_the_classes_of_scikit_learn(
    serve: Serve,
    request: pytest.FixtureRequest,
    categorical: pandas.DataFrame,
    place: str,
) -> None:
    fitted = request.getfixturevalue(place)
    frame = categorical.rename(columns={"age": "the age"}) if place == "lgbm" else categorical
    model = serve(fitted, method="predict_proba")
    expected = fitted.predict_proba(frame)
    shuffled = frame[sorted(frame)]
    np.testing.assert_allclose(model.predict(shuffled)["y"], expected)
    plain = shuffled.astype({"city": object, "children": int})
    np.testing.assert_allclose(model.predict(plain)["y"], expected)
    for row in (frame[2:3], frame[5:6]):
        values = row.iloc[0].to_dict()
        y = model.predict_one(values)["y"]
        np.testing.assert_allclose(y, fitted.predict_proba(row)[0])
        gap = row.assign(city=pandas.Categorical([None], categories=["Oslo", "Rome", "Tokyo"]))
        y = model.predict_one(values | {"city": None})["y"]
        np.testing.assert_allclose(y, fitted.predict_proba(gap)[0])


@pytest.mark.parametrize("place", ["xgb", "lgbm", "forest"])
def test_an_unknown_category_is_what_the_framework_makes_of_it(
    serve: Serve, request: pytest.FixtureRequest, categorical: pandas.DataFrame, place: str
) -> None:
    fitted = request.getfixturevalue(place)
    frame = categorical.rename(columns={"age": "the age"}) if place == "lgbm" else categorical
    model = serve(fitted, method="predict_proba")
    row = frame[3:4].assign(city=pandas.Categorical(["Paris"]))
    if place == "xgb":
        # XGBoost itself raises, or takes it for the next category in the alphabet.
        with pytest.raises(InvalidInput, match="'city' takes one of 'Oslo', .*'Paris'"):
            model.predict(row)
    else:
        np.testing.assert_allclose(model.predict(row)["y"], fitted.predict_proba(row))


def test_lightgbms_own_file_takes_categories_and_names_with_blanks(
    serve: Serve, tmp_path: Path, lgbm: Any, categorical: pandas.DataFrame
) -> None:
    lgbm.booster_.save_model(tmp_path / "m.txt")
    model = serve(tmp_path / "m.txt", "lightgbm")
    frame = categorical.rename(columns={"age": "the age"})
    expected = lgbm.booster_.predict(frame)
    np.testing.assert_array_equal(model.predict(frame[sorted(frame)])["y"], expected)
    renamed = categorical.rename(columns={"age": "the_age"})
    np.testing.assert_array_equal(model.predict(renamed)["y"], expected)
    odd = frame[:4].assign(city=pandas.Categorical(["Paris", None, "Rome", "Oslo"]))
    np.testing.assert_array_equal(model.predict(odd)["y"], lgbm.booster_.predict(odd))
    with pytest.raises(InvalidInput, match="'the_age' is missing"):
        model.predict(categorical)


@pytest.mark.parametrize("how", ["cbm", "joblib", "in scikit-learn"])
def test_catboost_takes_categories_and_texts(
    serve: Serve, tmp_path: Path, cat: Any, people: pandas.DataFrame, how: str
) -> None:
    if how == "cbm":
        cat.save_model(str(tmp_path / "m.cbm"))
        model = serve(tmp_path / "m.cbm", "catboost", method="predict_proba")
        assert serve(tmp_path / "m.cbm", "catboost").predict(with_words(people))["y"].tolist() == (
            cat.predict(with_words(people)).tolist()
        )
    elif how == "joblib":
        joblib.dump(cat, tmp_path / "m.joblib")
        model = serve(tmp_path / "m.joblib", "catboost", method="predict_proba")
    else:
        model = serve(cat, method="predict_proba")
    frame = with_words(people)
    expected = cat.predict_proba(frame)
    for given in (
        frame[["words", *ORDER]],
        polars.DataFrame(frame.to_dict("list")),
        {name: frame[name].tolist() for name in frame},
        frame.to_numpy(object),
    ):
        np.testing.assert_allclose(model.predict(given)["y"], expected)
    new = frame[:3].assign(city="Paris")
    np.testing.assert_allclose(model.predict(new)["y"], cat.predict_proba(new))
    row = frame.iloc[2].to_dict()
    for change, message in (
        ({"city": None}, "'city' takes texts or whole numbers, and not null"),
        ({"children": 1.5}, "'children' takes texts or whole numbers, .* 1.5"),
        ({"words": None}, "'words' takes texts, and not null"),
        ({"words": 3}, "'words' takes texts, .* the number 3"),
        ({"age": "old"}, "'age' takes numbers, .* the text 'old'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            model.predict_one(row | change)


def test_catboost_without_names_takes_x(serve: Serve, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((60, 3))
    fitted = catboost.CatBoostRegressor(iterations=5, verbose=0, allow_writing_files=False)
    fitted.fit(x, x[:, 0] - x[:, 1])
    fitted.save_model(str(tmp_path / "m.cbm"))
    for model in (serve(tmp_path / "m.cbm", "catboost"), serve(fitted), serve(fitted, "catboost")):
        np.testing.assert_allclose(model.predict(x)["y"], fitted.predict(x))
        np.testing.assert_allclose(model.predict_one(x[0])["y"], fitted.predict(x)[0])
        assert model.signature.inputs[0].name == "x"


def test_catboost_refuses_a_method_that_it_lacks(serve: Serve, tmp_path: Path) -> None:
    fitted = catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False)
    fitted.fit([[1.0], [2.0]], [1.0, 2.0]).save_model(str(tmp_path / "m.cbm"))
    with pytest.raises(ModelLoadFailed, match=r"no method 'predict_proba'; it has predict\."):
        serve(tmp_path / "m.cbm", "catboost", method="predict_proba").predict([[1.0]])
    (tmp_path / "bad.cbm").write_bytes(b"no model")
    with pytest.raises(ModelLoadFailed, match=r"bad\.cbm cannot be read"):
        serve(tmp_path / "bad.cbm", "catboost").predict([[1.0]])


@pytest.mark.parametrize("booster", ["gblinear", "gbtree", "dart"])
@pytest.mark.parametrize("named", [True, False])
def test_every_booster_of_xgboost_is_loaded(
    serve: Serve, tmp_path: Path, people: pandas.DataFrame, booster: str, named: bool
) -> None:
    frame = people[["age", "children"]].fillna(30).astype(float)
    x = frame if named else frame.to_numpy()
    fitted = xgboost.XGBRegressor(booster=booster, **ROUNDS).fit(x, frame["age"] * 2)
    fitted.save_model(tmp_path / "m.ubj")
    expected = fitted.predict(x)
    for model in (serve(tmp_path / "m.ubj", "xgboost"), serve(fitted)):
        np.testing.assert_allclose(model.predict(frame.to_numpy())["y"], expected, rtol=1e-6)
        np.testing.assert_allclose(
            model.predict_one(frame.to_numpy()[0])["y"], expected[0], rtol=1e-6
        )
        if named:
            y = model.predict(frame[["children", "age"]])["y"]
            np.testing.assert_allclose(y, expected, rtol=1e-6)
        else:
            with pytest.raises(InvalidInput, match="given: age, children"):
                model.predict(frame)


def test_dart_keeps_its_categories_elsewhere(
    serve: Serve, tmp_path: Path, categorical: pandas.DataFrame, target: Any
) -> None:
    fitted = xgboost.XGBClassifier(booster="dart", enable_categorical=True, **ROUNDS)
    fitted.fit(categorical, target).save_model(tmp_path / "m.ubj")
    y = serve(tmp_path / "m.ubj", "xgboost").predict(categorical[ORDER])["y"]
    np.testing.assert_allclose(y, fitted.predict_proba(categorical)[:, 1])


def test_boosters_behind_a_scaler_take_the_columns_of_the_pipeline(
    serve: Serve, people: pandas.DataFrame, target: Any
) -> None:
    frame = people[["age", "children"]]
    fitted = make_pipeline(StandardScaler(), xgboost.XGBClassifier(**ROUNDS)).fit(frame, target)
    model = serve(fitted)
    y = model.predict(frame[["children", "age"]])["y"]
    assert y.tolist() == fitted.predict(frame).tolist()


def test_categories_that_are_not_in_the_file_are_asked_for(
    serve: Serve, tmp_path: Path, categorical: pandas.DataFrame, target: Any
) -> None:
    # As files of XGBoost before 3.1 are: the codes of pandas, and not what they stand for.
    codes = categorical.assign(
        city=categorical["city"].cat.codes, children=categorical["children"].cat.codes
    ).astype(float)
    matrix = xgboost.DMatrix(
        codes.to_numpy(),
        target,
        feature_names=list(codes),
        feature_types=["float", "c", "c", "i"],
        enable_categorical=True,
    )
    booster = xgboost.train({"max_depth": 3, "nthread": 1}, matrix, 5)
    booster.save_model(tmp_path / "m.ubj")
    with pytest.raises(ModelLoadFailed, match=r'city, children: .*"city": "float64"'):
        serve(tmp_path / "m.ubj", "xgboost").predict(categorical)
    types = {"city": ["Oslo", "Rome", "Tokyo"], "children": [0, 1, 2, 3]}
    model = serve(tmp_path / "m.ubj", "xgboost", dtype=types)
    np.testing.assert_array_equal(model.predict(categorical[ORDER])["y"], booster.predict(matrix))


def test_numbers_without_end_are_what_xgboost_makes_of_them(
    serve: Serve, tmp_path: Path, people: pandas.DataFrame, target: Any
) -> None:
    frame = people[["age", "children"]]
    fitted = xgboost.XGBClassifier(**ROUNDS).fit(frame, target)
    fitted.save_model(tmp_path / "m.ubj")
    model = serve(tmp_path / "m.ubj", "xgboost")
    for value in (np.inf, -np.inf, 1e300, np.nan):
        row = pandas.DataFrame({"age": [value], "children": [1]})
        y = model.predict(row)["y"]
        np.testing.assert_allclose(y, fitted.predict_proba(row)[:, 1], rtol=1e-6)
