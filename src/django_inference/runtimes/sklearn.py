"""Estimators of scikit-learn, or with its interface, saved by joblib or skops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.estimators import (
    framework_of,
    selects_by_name,
    set_threads,
    version_warnings,
)
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.pickles import PICKLES, Unpickled, read_pickle, unreadable
from django_inference.runtimes.tables.columns import Column, Table
from django_inference.runtimes.tables.estimators import Found, columns_of
from django_inference.runtimes.tables.frames import frame_of, has_pandas, matrix_of, objects_of
from django_inference.runtimes.tables.options import Extra, Types, ignores, typed
from django_inference.runtimes.tables.runtime import TableRuntime
from django_inference.tensors import TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors

_METHODS = ("predict", "predict_proba", "decision_function", "transform")
_NEEDS_PANDAS = "it takes columns by their names, which needs pandas: pip install pandas"


class SklearnRuntime(TableRuntime):
    """A `.joblib`, `.pkl` or `.pickle` file, which need `TRUSTED` or `SHA256`, or `.skops`.

    An estimator that was fitted on a data frame takes a table: one input a column, each of the
    type that the fitted parts tell. One that was fitted on an array of numbers takes `x`: a
    row an item, a column a feature, in the order of the training; a pipeline that begins with
    text takes one text an item. The output is `y`, or `y0`, `y1`, … where the estimator
    returns several arrays; of `kneighbors`, `distances` and `indices`.

    Args:
        method: of the estimator, such as `predict`, `predict_proba`, `decision_function`
            or `transform`.
        dtype: a dict of the types of columns that the estimator does not tell, or one type for
            all of them; for an estimator that was fitted on an array, the type of `x`.
        extra_columns: "refuse" a column that the model does not have, or "ignore" it.
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
    suffixes: ClassVar[tuple[str, ...]] = (*PICKLES, ".skops")
    runs_code: ClassVar[tuple[str, ...]] = PICKLES
    needs_artifact: ClassVar[bool] = True
    can_share_weights: ClassVar[bool] = True

    def __init__(
        self,
        *,
        method: str = "predict",
        dtype: Types = None,
        extra_columns: Extra = "refuse",
        trusted_types: Sequence[str] = (),
        mmap_mode: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._method = method
        self._dtype = dtype
        self._ignores_extra = ignores(extra_columns)
        self._trusted_types = trusted_types
        self._mmap_mode = mmap_mode
        self._threads = threads
        self._call: Callable[[Any], Any]
        self._shape: Callable[[Tensors], Any]
        self._warns_of_names = False

    def load(self, artifact: Artifact | None) -> None:
        """Read the estimator.

        Raises:
            ValueError: it may not be read, cannot be read, lacks the method, or does not fit
                the options.
        """
        artifact = required(artifact)
        file = model_file(artifact, self.suffixes)
        read = self._read_skops if file.suffix == ".skops" else self._read_pickle
        estimator, self.warnings = read(file, trusted=artifact.trusted)
        self._call = self._bound(file, estimator)
        self._set_threads(estimator)
        self.device, self.framework = "cpu", framework_of(estimator)
        try:
            inputs = self._inputs(estimator, columns_of(estimator))
            if inputs:
                self._declare(inputs)
        except ValueError as error:
            raise ValueError(f"{file} holds a {type(estimator).__name__}: {error}") from error

    def _inputs(self, estimator: Any, found: Found) -> tuple[TensorSpec, ...]:
        """What the estimator takes; nothing where it does not say."""
        if found.is_text:
            # Without a signature: what an item of text is, is not told by the file.
            self.table = Table((Column("x", "text", takes_missing=False),))
            self._shape = lambda inputs: objects_of(self._table, {"x": _plain(inputs)})[:, 0]
            return ()
        if found.names is None and not self._has_kinds(found):
            if isinstance(self._dtype, Mapping):
                raise ValueError(
                    "it was not fitted on a data frame, so its features have no names: `dtype` "
                    "must be one type, of the input 'x'."
                )
            self._shape = _plain
            dtype = str(self._dtype or "float64")
            return () if found.count is None else (TensorSpec("x", dtype, (-1, found.count)),)
        names = found.names or [f"x{place}" for place in range(found.count or 0)]
        used = [name for name in names if name not in found.unused]
        columns = typed(used, found.columns, self._dtype, guesses=found.guesses)
        self.table = Table(
            columns,
            unused=frozenset(found.unused),
            ignores_extra=self._ignores_extra,
            has_blanks_as_underscores=hasattr(type(estimator), "booster_"),
        )
        self._shape = self._shape_of(estimator, found)
        return self._table.inputs

    def _has_kinds(self, found: Found) -> bool:
        """Whether what was fitted on an array took more than numbers."""
        return self._dtype is None and any(
            column.kind != "number" for column in found.columns.values()
        )

    def _shape_of(self, estimator: Any, found: Found) -> Callable[[Tensors], Any]:
        """How the columns are put together for the estimator."""
        table = self._table
        if found.names is None or hasattr(type(estimator), "get_cat_feature_indices"):
            if all(column.kind == "number" for column in table.columns):
                return lambda inputs: matrix_of(table, inputs, "float64")
            return lambda inputs: objects_of(table, inputs)
        if has_pandas():
            return lambda inputs: frame_of(table, inputs)
        numeric = all(column.kind in ("number", "integer") for column in table.columns)
        if table.unused or not numeric or selects_by_name(estimator):
            raise ValueError(_NEEDS_PANDAS)
        self._warns_of_names = True
        return lambda inputs: matrix_of(table, inputs, "float64")

    @property
    def _table(self) -> Table:
        assert self.table is not None
        return self.table

    def _answer(self, inputs: Tensors) -> Any:
        given = self._shape(inputs)
        if not self._warns_of_names:
            return self._call(given)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            return self._call(given)

    def _read_pickle(self, file: Path, *, trusted: bool) -> Unpickled:
        mode = self._mmap_mode or ("r" if self.share_weights else None)
        return read_pickle(file, trusted=trusted, mmap_mode=mode)

    def _read_skops(self, file: Path, *, trusted: bool) -> Unpickled:
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
            raise unreadable(file, error) from error
        refused = sorted(set(untrusted) - set(self._trusted_types))
        if refused and not trusted:
            raise ValueError(
                f"{file} holds types that are not known to be safe: {', '.join(refused)}. If "
                "they are, list them in the option `trusted_types`."
            )
        try:
            with version_warnings() as found:
                value = skops.io.load(file, trusted=untrusted)
        except Exception as error:
            raise unreadable(file, error) from error
        return Unpickled(value, tuple(found))

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


def _plain(inputs: Tensors) -> Any:
    try:
        return inputs["x"]
    except KeyError:
        given = ", ".join(inputs) or "nothing"
        raise InvalidInput(f"the input is named 'x'; given: {given}.") from None
