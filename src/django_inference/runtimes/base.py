"""The two base classes of every runtime.

A runtime loads one framework's artifact and runs it. It is made, loaded and called on one
thread for its whole life, and knows nothing of batching, sockets or HTTP. Import the
framework inside `load()`: the class itself is also looked at by `manage.py check`, in
processes that must stay small.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.runtimes.tables import Table
    from django_inference.tensors import BatchAxis, Signature, Tensors


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
        choices: the values that an option takes, where these are a few words.
        needs_artifact: `MODEL` must be given.
        can_share_weights: it can keep its weights in memory that all replicas share.
        share_weights: it is asked to; set before `load`, and never where it cannot.
        batch_axis: the axis of each tensor that has an entry for each row of a batch: one
            number for all, or a dict of numbers by the tensors' names, with None for a tensor
            that has no such axis. None makes each call a run of its own. Set it before or in
            `load`; "auto" leaves it to shapes and names.
        device: where the model runs, such as `cpu` or `cuda:0`; set by `load`.
        framework: name and version of what runs it, such as `torch 2.13.0`; set by `load`.
        warnings: sentences that the status shows; set by `load`.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    runs_code: ClassVar[tuple[str, ...]] = ()
    code_options: ClassVar[tuple[str, ...]] = ()
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs_artifact: ClassVar[bool] = False
    can_share_weights: ClassVar[bool] = False

    share_weights: bool = False
    batch_axis: BatchAxis = "auto"
    device: str = ""
    framework: str = ""
    warnings: tuple[str, ...] = ()

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
        raise InvalidInput(
            f"{type(self).__qualname__} does not stream: it gives each answer whole."
        )

    def warmup(self) -> Any:
        """Return an item to predict before the first request, or None for no warm-up.

        A subclass may as well make its own calls here and return None. A warm-up that
        raises fails the load.
        """
        return None

    def examples(self) -> Sequence[Any]:
        """Return items, of different lengths where they may have any, to try at load.

        They are run by themselves and together, to see whether each gets the same answer. Where
        there are none, the first requests are tried so.
        """
        return ()

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
    """Named tensors in, named tensors out; unless `batch_axis` says otherwise, axis 0 is the batch.

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
            inputs: by name, all with the same length of their batch axes.

        Returns:
            The outputs by name, with that same length of their batch axes. Of an output
            that has none, or another length, the version is not batched.
        """

    def predict_as(self, signature: str, inputs: Tensors) -> Tensors:
        """Run another signature of the artifact for one request.

        Args:
            signature: the name of one of `signature.others`.
            inputs: by name.

        Returns:
            The outputs by name.
        """
        raise NotImplementedError

    def preprocess(self, item: Any) -> Any:
        """Turn one item into named tensors of one row, without the batch axis."""
        return item

    def postprocess(self, result: Any) -> Any:
        """Turn the outputs of one row, by name and without the batch axis, into a result."""
        return result
