"""LightGBM models in LightGBM's own format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.tables.boosters import of_lightgbm
from django_inference.runtimes.tables.columns import Table
from django_inference.runtimes.tables.frames import matrix_of
from django_inference.runtimes.tables.options import Extra, Types, ignores, typed
from django_inference.runtimes.tables.runtime import TableRuntime
from django_inference.tensors import TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors


class LightgbmRuntime(TableRuntime):
    """The text file that `Booster.save_model()` wrote, which runs no code when it is loaded.

    A model that was trained with names of features takes a table, one input a column; any other
    takes `x`, a row an item and a column a feature. NaN is a missing value, and so is a category
    that the model has not seen. The output is `y`, as `Booster.predict()` gives it: for a
    classifier the probabilities.

    Args:
        threads: that one call is spread over; None for as many as this process may use
            cores.
        dtype: a dict of types of columns that are to count for more than those in the file.
        extra_columns: "refuse" a column that the model does not have, or "ignore" it.
    """

    requires: ClassVar[tuple[str, ...]] = ("lightgbm",)
    extra: ClassVar[str] = "lightgbm"
    # Its files are called `.txt` like any text.
    suffixes: ClassVar[tuple[str, ...]] = ()
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self, *, threads: int | None = None, dtype: Types = None, extra_columns: Extra = "refuse"
    ) -> None:
        self._threads = usable_cores() if threads is None else threads
        self._dtype = dtype
        self._ignores_extra = ignores(extra_columns)
        self._booster: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Read the trees.

        Raises:
            ValueError: the file holds something else, or does not fit the options.
        """
        import lightgbm

        file = model_file(required(artifact), (".txt", ".lgb", ".model"))
        text = file.read_text(errors="replace")
        # LightGBM ends the whole process where it is given a part of a file.
        if not text.startswith("tree\n") or "\nend of trees\n" not in text:
            raise ValueError(f"{file} is no text file of LightGBM, or a part of one.")
        try:
            self._booster = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        self.device, self.framework = "cpu", f"lightgbm {lightgbm.__version__}"
        try:
            found = of_lightgbm(self._booster)
            if found is not None:
                names, columns = found
                self.table = Table(
                    typed(names, columns, self._dtype, guesses={}),
                    ignores_extra=self._ignores_extra,
                    has_blanks_as_underscores=True,
                )
                self._declare(self.table.inputs)
            else:
                features = self._booster.num_feature()
                self._declare((TensorSpec("x", "float64", (-1, features)),))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def _answer(self, inputs: Tensors) -> Any:
        x = inputs["x"] if self.table is None else matrix_of(self.table, inputs, "float64")
        return self._booster.predict(x, num_threads=self._threads)

    def close(self) -> None:
        """Let go of the trees."""
        self._booster = None
