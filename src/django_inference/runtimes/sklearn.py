"""Estimators of scikit-learn, or with its interface, saved by joblib or skops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.estimators import framework_of, set_threads, version_warnings
from django_inference.runtimes.features import Features
from django_inference.runtimes.loading import model_file, required, usable_cores
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
    `y`, or `y0`, `y1`, … where the estimator returns a list of arrays. Where there is pandas,
    an estimator that was fitted on a data frame is given one.

    Args:
        method: of the estimator, such as `predict`, `predict_proba`, `decision_function`
            or `transform`.
        dtype: of `x`; `str` for an estimator of categories given as text. For one that was
            fitted on a data frame also a dict of its columns, each with its type: then each
            is an input of its own.
        trusted_types: types beyond scikit-learn's own that a `.skops` file may hold; all
            of them where the predictor is trusted.
        mmap_mode: as joblib takes it; with "r", replicas share the arrays of a file that
            was saved without compression.
        threads: that one call is spread over; None for as many as this process may use
            cores, or as the estimator was saved with where these are fewer. A number holds
            for the whole process.
    """

    requires: ClassVar[tuple[str, ...]] = ("sklearn", "joblib")
    extra: ClassVar[str] = "sklearn"
    suffixes: ClassVar[tuple[str, ...]] = (*_PICKLES, ".skops")
    runs_code: ClassVar[tuple[str, ...]] = _PICKLES
    needs_artifact: ClassVar[bool] = True
    can_share_weights: ClassVar[bool] = True

    def __init__(
        self,
        *,
        method: str = "predict",
        dtype: str | Mapping[str, str] = "float64",
        trusted_types: Sequence[str] = (),
        mmap_mode: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._method = method
        self._dtype = dtype
        self._trusted_types = trusted_types
        self._mmap_mode = mmap_mode
        self._threads = threads
        self._call: Callable[[Any], Any]
        self._features: Features

    def load(self, artifact: Artifact | None) -> None:
        """Read the estimator.

        Raises:
            ValueError: it may not be read, cannot be read, lacks the method, or does not fit
                the options.
        """
        artifact = required(artifact)
        file = model_file(artifact, self.suffixes)
        read = self._read_skops if file.suffix == ".skops" else self._read_pickle
        with version_warnings() as found:
            estimator = read(file, trusted=artifact.trusted)
        self.warnings = tuple(found)
        self._call = self._bound(file, estimator)
        self._set_threads(estimator)
        self.device, self.framework = "cpu", framework_of(estimator)
        try:
            self._features = Features(estimator, self._dtype)
        except ValueError as error:
            raise ValueError(f"{file} holds a {type(estimator).__name__}: {error}") from error
        if self._features.inputs is not None:
            self.signature = Signature(self._features.inputs, self._outputs(self._features.inputs))

    def preprocess(self, item: Any) -> Any:
        """Take a text alone as `x`, for a pipeline that begins with text."""
        return {"x": item} if isinstance(item, str) else item

    def predict(self, inputs: Tensors) -> Tensors:
        """Call the estimator once."""
        x = self._features.table(inputs)
        try:
            y = self._asked(x)
        except ValueError as error:
            if not _is_finite(inputs):
                # Many estimators take no such thing, and say so.
                raise InvalidInput(str(error).partition("\n")[0]) from error
            raise
        if isinstance(y, list):
            return {f"y{index}": _array(part) for index, part in enumerate(y)}
        return {"y": _array(y)}

    def _asked(self, x: Any) -> Any:
        if not self._features.lack_names:
            return self._call(x)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return self._call(x)

    def _read_pickle(self, file: Path, *, trusted: bool) -> Any:
        if not trusted:
            raise ValueError(
                f"{file} is a pickle, which can run any code when it is loaded: set TRUSTED or "
                "pin SHA256 if you know where it comes from, or save the estimator with skops."
            )
        import joblib

        mode = self._mmap_mode or ("r" if self.share_weights else None)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message=".*mmap_mode", category=UserWarning)
                return joblib.load(file, mmap_mode=mode)
        except UserWarning as error:
            raise ValueError(
                f"{file} is compressed, so it cannot be mapped into memory: save the estimator "
                "with joblib.dump(estimator, path, compress=0)."
            ) from error
        except Exception as error:
            raise _unreadable(file, error) from error

    def _read_skops(self, file: Path, *, trusted: bool) -> Any:
        try:
            import skops.io
        except ImportError as error:
            raise ValueError(f"{file} needs skops: pip install skops") from error

        if self._mmap_mode is not None:
            raise ValueError("mmap_mode is for joblib's files; skops has no such thing.")
        if self.share_weights:
            raise ValueError(
                f"{file} cannot share its weights: save the estimator with "
                'joblib.dump(estimator, "model.joblib").'
            )
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

    def _set_threads(self, estimator: Any) -> None:
        if self._threads is None:
            set_threads(estimator, usable_cores(), at_most=True)
            return
        # For what has no `n_jobs` and uses OpenMP or BLAS.
        import threadpoolctl

        set_threads(estimator, self._threads, at_most=False)
        threadpoolctl.threadpool_limits(limits=self._threads)

    def _outputs(self, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        """An estimator does not declare what it returns, so it is tried on a row of zeros."""
        import numpy as np

        if all(spec.dtype != "str" for spec in inputs):
            # Not every estimator takes zeros: then its outputs stay undeclared.
            with suppress(Exception):
                tried = self.predict(
                    {spec.name: np.zeros((1, *spec.shape[1:]), spec.dtype) for spec in inputs}
                )
                return tuple(_spec(name, array) for name, array in tried.items())
        return ()


def _is_finite(inputs: Tensors) -> bool:
    import numpy as np

    return all(
        tensor.dtype.kind != "f" or bool(np.isfinite(tensor).all()) for tensor in inputs.values()
    )


def _array(value: Any) -> Any:
    import numpy as np

    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    return array.astype(object) if array.dtype.kind == "U" else array


def _spec(name: str, array: Any) -> TensorSpec:
    dtype = "str" if array.dtype.kind == "O" else array.dtype.name
    return TensorSpec(name, dtype, (-1, *array.shape[1:]))


def _unreadable(file: Path, error: Exception) -> ValueError:
    return ValueError(f"{file} cannot be read: {type(error).__name__}: {error}")
