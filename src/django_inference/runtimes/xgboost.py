"""XGBoost models in XGBoost's own format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.tables.boosters import of_xgboost
from django_inference.runtimes.tables.columns import Table
from django_inference.runtimes.tables.frames import matrix_of
from django_inference.runtimes.tables.options import Extra, Types, ignores, typed
from django_inference.runtimes.tables.runtime import TableRuntime
from django_inference.tensors import TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors


class XgboostRuntime(TableRuntime):
    """What `save_model()` wrote: a `.ubj` or `.json` file, which runs no code when it is loaded.

    A model that was trained with names of features takes a table, one input a column; any other
    takes `x`, a row an item and a column a feature. NaN is a missing value. The output is `y`,
    as `Booster.predict()` gives it: for a classifier the probabilities. After early stopping,
    only the best trees count.

    Args:
        threads: that one call is spread over; None for as many as this process may use
            cores.
        dtype: a dict of the types of columns that the file does not tell: lists of categories,
            in the order of the training, where XGBoost before 3.1 wrote it.
        extra_columns: "refuse" a column that the model does not have, or "ignore" it.
    """

    requires: ClassVar[tuple[str, ...]] = ("xgboost",)
    extra: ClassVar[str] = "xgboost"
    suffixes: ClassVar[tuple[str, ...]] = (".ubj",)
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self, *, threads: int | None = None, dtype: Types = None, extra_columns: Extra = "refuse"
    ) -> None:
        self._threads = usable_cores() if threads is None else threads
        self._dtype = dtype
        self._ignores_extra = ignores(extra_columns)
        self._trees = (0, 0)
        self._booster: Any = None
        self._is_linear = False

    def load(self, artifact: Artifact | None) -> None:
        """Read the trees.

        Raises:
            ValueError: the file holds something else, or does not fit the options.
        """
        import xgboost

        file = model_file(required(artifact), (*self.suffixes, ".json"))
        booster = xgboost.Booster({"nthread": self._threads})
        try:
            booster.load_model(file)
        except xgboost.core.XGBoostError as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{file} cannot be read: {reason}") from error
        self._booster = booster
        if (best := booster.attr("best_iteration")) is not None:
            self._trees = (0, int(best) + 1)
        # Such a model cannot be run in place.
        self._is_linear = '"gblinear"' in booster.save_config()
        self.device, self.framework = "cpu", f"xgboost {xgboost.__version__}"
        try:
            found = of_xgboost(booster)
            if found is not None:
                names, columns = found
                told = typed(names, columns, self._dtype, guesses={})
                self.table = Table(told, ignores_extra=self._ignores_extra)
                self._declare(self.table.inputs)
            else:
                self._declare((TensorSpec("x", "float32", (-1, booster.num_features())),))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def _answer(self, inputs: Tensors) -> Any:
        x = inputs["x"] if self.table is None else matrix_of(self.table, inputs, "float32")
        if self._is_linear:
            import xgboost

            matrix = xgboost.DMatrix(x, nthread=self._threads)
            return self._booster.predict(
                matrix, iteration_range=self._trees, validate_features=False
            )
        # Names of columns are not compared: an array has none.
        return self._booster.inplace_predict(
            x, iteration_range=self._trees, validate_features=False
        )

    def close(self) -> None:
        """Let go of the trees."""
        self._booster = None
