"""The scikit-learn runtime, on a classifier of photographed digits trained here."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.sklearn import SklearnRuntime
from django_inference.tensors import Signature, TensorSpec


class Halving(StandardScaler):  # type: ignore[misc]
    """A type that skops does not know."""

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        return super().transform(X, copy) / 2


class RunsCode:
    """What a malicious pickle looks like."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def loaded(path: Path, *, trusted: bool = True, **options: Any) -> SklearnRuntime:
    runtime = SklearnRuntime(**options)
    runtime.load(Artifact(path, trusted=trusted))
    return runtime


def dumped(estimator: Any, path: Path) -> Path:
    if path.suffix == ".skops":
        skops.io.dump(estimator, path)
    elif path.suffix == ".joblib":
        joblib.dump(estimator, path)
    else:
        path.write_bytes(pickle.dumps(estimator))
    return path


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pickle", ".skops"])
def test_every_format_predicts_the_digits(
    tmp_path: Path, classifier: Any, digits: SimpleNamespace, suffix: str
) -> None:
    runtime = loaded(dumped(classifier, tmp_path / f"digits{suffix}"))
    y = runtime.predict({"x": digits.test_x})["y"]
    np.testing.assert_array_equal(y, classifier.predict(digits.test_x))
    assert (y == digits.test_y).mean() > 0.85


def test_a_batch_equals_its_rows_one_by_one(
    tmp_path: Path, classifier: Any, digits: SimpleNamespace
) -> None:
    runtime = loaded(dumped(classifier, tmp_path / "digits.joblib"), method="predict_proba")
    together = runtime.predict({"x": digits.test_x[:20]})["y"]
    for index in range(20):
        alone = runtime.predict({"x": digits.test_x[index : index + 1]})["y"]
        np.testing.assert_allclose(alone[0], together[index], rtol=1e-9)


@pytest.mark.parametrize("method", ["predict_proba", "decision_function", "predict_log_proba"])
def test_the_method_is_the_one_asked_for(
    tmp_path: Path, classifier: Any, digits: SimpleNamespace, method: str
) -> None:
    runtime = loaded(dumped(classifier, tmp_path / "digits.joblib"), method=method)
    y = runtime.predict({"x": digits.test_x})["y"]
    np.testing.assert_allclose(y, getattr(classifier, method)(digits.test_x))
    assert runtime.signature is not None
    assert runtime.signature.outputs == (TensorSpec("y", "float64", (-1, 10)),)


def test_a_transformer_transforms(tmp_path: Path, digits: SimpleNamespace) -> None:
    pca = PCA(3).fit(digits.x)
    runtime = loaded(dumped(pca, tmp_path / "pca.joblib"), method="transform")
    y = runtime.predict({"x": digits.test_x[:5]})["y"]
    np.testing.assert_allclose(y, pca.transform(digits.test_x[:5]))


@pytest.mark.parametrize(
    ("estimator", "target", "output"),
    [
        (LogisticRegression(max_iter=500), "y", TensorSpec("y", "int64", (-1,))),
        (LinearRegression(), "y", TensorSpec("y", "float64", (-1,))),
        (LinearRegression(), "x", TensorSpec("y", "float64", (-1, 64))),
        (KMeans(3, n_init=1), "y", TensorSpec("y", "int32", (-1,))),
    ],
)
def test_the_signature_says_what_goes_in_and_what_comes_out(
    tmp_path: Path, digits: SimpleNamespace, estimator: Any, target: str, output: TensorSpec
) -> None:
    estimator.fit(digits.x[:200] / 16, getattr(digits, target)[:200])
    runtime = loaded(dumped(estimator, tmp_path / "estimator.joblib"))
    assert runtime.signature == Signature((TensorSpec("x", "float64", (-1, 64)),), (output,))


def test_labels_that_are_text_come_out_as_objects(tmp_path: Path, digits: SimpleNamespace) -> None:
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "8", "9"])
    neighbours = KNeighborsClassifier(1).fit(digits.x, words[digits.y])
    runtime = loaded(dumped(neighbours, tmp_path / "words.joblib"))
    y = runtime.predict({"x": digits.x[:9]})["y"]
    assert y.tolist() == words[digits.y[:9]].tolist()
    assert y.dtype == object
    assert runtime.signature is not None
    assert runtime.signature.outputs == (TensorSpec("y", "str", (-1,)),)


def test_several_targets_come_out_one_by_one(tmp_path: Path, digits: SimpleNamespace) -> None:
    targets = np.stack([digits.y, digits.y % 2], axis=1)
    forest = RandomForestClassifier(5, random_state=0).fit(digits.x, targets)
    runtime = loaded(dumped(forest, tmp_path / "forest.joblib"), method="predict_proba")
    outputs = runtime.predict({"x": digits.test_x[:4]})
    assert [outputs[name].shape for name in ("y0", "y1")] == [(4, 10), (4, 2)]
    expected = forest.predict_proba(digits.test_x[:4])
    np.testing.assert_allclose(outputs["y1"], expected[1])


def test_a_pipeline_over_text_takes_texts_and_has_no_signature(tmp_path: Path) -> None:
    texts = ["a good day", "good and nice", "a bad day", "bad and ugly"]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, list("++--"))
    runtime = loaded(dumped(pipeline, tmp_path / "mood.joblib"))
    assert runtime.signature is None
    for dtype in (None, object):
        y = runtime.predict({"x": np.array(["nice day", "ugly day"], dtype)})["y"]
        assert y.tolist() == ["+", "-"]
    with pytest.raises(InvalidInput, match="the input is named 'x'; given: text"):
        runtime.predict({"text": np.array(["nice"])})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gaps_are_the_callers_where_the_estimator_takes_none(
    tmp_path: Path, digits: SimpleNamespace, value: float
) -> None:
    model = KNeighborsClassifier().fit(digits.x, digits.y)
    runtime = loaded(dumped(model, tmp_path / "near.joblib"))
    with pytest.raises(InvalidInput, match=r"Input X contains (NaN|infinity)"):
        runtime.predict({"x": np.full((1, 64), value)})
    with pytest.raises(ValueError, match="features"):
        # What no caller can do, thanks to the signature, is no fault of a caller.
        runtime.predict({"x": np.zeros((1, 3))})


def test_sparse_results_become_dense(tmp_path: Path) -> None:
    vectorizer = TfidfVectorizer().fit(["one two", "two three"])
    runtime = loaded(dumped(vectorizer, tmp_path / "tfidf.joblib"), method="transform")
    y = runtime.predict({"x": np.array(["two", "one"])})["y"]
    np.testing.assert_allclose(y, vectorizer.transform(["two", "one"]).toarray())


def test_categories_given_as_text_need_the_option_dtype(tmp_path: Path) -> None:
    cities = np.array([["Oslo"], ["Rome"], ["Oslo"], ["Rome"]], object)
    pipeline = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(cities, [1, 2, 1, 2])
    runtime = loaded(dumped(pipeline, tmp_path / "city.joblib"), dtype="str")
    assert runtime.signature == Signature((TensorSpec("x", "str", (-1, 1)),))
    assert runtime.predict({"x": np.array([["Rome"], ["Oslo"]])})["y"].tolist() == [2, 1]


def test_an_estimator_that_takes_no_zeros_is_loaded_without_outputs(tmp_path: Path) -> None:
    encoder = OneHotEncoder().fit([[3.0], [4.0]])
    runtime = loaded(dumped(encoder, tmp_path / "encoder.joblib"), method="transform")
    assert runtime.signature == Signature((TensorSpec("x", "float64", (-1, 1)),))
    assert runtime.predict({"x": np.array([[4.0]])})["y"].tolist() == [[0, 1]]


def test_an_estimator_fitted_on_a_data_frame_takes_arrays_without_a_warning(
    tmp_path: Path, digits: SimpleNamespace
) -> None:
    regression = LinearRegression().fit(digits.x, digits.y)
    # What fitting on a data frame leaves behind.
    regression.feature_names_in_ = np.array([f"pixel {i}" for i in range(64)], object)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        expected = regression.predict(digits.test_x)
    runtime = loaded(dumped(regression, tmp_path / "named.joblib"))
    np.testing.assert_allclose(runtime.predict({"x": digits.test_x})["y"], expected)


def test_columns_are_taken_in_the_order_of_the_training(
    tmp_path: Path, digits: SimpleNamespace
) -> None:
    columns = ColumnTransformer([("left", StandardScaler(), [0, 1]), ("right", PCA(2), [2, 3, 4])])
    columns.fit(digits.x)
    runtime = loaded(dumped(columns, tmp_path / "columns.joblib"), method="transform")
    y = runtime.predict({"x": digits.test_x})["y"]
    np.testing.assert_allclose(y, columns.transform(digits.test_x))


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pickle"])
def test_a_pickle_that_is_not_trusted_is_not_even_opened(tmp_path: Path, suffix: str) -> None:
    proof = tmp_path / "code ran"
    path = dumped(RunsCode(proof), tmp_path / f"evil{suffix}")
    with pytest.raises(ValueError, match=rf"evil\{suffix} is a pickle.*TRUSTED or pin SHA256"):
        loaded(path, trusted=False)
    assert not proof.exists()
    with pytest.raises(ValueError, match="has no method 'predict'"):
        loaded(path, trusted=True)
    assert proof.exists()


def test_a_pinned_digest_is_trust(tmp_path: Path, classifier: Any, digits: Any) -> None:
    path = dumped(classifier, tmp_path / "digits.joblib")
    runtime = SklearnRuntime()
    runtime.load(Artifact(path, sha256=Artifact(path).digest()))
    assert runtime.predict({"x": digits.x[:3]})["y"].tolist() == digits.y[:3].tolist()


def test_skops_refuses_unknown_types_until_they_are_listed(
    tmp_path: Path, digits: SimpleNamespace
) -> None:
    pipeline = make_pipeline(Halving(), LogisticRegression(max_iter=500)).fit(digits.x, digits.y)
    path = dumped(pipeline, tmp_path / "own.skops")
    unknown = f"{Halving.__module__}.Halving"
    with pytest.raises(ValueError, match=r"not known to be safe") as error:
        loaded(path, trusted=False)
    assert unknown in str(error.value)
    assert "`trusted_types`" in str(error.value)

    for runtime in (
        loaded(path, trusted=False, trusted_types=[unknown]),
        loaded(path, trusted=True),
    ):
        y = runtime.predict({"x": digits.test_x[:50]})["y"]
        np.testing.assert_array_equal(y, pipeline.predict(digits.test_x[:50]))


def test_skops_needs_no_trust_for_scikit_learns_own_types(
    tmp_path: Path, classifier: Any, digits: SimpleNamespace
) -> None:
    runtime = loaded(dumped(classifier, tmp_path / "digits.skops"), trusted=False)
    assert runtime.predict({"x": digits.x[:3]})["y"].tolist() == digits.y[:3].tolist()


def test_arrays_of_the_estimator_can_be_mapped_from_the_file(
    tmp_path: Path, digits: SimpleNamespace
) -> None:
    neighbours = KNeighborsClassifier(1, algorithm="brute").fit(digits.x, digits.y)
    path = dumped(neighbours, tmp_path / "knn.joblib")
    for mmap_mode, kind in (("r", np.memmap), (None, np.ndarray)):
        runtime = loaded(path, mmap_mode=mmap_mode)
        assert type(runtime._call.__self__._fit_X) is kind  # type: ignore[attr-defined]
        y = runtime.predict({"x": digits.x[:5]})["y"]
        assert y.tolist() == digits.y[:5].tolist()


def test_skops_cannot_be_mapped(tmp_path: Path, classifier: Any) -> None:
    path = dumped(classifier, tmp_path / "digits.skops")
    with pytest.raises(ValueError, match="mmap_mode is for joblib's files"):
        loaded(path, mmap_mode="r")


def test_a_method_that_the_estimator_lacks_lists_what_it_has(
    tmp_path: Path, digits: SimpleNamespace
) -> None:
    path = dumped(LinearRegression().fit(digits.x, digits.y), tmp_path / "line.joblib")
    with pytest.raises(ValueError) as error:
        loaded(path, method="predict_proba")
    assert "holds a LinearRegression, which has no method 'predict_proba'" in str(error.value)
    assert str(error.value).endswith("it has predict.")


def test_a_file_that_holds_no_estimator_is_refused(tmp_path: Path) -> None:
    path = dumped({"model": 1}, tmp_path / "bundle.joblib")
    with pytest.raises(ValueError, match=r"holds a dict, which has no method 'predict'"):
        loaded(path)


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".skops"])
def test_a_corrupt_file_is_named(tmp_path: Path, classifier: Any, suffix: str) -> None:
    path = dumped(classifier, tmp_path / f"half{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"half\{suffix} cannot be read: \w+"):
        loaded(path)


@pytest.mark.parametrize("suffix", [".joblib", ".skops"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf"gone\{suffix}"):
        loaded(tmp_path / f"gone{suffix}")
