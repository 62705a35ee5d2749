"""LightGBM models in LightGBM's own format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import Tensors


class LightgbmRuntime(TensorRuntime):
    """The text file that `Booster.save_model()` wrote, which runs no code when it is loaded.

    The input is `x`, a row an item and a column a feature; NaN is a missing value. The output
    is `y`, as `Booster.predict()` gives it: for a classifier the probabilities.

    Args:
        threads: that one call is spread over; None for as many as this process may use
            cores.
    """

    requires: ClassVar[tuple[str, ...]] = ("lightgbm",)
    extra: ClassVar[str] = "lightgbm"
    # Its files are called `.txt` like any text.
    suffixes: ClassVar[tuple[str, ...]] = ()
    needs_artifact: ClassVar[bool] = True

    def __init__(self, *, threads: int | None = None) -> None:
        self._threads = usable_cores() if threads is None else threads
        self._booster: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Read the trees.

        Raises:
            ValueError: the file holds something else.
        """
        import lightgbm
        import numpy as np

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
        features = self._booster.num_feature()
        y = self.predict({"x": np.zeros((1, features))})["y"]
        self.signature = Signature(
            (TensorSpec("x", "float64", (-1, features)),),
            (TensorSpec("y", y.dtype.name, (-1, *y.shape[1:])),),
        )

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the trees once."""
        return {"y": self._booster.predict(inputs["x"], num_threads=self._threads)}

    def close(self) -> None:
        """Let go of the trees."""
        self._booster = None
