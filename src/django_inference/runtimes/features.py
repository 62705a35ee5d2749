"""From named tensors to the table of features that an estimator takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.estimators import selects_by_name
from django_inference.tensors import TensorSpec
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.tensors import Tensors


class Features:
    """What one estimator takes: an array, or a data frame where it was fitted on one.

    Args:
        estimator: the fitted one.
        dtype: of the only input, `x`; or a dict of the data frame's columns, each with its
            type, where each is an input of its own.

    Attributes:
        inputs: what to declare of the inputs; None where the estimator does not say how
            many features it takes.
        lack_names: the estimator was fitted on a data frame and will miss its names.

    Raises:
        ValueError: the columns are others than those of the training, or pandas is missing.
    """

    def __init__(self, estimator: Any, dtype: str | Mapping[str, str]) -> None:
        found = getattr(estimator, "feature_names_in_", None)
        self._names = None if found is None else [str(name) for name in found]
        self._frame = _data_frame() if self._names else None
        self._columns = None if isinstance(dtype, str) else _checked(dtype, self._names)
        self.lack_names = self._names is not None and self._frame is None
        if self.lack_names and (self._columns or selects_by_name(estimator)):
            raise ValueError(
                "it takes columns by their names, which needs pandas: pip install pandas"
            )
        self.inputs: tuple[TensorSpec, ...] | None = None
        count = getattr(estimator, "n_features_in_", None)
        if self._columns:
            self.inputs = tuple(TensorSpec(*column, (-1,)) for column in self._columns.items())
        elif count is not None:
            self.inputs = (TensorSpec("x", str(dtype), (-1, int(count))),)

    def table(self, inputs: Tensors) -> Any:
        """Return what the estimator takes.

        Raises:
            InvalidInput: `x` is missing.
        """
        if self._columns is not None and self._frame is not None:
            return self._frame({name: inputs[name] for name in self._columns})
        try:
            x = inputs["x"]
        except KeyError:
            given = ", ".join(inputs) or "nothing"
            raise InvalidInput(f"the input is named 'x'; given: {given}.") from None
        return x if self._frame is None else self._frame(x, columns=self._names)


def _data_frame() -> Callable[..., Any] | None:
    try:
        import pandas
    except ImportError:
        return None
    return pandas.DataFrame  # type: ignore[no-any-return]


def _checked(columns: Mapping[str, str], names: list[str] | None) -> dict[str, str]:
    """The columns in the order of the training."""
    if names is None:
        raise ValueError(
            "it was not fitted on a data frame, so its features have no names: `dtype` must be "
            "one type, of the input 'x'."
        )
    for name in columns:
        if name not in names:
            raise ValueError(
                f"it was not fitted on a column {name!r}{suggestion(name, names)}; the option "
                f"`dtype` must give the types of {', '.join(names)}."
            )
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"the option `dtype` lacks the types of {', '.join(missing)}.")
    return {name: columns[name] for name in names}
