"""XGBoost models in XGBoost's own format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors


class XgboostRuntime(TensorRuntime):
    """What `save_model()` wrote: a `.ubj` or `.json` file, which runs no code when it is loaded.

    The input is `x`, a row an item and a column a feature; NaN is a missing value. The output
    is `y`, as `Booster.predict()` gives it: for a classifier the probabilities. After early
    stopping, only the best trees count.

    Args:
        threads: that one call is spread over; None for as many as this process may use
            cores.
    """

    requires: ClassVar[tuple[str, ...]] = ("xgboost",)
    extra: ClassVar[str] = "xgboost"
    suffixes: ClassVar[tuple[str, ...]] = (".ubj",)
    needs_artifact: ClassVar[bool] = True

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = usable_cores() if threads is None else threads
        self._trees = (0, 0)
        self._booster: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Read the trees.

        Raises:
            ValueError: the file holds something else.
        """
        import numpy as np
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
        self.device, self.framework = "cpu", f"xgboost {xgboost.__version__}"
        features = booster.num_features()
        y = self.predict({"x": np.zeros((1, features), np.float32)})["y"]
        self.signature = Signature(
            (TensorSpec("x", "float32", (-1, features)),),
            (TensorSpec("y", y.dtype.name, (-1, *y.shape[1:])),),
        )

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the trees once."""
        # Names of columns are not compared: a tensor has none.
        y = self._booster.inplace_predict(
            inputs["x"], iteration_range=self._trees, validate_features=False
        )
        return {"y": y}

    def close(self) -> None:
        """Let go of the trees."""
        self._booster = None
