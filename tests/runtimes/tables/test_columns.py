"""Estimators that were fitted on a data frame, and files whose arrays replicas share."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pandas
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from django_inference.artifacts import Artifact
from django_inference.runtimes.sklearn import SklearnRuntime
from django_inference.tensors import Signature, TensorSpec

NewProcess = Callable[..., "subprocess.CompletedProcess[str]"]

PEOPLE = pandas.DataFrame(
    {
        "age": [20.0, 30.0, 40.0, 50.0] * 5,
        "city": ["Oslo", "Rome", "Oslo", "Rome"] * 5,
        "children": [0, 1, 2, 3] * 5,
    }
)
TYPES = {"age": "float64", "city": "str", "children": "int64"}


def loaded(path: Path, *, share_weights: bool = False, **options: Any) -> SklearnRuntime:
    runtime = SklearnRuntime(**options)
    runtime.share_weights = share_weights
    runtime.load(Artifact(path, trusted=True))
    return runtime


def older(frame: Any) -> Any:
    """What a lambda would be, if pickles could hold one."""
    return frame[["age"]] + 1


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Numbers and categories, picked by the names of their columns."""
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "children"]), ("city", OneHotEncoder(), ["city"])]
    )
    pipeline = make_pipeline(columns, LogisticRegression()).fit(PEOPLE, [0, 1, 0, 1] * 5)
    path = tmp_path_factory.mktemp("mixed") / "people.joblib"
    joblib.dump(pipeline, path)
    return SimpleNamespace(path=path, pipeline=pipeline)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Numbers only, still picked by name."""
    frame = PEOPLE[["age", "children"]]
    columns = ColumnTransformer([("age", StandardScaler(), ["age"])], remainder="passthrough")
    pipeline = make_pipeline(columns, LinearRegression()).fit(frame, frame["age"] * 2)
    path = tmp_path_factory.mktemp("numbers") / "numbers.joblib"
    joblib.dump(pipeline, path)
    return SimpleNamespace(path=path, pipeline=pipeline, frame=frame)


def test_columns_are_picked_by_name_from_a_plain_array(numbers: SimpleNamespace) -> None:
    runtime = loaded(numbers.path)
    assert runtime.signature == Signature(
        (TensorSpec("age", "float64", (-1,)), TensorSpec("children", "float64", (-1,))),
        (TensorSpec("y", "float64", (-1,)),),
    )
    y = runtime.predict({"x": numbers.frame.to_numpy(np.float64)})["y"]
    np.testing.assert_allclose(y, numbers.pipeline.predict(numbers.frame))


def test_each_column_can_be_an_input_of_its_own(mixed: SimpleNamespace) -> None:
    # In whatever order the settings have them.
    runtime = loaded(mixed.path, dtype=dict(reversed(TYPES.items())), method="predict_proba")
    assert runtime.signature == Signature(
        tuple(TensorSpec(name, dtype, (-1,)) for name, dtype in TYPES.items()),
        (TensorSpec("y", "float64", (-1, 2)),),
    )
    y = runtime.predict({name: PEOPLE[name].to_numpy() for name in PEOPLE})["y"]
    np.testing.assert_allclose(y, mixed.pipeline.predict_proba(PEOPLE))


def test_columns_of_numbers_declare_what_comes_out(numbers: SimpleNamespace) -> None:
    runtime = loaded(numbers.path, dtype={"age": "float32", "children": "int32"})
    assert runtime.signature is not None
    assert runtime.signature.outputs == (TensorSpec("y", "float64", (-1,)),)


def test_categories_and_numbers_can_come_as_text(mixed: SimpleNamespace) -> None:
    runtime = loaded(mixed.path, dtype="str")
    x = PEOPLE.astype(str).to_numpy(object)
    assert runtime.predict({"x": x})["y"].tolist() == mixed.pipeline.predict(PEOPLE).tolist()


def test_a_function_is_given_the_data_frame(tmp_path: Path) -> None:
    pipeline = make_pipeline(FunctionTransformer(older, validate=False), LinearRegression())
    frame = PEOPLE[["age", "children"]]
    pipeline.fit(frame, frame["age"])
    joblib.dump(pipeline, tmp_path / "older.joblib")
    with pytest.raises(ValueError, match=r'columns age, children: .*{"dtype": {"age": "float64"'):
        loaded(tmp_path / "older.joblib")
    runtime = loaded(tmp_path / "older.joblib", dtype={"age": "float64", "children": "float64"})
    y = runtime.predict({"x": frame.to_numpy(np.float64)})["y"]
    np.testing.assert_allclose(y, frame["age"])


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (TYPES | {"height": "float64"}, "not fitted on a column 'height'.*age, city, children"),
        ({"ages": "str", "city": "str"}, r"a column 'ages' \(did you mean 'age'\?\)"),
        ({"city": "strings"}, "the type 'strings' is not known; it is 'float64', 'int64'"),
    ],
)
def test_columns_are_those_of_the_training(
    mixed: SimpleNamespace, dtype: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"people\.joblib holds a Pipeline: .*{message}"):
        loaded(mixed.path, dtype=dtype)


def test_without_names_there_are_no_columns(tmp_path: Path, digits: SimpleNamespace) -> None:
    joblib.dump(LinearRegression().fit(digits.x, digits.y), tmp_path / "line.joblib")
    with pytest.raises(ValueError, match="not fitted on a data frame"):
        loaded(tmp_path / "line.joblib", dtype={"a": "float64"})


@pytest.mark.parametrize("dtype", ["str", TYPES])
def test_without_pandas_a_choice_by_name_says_to_install_it(
    mixed: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, dtype: Any
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match="columns by their names, which needs pandas: pip"):
        loaded(mixed.path, dtype=dtype)


def test_without_pandas_names_that_do_not_matter_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = PEOPLE[["age", "children"]]
    joblib.dump(LinearRegression().fit(frame, frame["age"]), tmp_path / "line.joblib")
    monkeypatch.setitem(sys.modules, "pandas", None)
    runtime = loaded(tmp_path / "line.joblib")
    y = runtime.predict({"x": frame.to_numpy(np.float64)})["y"]
    np.testing.assert_allclose(y, frame["age"])


# Arrays that replicas share.


@pytest.fixture
def neighbours(digits: SimpleNamespace) -> Any:
    return KNeighborsClassifier(1, algorithm="brute").fit(digits.x, digits.y)


def test_replicas_that_share_the_weights_map_them(
    tmp_path: Path, neighbours: Any, digits: SimpleNamespace
) -> None:
    assert SklearnRuntime.can_share_weights
    joblib.dump(neighbours, tmp_path / "knn.joblib")
    runtime = loaded(tmp_path / "knn.joblib", share_weights=True)
    assert type(runtime._call.__self__._fit_X) is np.memmap  # type: ignore[attr-defined]
    y = runtime.predict({"x": digits.test_x[:50]})["y"]
    np.testing.assert_array_equal(y, neighbours.predict(digits.test_x[:50]))


def test_shared_weights_take_no_memory_of_the_process(
    in_new_process: NewProcess, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).random((40_000, 64))
    joblib.dump(
        KNeighborsClassifier(1, algorithm="brute").fit(rows, rows[:, 0] > 0.5),
        tmp_path / "m.joblib",
    )
    program = """
import sys, psutil
import numpy as np
import sklearn.neighbors
from django_inference.artifacts import Artifact
from django_inference.runtimes.sklearn import SklearnRuntime

def own():
    # Memory that is no part of a file, so that no other process can share it.
    return sum(mapped.anonymous for mapped in psutil.Process().memory_maps())

runtime = SklearnRuntime(threads=1)
runtime.share_weights = sys.argv[2] == "shared"
before = own()
runtime.load(Artifact(sys.argv[1], trusted=True))
print(own() - before)
"""
    used = {}
    for how in ("shared", "alone"):
        done = in_new_process(program, str(tmp_path / "m.joblib"), how)
        assert done.returncode == 0, done.stderr
        used[how] = int(done.stdout)
    assert used["alone"] - used["shared"] > 15 << 20


@pytest.mark.parametrize("how", ["joblib", "gzip"])
def test_a_compressed_file_says_how_to_save_it(tmp_path: Path, neighbours: Any, how: str) -> None:
    path = tmp_path / "knn.joblib"
    if how == "joblib":
        joblib.dump(neighbours, path, compress=3)
    else:
        path.write_bytes(gzip.compress(pickle.dumps(neighbours)))
    with pytest.raises(ValueError, match=r"knn\.joblib is compressed.*compress=0\)"):
        loaded(path, share_weights=True)
    assert loaded(path).signature is not None


def test_a_skops_file_says_how_to_save_it(tmp_path: Path, neighbours: Any) -> None:
    skops.io.dump(neighbours, tmp_path / "knn.skops")
    with pytest.raises(ValueError, match=r"cannot share its weights: .*joblib\.dump"):
        loaded(tmp_path / "knn.skops", share_weights=True)
