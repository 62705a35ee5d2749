"""Estimators of others, with scikit-learn's interface, and the threads of all of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import lightgbm
import numpy as np
import pytest
import sklearn
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.estimators import parts, set_threads
from django_inference.runtimes.lightgbm import LightgbmRuntime
from django_inference.runtimes.sklearn import SklearnRuntime
from django_inference.runtimes.xgboost import XgboostRuntime
from django_inference.tensors import Signature, TensorSpec

NewProcess = Callable[..., "subprocess.CompletedProcess[str]"]


def loaded(runtime: TensorRuntime, path: Path, *, trusted: bool = False) -> TensorRuntime:
    runtime.load(Artifact(path, trusted=trusted))
    return runtime


@pytest.fixture(scope="module")
def trees(digits: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Boosted trees that read digits, and the files that they can be kept in."""
    folder = tmp_path_factory.mktemp("trees")
    # On one thread: the cores may be busy with other tests.
    boosted = xgboost.XGBClassifier(n_estimators=15, max_depth=4, n_jobs=1).fit(digits.x, digits.y)
    light = lightgbm.LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1).fit(digits.x, digits.y)
    for name in ("digits.ubj", "digits.json"):
        boosted.save_model(folder / name)
    light.booster_.save_model(folder / "digits.txt")
    estimators = {
        "xgboost": boosted.set_params(n_jobs=None),
        "lightgbm": light.set_params(n_jobs=None),
        "forest": RandomForestClassifier(40, random_state=0).fit(digits.x, digits.y),
        "histogram": HistGradientBoostingClassifier(max_iter=5).fit(digits.x, digits.y),
    }
    estimators["forest"].set_params(n_jobs=-1)
    boosted.get_booster().set_param("nthread", "0")
    for name, estimator in estimators.items():
        joblib.dump(estimator, folder / f"{name}.joblib")
    return SimpleNamespace(folder=folder, **estimators)


# By way of joblib.


@pytest.mark.parametrize(("name", "dtype"), [("xgboost", "float32"), ("lightgbm", "float64")])
def test_estimators_of_others_predict_the_digits(
    trees: SimpleNamespace, digits: SimpleNamespace, name: str, dtype: str
) -> None:
    path, estimator = trees.folder / f"{name}.joblib", getattr(trees, name)
    y = loaded(SklearnRuntime(), path, trusted=True).predict({"x": digits.test_x})["y"]
    np.testing.assert_array_equal(y, estimator.predict(digits.test_x))
    assert (y == digits.test_y).mean() > 0.85

    runtime = loaded(SklearnRuntime(method="predict_proba"), path, trusted=True)
    assert runtime.signature == Signature(
        (TensorSpec("x", "float64", (-1, 64)),), (TensorSpec("y", dtype, (-1, 10)),)
    )
    y = runtime.predict({"x": digits.test_x})["y"]
    np.testing.assert_allclose(y, estimator.predict_proba(digits.test_x), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "framework"),
    [
        ("xgboost", f"xgboost {xgboost.__version__}"),
        ("lightgbm", f"lightgbm {lightgbm.__version__}"),
        ("forest", f"scikit-learn {sklearn.__version__}"),
    ],
)
def test_it_says_where_it_runs_and_on_what(
    trees: SimpleNamespace, name: str, framework: str
) -> None:
    runtime = loaded(SklearnRuntime(), trees.folder / f"{name}.joblib", trusted=True)
    assert (runtime.device, runtime.framework) == ("cpu", framework)


# In formats of their own, which run no code.


@pytest.mark.parametrize("name", ["digits.ubj", "digits.json"])
def test_xgboosts_own_files_need_no_trust(
    trees: SimpleNamespace, digits: SimpleNamespace, name: str
) -> None:
    runtime = loaded(XgboostRuntime(), trees.folder / name)
    assert runtime.signature == Signature(
        (TensorSpec("x", "float32", (-1, 64)),), (TensorSpec("y", "float32", (-1, 10)),)
    )
    assert (runtime.device, runtime.framework) == ("cpu", f"xgboost {xgboost.__version__}")
    x = digits.test_x.astype(np.float32)
    y = runtime.predict({"x": x})["y"]
    np.testing.assert_allclose(y, trees.xgboost.predict_proba(digits.test_x), rtol=1e-6)
    assert (y.argmax(axis=1) == digits.test_y).mean() > 0.85
    np.testing.assert_array_equal(runtime.predict({"x": x[:1]})["y"], y[:1])


def test_lightgbms_own_files_need_no_trust(trees: SimpleNamespace, digits: SimpleNamespace) -> None:
    runtime = loaded(LightgbmRuntime(), trees.folder / "digits.txt")
    assert runtime.signature == Signature(
        (TensorSpec("x", "float64", (-1, 64)),), (TensorSpec("y", "float64", (-1, 10)),)
    )
    assert (runtime.device, runtime.framework) == ("cpu", f"lightgbm {lightgbm.__version__}")
    y = runtime.predict({"x": digits.test_x})["y"]
    np.testing.assert_allclose(y, trees.lightgbm.predict_proba(digits.test_x), rtol=1e-6)
    assert (y.argmax(axis=1) == digits.test_y).mean() > 0.85


def test_a_missing_value_is_a_missing_value(
    trees: SimpleNamespace, digits: SimpleNamespace
) -> None:
    x = np.where(np.random.default_rng(0).random((50, 64)) < 0.1, np.nan, digits.test_x[:50])
    y = loaded(XgboostRuntime(), trees.folder / "digits.ubj").predict({"x": x.astype(np.float32)})
    np.testing.assert_allclose(y["y"], trees.xgboost.predict_proba(x), rtol=1e-6)
    y = loaded(LightgbmRuntime(), trees.folder / "digits.txt").predict({"x": x})
    np.testing.assert_allclose(y["y"], trees.lightgbm.predict_proba(x), rtol=1e-6)


def test_a_regression_gives_one_number_a_row(digits: SimpleNamespace, tmp_path: Path) -> None:
    y = digits.y.astype(float)
    boosted = xgboost.XGBRegressor(n_estimators=5, n_jobs=1).fit(digits.x, y)
    light = lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1).fit(digits.x, y)
    boosted.save_model(tmp_path / "boosted.ubj")
    light.booster_.save_model(tmp_path / "light.txt")
    x = digits.test_x.astype(np.float32)
    for runtime, path, estimator in (
        (XgboostRuntime(), "boosted.ubj", boosted),
        (LightgbmRuntime(), "light.txt", light),
    ):
        loaded(runtime, tmp_path / path)
        assert runtime.signature is not None
        assert runtime.signature.outputs[0].shape == (-1,)
        np.testing.assert_allclose(runtime.predict({"x": x})["y"], estimator.predict(x), rtol=1e-5)


def test_after_early_stopping_only_the_best_trees_count(
    digits: SimpleNamespace, tmp_path: Path
) -> None:
    estimator = xgboost.XGBClassifier(
        n_estimators=40,
        learning_rate=1.0,
        early_stopping_rounds=5,
        eval_metric="mlogloss",
        n_jobs=1,
    )
    estimator.fit(
        digits.x[:300], digits.y[:300], eval_set=[(digits.x[300:], digits.y[300:])], verbose=False
    )
    assert estimator.best_iteration + 1 < estimator.get_booster().num_boosted_rounds()
    estimator.save_model(tmp_path / "stopped.ubj")
    runtime = loaded(XgboostRuntime(), tmp_path / "stopped.ubj")
    y = runtime.predict({"x": digits.test_x.astype(np.float32)})["y"]
    np.testing.assert_allclose(y, estimator.predict_proba(digits.test_x), rtol=1e-6)


def test_trees_that_know_the_names_of_columns_take_arrays(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [20.0, 30, 40, 50] * 10, "height": [1.0, 2, 3, 4] * 10})
    labels = [0, 0, 1, 1] * 10
    boosted = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(frame, labels)
    boosted.save_model(tmp_path / "named.ubj")
    runtime = loaded(XgboostRuntime(), tmp_path / "named.ubj")
    y = runtime.predict({"x": frame.to_numpy(np.float32)})["y"]
    np.testing.assert_allclose(y, boosted.predict_proba(frame)[:, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("runtime", "name"),
    [(XgboostRuntime, "half.ubj"), (XgboostRuntime, "half.json"), (LightgbmRuntime, "half.txt")],
)
def test_a_damaged_file_is_named(
    trees: SimpleNamespace, tmp_path: Path, runtime: type[TensorRuntime], name: str
) -> None:
    whole = (trees.folder / name.replace("half", "digits")).read_bytes()
    for content in (whole[: len(whole) // 3], b"something else"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"{name} (cannot be read: |is no text file of LightGBM)"
        ):
            loaded(runtime(), tmp_path / name)


@pytest.mark.parametrize("runtime", [XgboostRuntime, LightgbmRuntime])
def test_a_missing_file_is_named(tmp_path: Path, runtime: type[TensorRuntime]) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        loaded(runtime(), tmp_path / "gone")


def test_only_what_is_surely_of_xgboost_is_taken_for_it(tmp_path: Path) -> None:
    assert runtimes.resolve(None, "/models/churn.ubj") == runtimes.BUILT_IN["xgboost"]
    for name in ("config.json", "README.txt"):
        (tmp_path / name).touch()
    with pytest.raises(LookupError, match="no runtime is known"):
        runtimes.resolve(None, str(tmp_path))


# Threads.


def jobs(estimator: Any) -> list[Any]:
    return [part.n_jobs for part in parts(estimator) if hasattr(part, "n_jobs")]


def test_no_part_of_an_estimator_runs_on_more_threads_than_there_are(
    digits: SimpleNamespace,
) -> None:
    neighbours = KNeighborsClassifier(n_jobs=8)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), neighbours), {"kneighborsclassifier__n_neighbors": [1, 2]}
    )
    search.fit(digits.x[:100], digits.y[:100])
    assert jobs(search.best_estimator_) == [8]
    set_threads(search, 3, at_most=True)
    assert jobs(search.best_estimator_) == [3]


@pytest.mark.parametrize(
    ("saved", "at_most", "expected"),
    [
        (None, True, None),
        (1, True, 1),
        (2, True, 2),
        (8, True, 3),
        (-1, True, 3),
        (None, False, 3),
        (8, False, 3),
        (1, False, 3),
    ],
)
def test_a_number_of_threads_that_was_saved_is_lowered_or_replaced(
    saved: int | None, at_most: bool, expected: int | None
) -> None:
    estimator = KNeighborsClassifier(n_jobs=saved)
    set_threads(estimator, 3, at_most=at_most)
    assert estimator.n_jobs == expected


def test_none_means_every_core_to_others(trees: SimpleNamespace) -> None:
    for name in ("xgboost", "lightgbm"):
        estimator = joblib.load(trees.folder / f"{name}.joblib")
        assert estimator.n_jobs is None
        set_threads(estimator, 1, at_most=True)
        assert estimator.n_jobs == 1


BUSY = """
import contextlib, json, os, sys, threading, time
import numpy as np
from django_inference import runtimes
from django_inference.artifacts import Artifact

def look(seconds):
    # The processor time of each thread; some come and go with a single call.
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            seconds[int(thread)] = used

def watch(seconds, over):
    while not over.wait(0.005):
        look(seconds)

x = np.random.default_rng(0).integers(0, 17, (60_000, 64)).astype("float32")
busy = {}
options = json.loads(sys.argv[2])
for kind, name in (
    ("sklearn", "xgboost.joblib"), ("sklearn", "lightgbm.joblib"), ("sklearn", "forest.joblib"),
    ("sklearn", "histogram.joblib"), ("xgboost", "digits.ubj"), ("lightgbm", "digits.txt"),
):
    runtime = runtimes.create(runtimes.BUILT_IN[kind], options)
    runtime.load(Artifact(os.path.join(sys.argv[1], name), trusted=True))
    before, after, over = {}, {}, threading.Event()
    look(before)
    watcher = threading.Thread(target=watch, args=(after, over))
    watcher.start()
    until = time.monotonic() + 10
    began = time.process_time()
    while time.process_time() - began < 0.5 and time.monotonic() < until:
        runtime.predict({"x": x})
    over.set()
    watcher.join()
    after.pop(watcher.native_id, None)
    busy[name] = sum(used - before.get(thread, 0.0) >= 0.04 for thread, used in after.items())
print(json.dumps(busy))
"""


@pytest.mark.parametrize(
    ("options", "cores", "most"),
    [({}, "1", 1), ({"threads": 1}, "2", 1), ({"threads": 2}, "1", 2)],
)
def test_the_threads_that_work_are_those_that_were_given(
    in_new_process: NewProcess,
    trees: SimpleNamespace,
    options: dict[str, int],
    cores: str,
    most: int,
) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": cores}
    done = in_new_process(BUSY, str(trees.folder), json.dumps(options), env=env)
    assert done.returncode == 0, done.stderr
    busy = json.loads(done.stdout)
    if most == 1:
        assert set(busy.values()) == {1}, busy
    elif len(os.sched_getaffinity(0)) > 1:
        assert all(count > 1 for count in busy.values()), busy
