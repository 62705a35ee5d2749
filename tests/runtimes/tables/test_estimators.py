"""Estimators that were fitted on data frames, with the estimator itself as the judge."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from django_inference.exceptions import InvalidInput
from django_inference.tensors import TensorSpec
from tests.runtimes.tables.conftest import Serve

ORDER = ["member", "city", "age", "children"]


@pytest.fixture
def model(serve: Serve, pipeline: Any) -> Any:
    return serve(pipeline, method="predict_proba")


def test_the_signature_has_one_input_a_column(model: Any) -> None:
    assert model.signature.inputs == (
        TensorSpec("age", "float64", (-1,)),
        TensorSpec("city", "str", (-1,)),
        TensorSpec("children", "int64", (-1,)),
        TensorSpec("member", "bool", (-1,)),
    )
    assert model.signature.outputs == (TensorSpec("y", "float64", (-1, 2)),)


def as_given(frame: pandas.DataFrame, way: str) -> Any:
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    columns: dict[str, Any] = {name: [row[name] for row in records] for name in frame}
    return {
        "pandas": lambda: frame,
        "other order": lambda: frame[ORDER],
        "nullable": lambda: frame.convert_dtypes(),
        "categories": lambda: frame.astype({"city": "category"}),
        "arrow types": lambda: frame.convert_dtypes(dtype_backend="pyarrow"),
        "polars": lambda: polars.DataFrame(columns),
        "polars, other order": lambda: polars.DataFrame(columns).select(ORDER),
        "lazy": lambda: polars.LazyFrame(columns),
        "arrow": lambda: pyarrow.table(columns),
        "records": lambda: records,
        "records of pandas": lambda: frame.convert_dtypes().to_dict("records"),
        "series": lambda: [row for _, row in frame.iterrows()],
        "columns": lambda: columns,
        "columns of series": lambda: {name: frame[name] for name in ORDER},
        "columns of arrays": lambda: {name: frame[name].to_numpy() for name in frame},
        "rows in order": lambda: frame.to_numpy(dtype=object).tolist(),
        "array in order": lambda: frame.to_numpy(dtype=object),
        "x": lambda: {"x": frame.to_numpy(dtype=object)},
        "x of lists": lambda: {"x": [list(row.values()) for row in records]},
        "columns with an axis more": lambda: {n: frame[n].to_numpy()[:, None] for n in frame},
    }[way]()


WAYS = [
    *("pandas", "other order", "nullable", "categories", "arrow types", "polars"),
    *("polars, other order", "lazy", "arrow", "records", "records of pandas", "series"),
    *("columns", "columns of series", "columns of arrays", "rows in order", "array in order"),
    *("x", "x of lists", "columns with an axis more"),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_table_is_taken_whichever_way_it_comes(
    model: Any, pipeline: Any, people: pandas.DataFrame, way: str
) -> None:
    expected = pipeline.predict_proba(people)
    answer = model.predict(as_given(people, way))
    y = np.stack([row["y"] for row in answer]) if isinstance(answer, list) else answer["y"]
    np.testing.assert_allclose(y, expected, rtol=1e-12)


@pytest.mark.parametrize("way", ["series", "dict", "list", "array", "frame", "polars", "json"])
def test_one_row_is_taken_whichever_way_it_comes(
    model: Any, pipeline: Any, people: pandas.DataFrame, way: str
) -> None:
    frame = people[6:9]
    for place in range(len(frame)):
        one = frame[place : place + 1]
        row = one.iloc[0]
        given = {
            "series": lambda: row[ORDER],  # noqa: B023
            "dict": row.to_dict,
            "list": row.tolist,
            "array": lambda: row.to_numpy(),  # noqa: B023
            "frame": lambda: one[ORDER],  # noqa: B023
            "polars": lambda: polars.DataFrame(one.to_dict("list")),  # noqa: B023
            "json": lambda: {k: None if v != v else v for k, v in row.items()},  # noqa: B023
        }[way]()
        y = model.predict_one(given)["y"]
        np.testing.assert_allclose(y, pipeline.predict_proba(one)[0], rtol=1e-12)


def test_map_takes_the_rows_of_a_data_frame(
    model: Any, pipeline: Any, people: pandas.DataFrame
) -> None:
    y = np.stack([row["y"] for row in model.map(people[ORDER])])
    np.testing.assert_allclose(y, pipeline.predict_proba(people), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="city"), "the column 'city' is missing"),
        (lambda f: f[["age"]], "the columns 'city', 'children', 'member' are missing"),
        (lambda f: f.assign(height=1.8), "the column 'height' is not known to the model"),
        (lambda f: f.rename(columns={"age": "Age"}), "'age' is missing, and the column 'Age'"),
        (lambda f: f.assign(age="old"), "the column 'age' takes numbers, .* the text 'old'"),
        (lambda f: f.assign(city=1), "the column 'city' takes texts, .* the number 1"),
        (lambda f: f.assign(city="Paris"), "'city' takes one of 'Oslo', 'Rome', 'Tokyo'.*'Paris'"),
        (lambda f: f.assign(city=None), "'city' takes texts, and not null"),
        (lambda f: f.assign(children=1.5), "'children' takes whole numbers, .* 1.5"),
        (lambda f: f.assign(children="2"), "'children' takes whole numbers, .* the text '2'"),
        (lambda f: f.assign(member=2), "'member' takes booleans, .* the number 2"),
        (lambda f: f.assign(member="yes"), "'member' takes booleans, .* the text 'yes'"),
        (
            lambda f: f.assign(age=datetime.date(2020, 1, 1)),
            "'age' takes numbers, .* the text '2020-01-01'",
        ),
        (lambda f: f.assign(age=np.inf), "a number is infinite in 'age': Input X contains inf"),
        (lambda f: f.set_axis([1, 2, 3, "a"], axis=1), "names of the columns must be texts"),
        (lambda f: f.set_axis(["age", "age", "city", "x"], axis=1), "cannot be read"),
        (lambda f: f[:0], "the table is empty"),
        (lambda f: f.to_numpy()[:, :3], "takes 4 columns, age, city, children, member, .*3"),
        (lambda f: {"age": [[1.0, 2.0]] * 3}, "are missing"),
        (lambda f: f.to_dict("list") | {"age": [[1.0, 2.0]] * len(f)}, "'age' .* a list"),
        (lambda f: f.to_dict("list") | {"age": 3.0}, "'age' takes a list with a value for each"),
        (lambda f: f.to_dict("list") | {"age": [1.0]}, "different numbers of rows: age has 1"),
        (lambda f: [f.to_dict("records")[0] | {"city": b"\xff"}], "bytes that are not a text"),
        (lambda f: [f.to_dict("records")[0] | {"city": "\ud800"}], "half of a surrogate pair"),
        (lambda f: [f.to_dict("records")[0] | {"city": ["Oslo"]}], "takes texts, .* a list"),
        (lambda f: [f.to_dict("records")[0] | {"age": 10**400}], "more than 64 bits"),
        (lambda f: f["city"], "takes 4 columns"),
        (lambda f: ["Oslo"], "the text 'Oslo' has none"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(
    model: Any, people: pandas.DataFrame, change: Any, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        model.predict(change(people.head(3)))
    assert raised.value.alias == model.alias
    assert not any(code in str(raised.value) for code in ("<U", "|S", "object values", "dtype"))


def test_one_offender_spoils_nobody_elses_row(
    model: Any, pipeline: Any, people: pandas.DataFrame
) -> None:
    rows = people[1:4].to_dict("records")
    with pytest.raises(InvalidInput, match="item 1: the column 'city'"):
        model.predict([rows[0], rows[1] | {"city": "Paris"}, rows[2]])
    outcomes = list(model.map([rows[0], rows[1] | {"city": None}, rows[2]], return_exceptions=True))
    assert isinstance(outcomes[1], InvalidInput)
    expected = pipeline.predict_proba(people[1:4])
    np.testing.assert_allclose(outcomes[0]["y"], expected[0])
    np.testing.assert_allclose(outcomes[2]["y"], expected[2])


def test_other_columns_can_be_ignored(
    serve: Serve, pipeline: Any, people: pandas.DataFrame
) -> None:
    model = serve(pipeline, extra_columns="ignore", method="predict_proba")
    y = model.predict(people.assign(height=1.8)[["height", *ORDER]])["y"]
    np.testing.assert_allclose(y, pipeline.predict_proba(people))


def test_values_of_python_keep_their_meaning(
    model: Any, pipeline: Any, people: pandas.DataFrame
) -> None:
    row = people.iloc[1].to_dict()
    expected = pipeline.predict_proba(people[1:2])[0]
    for change in (
        {"age": decimal.Decimal(str(row["age"]))},
        {"age": int(row["age"])},
        {"age": np.float32(row["age"])},
        {"city": row["city"].encode()},
        {"city": np.str_(row["city"])},
        {"children": float(row["children"])},
        {"children": np.int8(row["children"])},
        {"member": np.bool_(row["member"])},
        {"member": int(row["member"])},
    ):
        np.testing.assert_allclose(model.predict_one(row | change)["y"], expected, rtol=1e-12)


@pytest.mark.parametrize("gap", [None, np.nan, pandas.NA, pandas.NaT, np.float32("nan")])
def test_what_is_missing_is_one_thing(
    model: Any, pipeline: Any, people: pandas.DataFrame, gap: Any
) -> None:
    row = people.iloc[1].to_dict() | {"age": gap}
    expected = pipeline.predict_proba(people[1:2].assign(age=np.nan))[0]
    np.testing.assert_allclose(model.predict_one(row)["y"], expected)
    columns: dict[str, Any] = {name: [value] for name, value in row.items()}
    np.testing.assert_allclose(model.predict(columns)["y"][0], expected)
