"""CatBoost models, in CatBoost's own format or pickled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.pickles import PICKLES, read_pickle
from django_inference.runtimes.tables.boosters import of_catboost
from django_inference.runtimes.tables.columns import Table
from django_inference.runtimes.tables.frames import matrix_of, objects_of
from django_inference.runtimes.tables.options import Extra, Types, ignores, typed
from django_inference.runtimes.tables.runtime import TableRuntime
from django_inference.tensors import TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors

_METHODS = ("predict", "predict_proba", "predict_log_proba")


class CatboostRuntime(TableRuntime):
    """A `.cbm` file, which runs no code when it is loaded, or a pickle, which may.

    A model that was trained with names of features, with categories or with texts takes a table,
    one input a column; any other takes `x`, a row an item and a column a feature. The output is
    `y`: of `predict`, labels from a classifier and numbers from any other model.

    Args:
        method: `predict`, or of a classifier `predict_proba` or `predict_log_proba`.
        threads: that one call is spread over; None for as many as this process may use
            cores.
        dtype: a dict of types of columns that are to count for more than those in the file.
        extra_columns: "refuse" a column that the model does not have, or "ignore" it.
    """

    requires: ClassVar[tuple[str, ...]] = ("catboost",)
    extra: ClassVar[str] = "catboost"
    suffixes: ClassVar[tuple[str, ...]] = (".cbm",)
    runs_code: ClassVar[tuple[str, ...]] = PICKLES
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self,
        *,
        method: str = "predict",
        threads: int | None = None,
        dtype: Types = None,
        extra_columns: Extra = "refuse",
    ) -> None:
        self._method = method
        self._threads = usable_cores() if threads is None else threads
        self._dtype = dtype
        self._ignores_extra = ignores(extra_columns)
        self._model: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Read the trees.

        Raises:
            ValueError: the file may not be read, holds something else, or does not fit the
                options.
        """
        import catboost

        artifact = required(artifact)
        file = model_file(artifact, (*self.suffixes, *PICKLES))
        if file.suffix in PICKLES:
            self._model = read_pickle(file, trusted=artifact.trusted).value
            if not isinstance(self._model, catboost.CatBoost):
                raise ValueError(f"{file} holds a {type(self._model).__name__}, not a CatBoost.")
        else:
            self._model = _read(file)
        if self._method not in _METHODS or not hasattr(self._model, self._method):
            has = ", ".join(each for each in _METHODS if hasattr(self._model, each))
            raise ValueError(f"{file} has no method {self._method!r}; it has {has}.")
        self.device, self.framework = "cpu", f"catboost {catboost.__version__}"
        try:
            found = of_catboost(self._model)
            if found is not None:
                names, columns = found
                told = typed(names, columns, self._dtype, guesses={})
                self.table = Table(told, ignores_extra=self._ignores_extra)
                self._declare(self.table.inputs)
            else:
                features = len(self._model.feature_names_)
                self._declare((TensorSpec("x", "float64", (-1, features)),))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def _answer(self, inputs: Tensors) -> Any:
        if self.table is None:
            x = inputs["x"]
        elif all(column.kind == "number" for column in self.table.columns):
            x = matrix_of(self.table, inputs, "float64")
        else:
            x = objects_of(self.table, inputs)
        return getattr(self._model, self._method)(x, thread_count=self._threads)

    def close(self) -> None:
        """Let go of the trees."""
        self._model = None


def _read(file: Path) -> Any:
    import catboost

    try:
        model = catboost.CatBoost().load_model(str(file))
        if len(model.classes_):
            return catboost.CatBoostClassifier().load_model(str(file))
        return model
    except catboost.CatBoostError as error:
        raise ValueError(f"{file} cannot be read: {str(error).splitlines()[-1]}") from error
