"""scikit-learn estimators, saved by joblib or skops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required
from django_inference.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors

_PICKLES = (".joblib", ".pkl", ".pickle")
_METHODS = ("predict", "predict_proba", "decision_function", "transform")


class SklearnRuntime(TensorRuntime):
    """A `.joblib`, `.pkl` or `.pickle` file, which need `TRUSTED` or `SHA256`, or `.skops`.

    The input is `x`: a row an item, a column a feature, in the order of the training; for
    a pipeline that begins with text, one text an item, and no signature. The output is
    `y`, or `y0`, `y1`, … where the estimator returns a list of arrays.

    Args:
        method: of the estimator, such as `predict`, `predict_proba`, `decision_function`
            or `transform`.
        dtype: of `x`; `str` for an estimator of categories given as text.
        trusted_types: types beyond scikit-learn's own that a `.skops` file may hold; all
            of them where the predictor is trusted.
        mmap_mode: as joblib takes it; with "r", replicas share the arrays of a file that
            was saved without compression.
    """

    requires: ClassVar[tuple[str, ...]] = ("sklearn", "joblib")
    extra: ClassVar[str] = "sklearn"
    suffixes: ClassVar[tuple[str, ...]] = (*_PICKLES, ".skops")
    runs_code: ClassVar[tuple[str, ...]] = _PICKLES
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self,
        *,
        method: str = "predict",
        dtype: str = "float64",
        trusted_types: Sequence[str] = (),
        mmap_mode: str | None = None,
    ) -> None:
        self._method = method
        self._dtype = dtype
        self._trusted_types = trusted_types
        self._mmap_mode = mmap_mode
        self._call: Callable[[Any], Any]
        self._has_named_features = False

    def load(self, artifact: Artifact | None) -> None:
        """Read the estimator.

        Raises:
            ValueError: it may not be read, cannot be read, or lacks the method.
        """
        artifact = required(artifact)
        file = model_file(artifact, self.suffixes)
        read = self._read_skops if file.suffix == ".skops" else self._read_pickle
        estimator = read(file, trusted=artifact.trusted)
        self._call = self._bound(file, estimator)
        self._has_named_features = hasattr(estimator, "feature_names_in_")
        features = getattr(estimator, "n_features_in_", None)
        if features is not None:
            inputs = (TensorSpec("x", self._dtype, (-1, int(features))),)
            self.signature = Signature(inputs, self._outputs(int(features)))

    def predict(self, inputs: Tensors) -> Tensors:
        """Call the estimator once."""
        try:
            x = inputs["x"]
        except KeyError:
            given = ", ".join(inputs) or "nothing"
            raise InvalidInput(f"the input is named 'x'; given: {given}.") from None
        if self._has_named_features:
            with warnings.catch_warnings():
                # The estimator was fitted on a data frame and would rather have one.
                warnings.filterwarnings("ignore", message="X does not have valid feature names")
                y = self._call(x)
        else:
            y = self._call(x)
        if isinstance(y, list):
            return {f"y{index}": _array(part) for index, part in enumerate(y)}
        return {"y": _array(y)}

    def _read_pickle(self, file: Path, *, trusted: bool) -> Any:
        if not trusted:
            raise ValueError(
                f"{file} is a pickle, which can run any code when it is loaded: set TRUSTED or "
                "pin SHA256 if you know where it comes from, or save the estimator with skops."
            )
        import joblib

        try:
            return joblib.load(file, mmap_mode=self._mmap_mode)
        except Exception as error:
            raise _unreadable(file, error) from error

    def _read_skops(self, file: Path, *, trusted: bool) -> Any:
        try:
            import skops.io
        except ImportError as error:
            raise ValueError(f"{file} needs skops: pip install skops") from error

        if self._mmap_mode is not None:
            raise ValueError("mmap_mode is for joblib's files; skops has no such thing.")
        try:
            untrusted = skops.io.get_untrusted_types(file=file)
        except Exception as error:
            raise _unreadable(file, error) from error
        refused = sorted(set(untrusted) - set(self._trusted_types))
        if refused and not trusted:
            raise ValueError(
                f"{file} holds types that are not known to be safe: {', '.join(refused)}. If "
                "they are, list them in the option `trusted_types`."
            )
        try:
            return skops.io.load(file, trusted=untrusted)
        except Exception as error:
            raise _unreadable(file, error) from error

    def _bound(self, file: Path, estimator: Any) -> Callable[[Any], Any]:
        method = getattr(estimator, self._method, None)
        if self._method.startswith("_") or not callable(method):
            has = ", ".join(each for each in _METHODS if hasattr(estimator, each)) or "none of them"
            raise ValueError(
                f"{file} holds a {type(estimator).__name__}, which has no method "
                f"{self._method!r}; it has {has}."
            )
        return method  # type: ignore[no-any-return]

    def _outputs(self, features: int) -> tuple[TensorSpec, ...]:
        """An estimator does not declare what it returns, so it is tried on a row of zeros."""
        import numpy as np

        if self._dtype != "str":
            # Not every estimator takes zeros: then its outputs stay undeclared.
            with suppress(Exception):
                tried = self.predict({"x": np.zeros((1, features), self._dtype)})
                return tuple(_spec(name, array) for name, array in tried.items())
        return ()


def _array(value: Any) -> Any:
    import numpy as np

    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    return array.astype(object) if array.dtype.kind == "U" else array


def _spec(name: str, array: Any) -> TensorSpec:
    dtype = "str" if array.dtype.kind == "O" else array.dtype.name
    return TensorSpec(name, dtype, (-1, *array.shape[1:]))


def _unreadable(file: Path, error: Exception) -> ValueError:
    return ValueError(f"{file} cannot be read: {type(error).__name__}: {error}")
