"""Methods that return several arrays, or none that can be divided among rows."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from django_inference.exceptions import InvalidInput, ModelLoadFailed
from tests.runtimes.tables.conftest import Serve

X = np.random.default_rng(0).random((40, 3))
Y = (X[:, 0] > X[:, 1]).astype(int)


def test_neighbours_are_named_and_each_caller_gets_its_own(serve: Serve) -> None:
    fitted = KNeighborsClassifier(3).fit(X, Y)
    model = serve(fitted, method="kneighbors")
    distances, indices = fitted.kneighbors(X)
    assert [spec.name for spec in model.signature.outputs] == ["distances", "indices"]
    answers: list[Any] = [None] * 6

    def ask(place: int) -> None:
        answers[place] = [model.predict(X[place : place + 1]) for _ in range(20)]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, found in enumerate(answers):
        for one in found:
            np.testing.assert_allclose(one["distances"], distances[place : place + 1])
            np.testing.assert_array_equal(one["indices"], indices[place : place + 1])


@pytest.mark.parametrize(
    ("fitted", "method", "message"),
    [
        (NearestNeighbors(), "radius_neighbors", "another number of values for each row"),
        (RandomForestClassifier(1), "decision_path", "one matrix for all of them"),
        (RandomForestClassifier(3), "decision_path", "one matrix for all of them"),
    ],
)
def test_what_cannot_be_divided_fails_the_load(
    serve: Serve, fitted: Any, method: str, message: str
) -> None:
    model = serve(fitted.fit(X, Y), method=method)
    with pytest.raises(ModelLoadFailed, match=message):
        model.predict(X)


def test_sparse_answers_and_several_targets(serve: Serve) -> None:
    tree = DecisionTreeClassifier(max_depth=3).fit(X, Y)
    y = serve(tree, method="decision_path").predict(X)["y"]
    np.testing.assert_array_equal(y, tree.decision_path(X).toarray())
    targets = np.stack([Y, 1 - Y, Y], axis=1)
    forest = RandomForestClassifier(3, random_state=0).fit(X, targets)
    answer = serve(forest, method="predict_proba").predict(X)
    for place, expected in enumerate(forest.predict_proba(X)):
        np.testing.assert_allclose(answer[f"y{place}"], expected)
    encoder = OneHotEncoder().fit(pandas.DataFrame({"city": ["Oslo", "Rome"]}))
    y = serve(encoder, method="transform").predict({"city": ["Rome", "Oslo"]})["y"]
    assert y.tolist() == [[0, 1], [1, 0]]


def test_a_pipeline_of_texts_takes_texts(serve: Serve) -> None:
    texts = ["a good day", "good and nice", "a bad day", "bad and ugly"]
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, list("++--"))
    model = serve(fitted)
    for given in (
        {"x": ["nice day", "ugly"]},
        {"x": pandas.Series(["nice day", "ugly"])},
        pandas.Series(["nice day", "ugly"]),
    ):
        assert model.predict(given)["y"].tolist() == ["+", "-"]
    assert [row["y"] for row in model.predict(["nice day", b"ugly"])] == ["+", "-"]
    assert model.predict_one({"x": "nice"})["y"] == "+"
    for wrong in (1, None, b"\xff", ["nice"]):
        with pytest.raises(InvalidInput, match="'x'"):
            model.predict_one({"x": wrong})


def test_a_frame_for_a_model_without_names_is_refused(serve: Serve) -> None:
    model = serve(LinearRegression().fit(X, Y))
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    with pytest.raises(InvalidInput, match="the inputs are x .* given: a, b, c"):
        model.predict(frame)
    expected = LinearRegression().fit(X, Y).predict(X)
    np.testing.assert_allclose(model.predict(frame.to_numpy())["y"], expected)
    # A data frame whose columns have no names is an array.
    np.testing.assert_allclose(model.predict(pandas.DataFrame(X))["y"], expected)


def test_an_array_of_texts_and_numbers_has_numbered_columns(serve: Serve) -> None:
    rows = np.array([["Oslo", 1], ["Rome", 2], ["Oslo", 2], ["Rome", 1]] * 5, dtype=object)
    fitted = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, [1, 0, 1, 0] * 5)
    model = serve(fitted)
    assert [(spec.name, spec.dtype) for spec in model.signature.inputs] == [
        ("x0", "str"),
        ("x1", "int64"),
    ]
    for given in (rows, rows.tolist(), {"x0": rows[:, 0], "x1": rows[:, 1]}):
        answer = model.predict(given)
        y = [row["y"] for row in answer] if isinstance(answer, list) else answer["y"].tolist()
        assert y == fitted.predict(rows).tolist()
    with pytest.raises(InvalidInput, match="'x1' takes whole numbers, .* the text '1'"):
        model.predict([["Oslo", "1"]])
    with pytest.raises(InvalidInput, match="'x0' takes one of 'Oslo', 'Rome'.*'Tokyo'"):
        model.predict([["Tokyo", 1]])


class Doubled:
    """What a notebook defines."""


def test_a_class_of_main_is_to_be_moved(serve: Serve, tmp_path: Path) -> None:
    import __main__

    __main__.Doubled = Doubled
    Doubled.__module__ = "__main__"
    try:
        joblib.dump(Doubled(), tmp_path / "m.joblib")
    finally:
        del __main__.Doubled
        Doubled.__module__ = __name__
    with pytest.raises(ModelLoadFailed, match=r"'Doubled', which was defined .* move it"):
        serve(tmp_path / "m.joblib").predict([[1.0]])


def test_the_version_that_saved_it_is_in_the_status(serve: Serve, tmp_path: Path) -> None:
    fitted = LinearRegression().fit(X, Y)
    state = fitted.__getstate__()
    state["_sklearn_version"] = "1.0.2"

    class Old:
        def __reduce__(self) -> Any:
            return (LinearRegression, (), state)

    joblib.dump(Old(), tmp_path / "m.joblib")
    old = serve(tmp_path / "m.joblib")
    np.testing.assert_allclose(old.predict(X)["y"], fitted.predict(X))
    (replica,) = old.status().replicas
    (warning,) = replica.warnings
    assert warning.startswith("saved with scikit-learn 1.0.2, loaded with ")
