"""The two base classes of every runtime.

A runtime loads one framework's artifact and runs it. It is made, loaded and called on one
thread for its whole life, and knows nothing of batching, sockets or HTTP. Import the
framework inside `load()`: the class itself is also looked at by `manage.py check`, in
processes that must stay small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.runtimes.tables import Table
    from django_inference.tensors import Signature, Tensors


class BaseRuntime(ABC):
    """What every runtime has; subclass `Runtime` or `TensorRuntime` instead.

    `RUNTIME_OPTIONS` of the predictor become keyword arguments of the class.

    Attributes:
        requires: modules that must be importable; `manage.py check` looks for them
            without importing them.
        extra: the extra of this package that installs them.
        suffixes: names of files that this runtime is chosen for when `RUNTIME` is left out.
        runs_code: suffixes of formats that run code when they are loaded: refused unless
            the predictor is `TRUSTED` or its `SHA256` is pinned.
        code_options: options that name code of the user's by its dotted path.
        needs_artifact: `MODEL` must be given.
        can_share_weights: it can keep its weights in memory that all replicas share.
        share_weights: it is asked to; set before `load`, and never where it cannot.
        device: where the model runs, such as `cpu` or `cuda:0`; set by `load`.
        framework: name and version of what runs it, such as `torch 2.13.0`; set by `load`.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    runs_code: ClassVar[tuple[str, ...]] = ()
    code_options: ClassVar[tuple[str, ...]] = ()
    needs_artifact: ClassVar[bool] = False
    can_share_weights: ClassVar[bool] = False

    share_weights: bool = False
    device: str = ""
    framework: str = ""

    def load(self, artifact: Artifact | None) -> None:
        """Make the model ready to run. Called once, before anything else.

        Args:
            artifact: what `MODEL` named, on this machine's disk; None without `MODEL`.
        """

    def preprocess(self, item: Any) -> Any:
        """Turn one item, as the caller sent it, into what `predict` takes.

        Runs where the model is, away from the web process.
        """
        return item

    def postprocess(self, result: Any) -> Any:
        """Turn one result of `predict` into what the caller gets."""
        return result

    def stream(self, item: Any) -> Iterator[Any]:
        """Yield the result of one item piece by piece. Optional: most models do not stream.

        Each chunk is one short run, made when the caller asks for it; between two of them
        the model runs for other callers. A caller that wants no more closes the generator.

        Args:
            item: after `preprocess`.

        Yields:
            Chunks, which reach the caller as they are, without `postprocess`.

        Raises:
            InvalidInput: the item does not fit, or the runtime does not stream.
        """
        kind = type(self)
        raise InvalidInput(
            f"{kind.__module__}.{kind.__qualname__} does not stream: it has no method stream(). "
            "Call predict_one() instead."
        )

    def warmup(self) -> Any:
        """Return an item to predict before the first request, or None for no warm-up.

        A subclass may as well make its own calls here and return None. A warm-up that
        raises fails the load.
        """
        return None

    def close(self) -> None:
        """Give back what `load` took, where the end of the process would not."""


class Runtime(BaseRuntime):
    """Items in, results out: the base of most code of one's own."""

    @abstractmethod
    def predict(self, items: list[Any]) -> list[Any]:
        """Run a batch.

        Args:
            items: of every request in the batch, after `preprocess`.

        Returns:
            One result an item, in the same order.

        Raises:
            InvalidInput: an item does not fit. The batch is split until the offender is
                alone; the others are answered as if it had not been there.
        """


class TensorRuntime(BaseRuntime):
    """Named tensors in, named tensors out; axis 0 of each is the batch.

    Attributes:
        signature: the tensors of the loaded model, set by `load`; None when the artifact
            does not say, in which case inputs reach the framework unchecked.
        table: the columns of a model over named columns, set by `load`; the signature then has
            one input a column, and `predict` is given an array of one axis for each.
    """

    signature: Signature | None = None
    table: Table | None = None

    @abstractmethod
    def predict(self, inputs: Tensors) -> Tensors:
        """Run a batch.

        Args:
            inputs: by name, all with the same length of axis 0.

        Returns:
            The outputs by name, with that same length of axis 0.
        """

    def preprocess(self, item: Any) -> Any:
        """Turn one item into named tensors of one row, without the batch axis."""
        return item

    def postprocess(self, result: Any) -> Any:
        """Turn the outputs of one row, by name and without the batch axis, into a result."""
        return result
