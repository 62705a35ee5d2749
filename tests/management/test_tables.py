"""`manage.py inference predict` with the forms of HTTP, and with CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnx.parser
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from django_inference import predictors

LOCAL = "django_inference.backends.local.LocalBackend"
PRICE = """<ir_version: 8, opset_import: ["": 17]>
g (int64[n] rooms, float[n] area, string[n] city) => (float[n] price, string[n] town) {
    r = Cast <to = 1> (rooms)
    price = Mul(r, area)
    town = Identity(city)
}"""
SUMS = """<ir_version: 8, opset_import: ["": 17]>
g (float[n, 3] x) => (float[n] y) {
    axes = Constant <value_ints = [1]> ()
    y = ReduceSum <keepdims = 0> (x, axes)
}"""

Predict = Callable[..., str]


@pytest.fixture
def predict(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Runs the command in a folder with three models in this process."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("price", PRICE), ("sums", SUMS)):
        onnx.save(onnx.parser.parse_model(text), f"{name}.onnx")
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression())
    joblib.dump(pipeline.fit(["good", "great", "bad", "awful"], list("++--")), "mood.joblib")
    settings.INFERENCE = {
        "price": {"MODEL": tmp_path / "price.onnx", "BACKEND": LOCAL},
        "sums": {"MODEL": tmp_path / "sums.onnx", "BACKEND": LOCAL},
        "mood": {"MODEL": tmp_path / "mood.joblib", "BACKEND": LOCAL, "TRUSTED": True},
        "length": {"RUNTIME": "tests.sample_runtimes.lengths", "BACKEND": LOCAL},
    }

    def run(alias: str, **options: Any) -> str:
        out = io.StringIO()
        call_command("inference", "predict", alias, stdout=out, **options)
        return out.getvalue()

    return run


def test_csv_becomes_csv_with_the_answers_behind_each_row(predict: Predict) -> None:
    rows = [(rooms, rooms / 2, f"town, {rooms}") for rooms in range(1, 301)]
    with Path("rows.csv").open("w") as file:
        # The names decide, not the order.
        csv.writer(file).writerows([("city", "area", "rooms"), *(row[::-1] for row in rows)])
    said = predict("price", input="rows.csv", output="answers.csv")
    assert said == "300 rows predicted, written to answers.csv\n"
    with Path("answers.csv").open() as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["city", "area", "rooms", "price", "town"]
    assert [float(row["price"]) for row in found] == [rooms * area for rooms, area, _ in rows]
    assert [row["town"] for row in found] == [city for *_, city in rows]


def test_json_lines_and_tabs(predict: Predict) -> None:
    Path("rows.jsonl").write_text(
        '{"rooms": 2, "area": 1.5, "city": "Tokyo"}\n\n{"city": "名古屋", "rooms": 3, "area": 1}\n'
    )
    wanted = [{"price": 3.0, "town": "Tokyo"}, {"price": 3.0, "town": "名古屋"}]
    printed = predict("price", input="rows.jsonl")
    assert [json.loads(line) for line in printed.splitlines()] == wanted
    predict("price", input="rows.jsonl", output="answers.jsonl")
    assert [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()] == wanted
    Path("rows.tsv").write_text("\ufeffrooms\tarea\tcity\n2\t1.5\tTokyo\n")
    assert json.loads(predict("price", input="rows.tsv")) == wanted[0]


def test_columns_without_names_in_the_model_and_missing_cells(predict: Predict) -> None:
    Path("rows.csv").write_text("a,b,c\n1,2,3\n1,,3\n")
    printed = predict("sums", input="rows.csv").splitlines()
    assert [json.loads(line) for line in printed] == [{"y": 6.0}, {"y": None}]


def test_a_column_of_texts(predict: Predict) -> None:
    Path("rows.csv").write_text('text\n"good, great"\nawful\n')
    predict("mood", input="rows.csv", output="answers.csv")
    assert Path("answers.csv").read_text() == 'text,y\n"good, great",+\nawful,-\n'
    # A result that is no object is a column of its own.
    predict("length", input="rows.csv", output="lengths.csv")
    assert Path("lengths.csv").read_text().splitlines()[0] == "text,answer"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rows.csv is empty"),
        ("rooms,area,rooms\n", "several columns called 'rooms'"),
        ("rooms,area,city\n1,2\n", "line 2 has 2 cells for the 3 columns"),
        ("rooms,area,city\n1,2,a\n1,large,b\n", "line 3: the column 'area': expected a number"),
        ("rooms,area,city\n1.5,2,a\n", "line 2: the column 'rooms': expected a whole number"),
        ("rooms,city\n1,a\n", "row 1: .*area"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(predict: Predict, text: str, said: str) -> None:
    Path("rows.csv").write_text(text)
    with pytest.raises(CommandError, match=said):
        predict("price", input="rows.csv")


X = [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"inputs": {"x": X}}, {"y": [6.0, 3.0]}),
        ({"inputs": X}, {"y": [6.0, 3.0]}),
        ({"inputs": [[1.0, None, 3.0]]}, {"y": [None]}),
        ({"x": X}, {"y": [6.0, 3.0]}),
        ({"items": [{"x": X[0]}, {"x": X[1]}]}, [{"y": 6.0}, {"y": 3.0}]),
        ([{"x": X[0]}], [{"y": 6.0}]),
        ({"item": {"x": X[0]}}, {"y": 6.0}),
    ],
)
def test_json_is_what_the_endpoints_take(
    predict: Predict, body: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("body.json").write_text(json.dumps(body))
    assert json.loads(predict("sums", input="body.json")) == answer
    text = io.TextIOWrapper(io.BytesIO(json.dumps(body).encode()))
    monkeypatch.setattr(sys, "stdin", text)
    assert json.loads(predict("sums", input="-")) == answer


def test_the_standard_input_may_hold_arrays_and_bytes(
    predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def piped(alias: str, body: bytes) -> Any:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
        return json.loads(predict(alias, input="-"))

    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, np.array(X, "float32"))
    np.savez(npz, x=np.array(X, "float32"))
    assert piped("sums", npy.getvalue()) == piped("sums", npz.getvalue()) == {"y": [6.0, 3.0]}
    assert piped("length", b"\xff\xd8\xff") == [3]
    assert piped("length", b'{"item": {"b64": "AAECAw=="}}') == 4


def test_an_output_is_for_tables(predict: Predict) -> None:
    Path("body.json").write_text("[]")
    with pytest.raises(CommandError, match="--output is for tables"):
        predict("sums", input="body.json", output="answer.json")
    assert predictors["sums"].status().state == "UNLOADED"
