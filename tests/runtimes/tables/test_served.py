"""Tables through the model host and every protocol: the same answers and the same refusals."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas
import polars
import pytest
from django.test import Client, override_settings
from django.urls import include, path

from django_inference import predictors
from django_inference.exceptions import InferenceError
from tests.hosts import PATIENCE, Host
from tests.runtimes.tables.conftest import LOCAL
from tests.runtimes.tables.test_estimators import ORDER, WAYS, as_given

pytestmark = pytest.mark.urls(
    (
        path("oip/", include("django_inference.rest.open_inference.urls")),
        path("tfs/", include("django_inference.rest.tensorflow_serving.urls")),
        path("api/", include("django_inference.rest.urls")),
    )
)


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory, pipeline: Any) -> Iterator[None]:
    file = tmp_path_factory.mktemp("people") / "people.joblib"
    joblib.dump(pipeline, file)
    entry: dict[str, Any] = {
        "MODEL": file,
        "TRUSTED": True,
        "RUNTIME_OPTIONS": {"method": "predict_proba"},
        "OPTIONS": {"timeout": PATIENCE},
        "REST": {"permission_classes": ["rest_framework.permissions.AllowAny"]},
    }
    host = Host()
    with override_settings(
        INFERENCE={"host": entry, "local": entry | {"BACKEND": LOCAL}},
        INFERENCE_HOST={"RUNTIME_DIR": host.settings.runtime_dir},
        MIDDLEWARE=[],
    ):
        yield
        predictors.reset()
        host.clean_up()


def answer(alias: str, payload: Any, *, one: bool = False) -> Any:
    """What is answered, as plain values; of an error its kind and its words."""
    predictor = predictors[alias]
    try:
        found = predictor.predict_one(payload) if one else predictor.predict(payload)
    except InferenceError as error:
        return type(error).__name__, error.message
    rows = found if isinstance(found, list) else [found]
    return [row["y"].tolist() for row in rows]


@pytest.mark.parametrize("way", WAYS)
def test_the_host_answers_tables_as_this_process_does(people: pandas.DataFrame, way: str) -> None:
    given = as_given(people[:20], way)
    assert answer("host", given) == answer("local", given)
    assert isinstance(answer("host", given), list)


VALUES: dict[str, Any] = {
    "none": None,
    "nan": math.nan,
    "na": pandas.NA,
    "nat": pandas.NaT,
    "decimal": decimal.Decimal("41.5"),
    "decimal nan": decimal.Decimal("NaN"),
    "int": 2,
    "huge": 2**70,
    "float": 2.5,
    "infinite": math.inf,
    "true": True,
    "text": "Oslo",
    "empty": "",
    "nul": "Os\0lo",
    "surrogate": "\ud800",
    "bytes": b"Rome",
    "bad bytes": b"\xff\xfe",
    "bytearray": bytearray(b"Rome"),
    "date": datetime.date(2026, 1, 2),
    "time": datetime.datetime(2026, 1, 2, 3, 4),
    "aware": datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
    "timestamp": pandas.Timestamp("2026-01-02"),
    "datetime64": np.datetime64("2026-01-02", "ns"),
    "uuid": uuid.UUID(int=7),
    "int8": np.int8(2),
    "uint64": np.uint64(2**64 - 1),
    "float32": np.float32(2.5),
    "bool_": np.bool_(True),
    "str_": np.str_("Oslo"),
    "scalar": np.array(2),
    "one": np.array([2]),
    "two": np.array([2, 3]),
    "list": [1, 2],
    "tuple": ("Oslo",),
    "dict": {"a": 1},
    "series": pandas.Series([2.0]),
    "masked": np.ma.masked,
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("column", ["age", "city", "children", "member"])
def test_a_value_is_one_thing_in_both(people: pandas.DataFrame, column: str, name: str) -> None:
    row = people.iloc[1].to_dict() | {column: VALUES[name]}
    here, there = answer("local", row, one=True), answer("host", row, one=True)
    if name in ("huge", "surrogate"):
        # What no socket takes is refused in other words.
        assert there[0] == here[0] == "InvalidInput"
    else:
        assert there == here
    assert isinstance(here, list) or here[0] == "InvalidInput"


def ask(url: str, body: Any) -> tuple[int, Any]:
    client: Any = Client(raise_request_exception=False)
    said = client.post(url, json.dumps(body), content_type="application/json")
    return said.status_code, json.loads(said.content)


def in_json(frame: pandas.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return records


def of_oip(frame: pandas.DataFrame) -> dict[str, Any]:
    types = {"age": "FP64", "city": "BYTES", "children": "INT64", "member": "BOOL"}
    records = in_json(frame)
    return {
        "inputs": [
            {
                "name": name,
                "datatype": types[name],
                "shape": [len(records)],
                "data": [row[name] for row in records],
            }
            for name in ORDER
        ]
    }


def test_every_protocol_takes_a_table_with_gaps(pipeline: Any, people: pandas.DataFrame) -> None:
    frame = people[:9]
    assert frame["age"].isna().any()
    expected = pipeline.predict_proba(frame)
    rows = [{name: row[name] for name in ORDER} for row in in_json(frame)]
    columns = {name: [row[name] for row in rows] for name in ORDER}
    in_order = [[row[name] for name in frame] for row in rows]
    for body, read in (
        ({"items": rows}, lambda said: [row["y"] for row in said["results"]]),
        ({"items": in_order}, lambda said: [row["y"] for row in said["results"]]),
        ({"inputs": columns}, lambda said: said["outputs"]["y"]),
        ({"inputs": in_order}, lambda said: said["outputs"]["y"]),
        ({"inputs": {"x": in_order}}, lambda said: said["outputs"]["y"]),
    ):
        status, said = ask("/api/host/", body)
        assert status == 200, said
        np.testing.assert_allclose(read(said), expected)
    status, said = ask("/oip/v2/models/host/infer", of_oip(frame))
    assert status == 200, said
    np.testing.assert_allclose(np.reshape(said["outputs"][0]["data"], (-1, 2)), expected)
    for body, key in (
        ({"instances": rows}, "predictions"),
        ({"instances": in_order}, "predictions"),
        ({"inputs": columns}, "outputs"),
    ):
        status, said = ask("/tfs/v1/models/host:predict", body)
        assert status == 200, said
        np.testing.assert_allclose(said[key], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"city": "Paris"}, "'city' takes one of 'Oslo', 'Rome', 'Tokyo'"),
        ({"city": None}, "'city' takes texts, and not null"),
        ({"city": 1}, "'city' takes texts|not all texts"),
        ({"age": "old"}, "'age' .*"),
        ({"age": [1, 2]}, "'age'|inputs"),
        ({"children": 1.5}, "'children' .*"),
        ({"member": "yes"}, "'member' .*"),
        ({"height": 2.0}, "'height' is not known|same names"),
    ],
)
def test_every_protocol_refuses_alike(
    people: pandas.DataFrame, change: dict[str, Any], message: str
) -> None:
    rows = in_json(people[1:3])
    rows = [row | change for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    types = {"age": "FP64", "city": "BYTES", "children": "INT64", "member": "BOOL"}
    tensors = [
        {"name": name, "datatype": types.get(name, "FP64"), "shape": [2], "data": data}
        for name, data in columns.items()
    ]
    for url, body in (
        ("/api/host/", {"items": rows}),
        ("/api/host/", {"item": rows[0]}),
        ("/api/host/", {"inputs": columns}),
        ("/oip/v2/models/host/infer", {"inputs": tensors}),
        ("/tfs/v1/models/host:predict", {"instances": rows}),
        ("/tfs/v1/models/host:predict", {"inputs": columns}),
    ):
        status, said = ask(url, body)
        assert status == 400, (url, body, said)
        assert not any(code in str(said) for code in ("<U", "|S", "object values"))


def test_what_a_job_keeps_of_a_data_frame(people: pandas.DataFrame) -> None:
    from django_inference.frames import as_item, as_payload
    from django_inference.packing import pack, unpack

    frame = people[:9].assign(city=people["city"][:9].where(people["age"][:9].notna()))
    frame = frame.assign(city="Oslo")
    for given in (frame, polars.DataFrame(frame.to_dict("list"))):
        kept = unpack(pack(as_payload(given)))
        assert answer("local", kept) == answer("local", frame)
    row = unpack(pack(as_item(frame.iloc[1])))
    assert answer("local", row, one=True) == answer("local", frame.iloc[1], one=True)
