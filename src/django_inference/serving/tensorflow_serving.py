"""TensorFlow Serving's calls on top of the predictors, for HTTP and gRPC alike.

A predictor answers for `serving_default`, and for whatever other signatures its artifact has. What
waits for a model has an asynchronous
twin. The rest may talk to the model host: in an event loop, call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np

from django_inference.driving import InThread, arun, run
from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.handle import Predictor
from django_inference.serving.lookup import predictor_named
from django_inference.serving.nothing import answer_to_nothing
from django_inference.serving.signatures import serving_signature
from django_inference.serving.steps import Predict
from django_inference.serving.tensorflow_versions import (
    Choice,
    VersionStatus,
    check_callable,
    chosen,
    number_of,
)
from django_inference.tensors import SIGNATURE_KEY, Signature
from django_inference.wire.examples import Classes, classes_of, values_of
from django_inference.wire.nesting import Array
from django_inference.wire.tensorflow_serving import DEFAULT_SIGNATURE
from django_inference.words import suggestion

#: Makes the payload of a call, once it is known what the model takes; None where it declares
#: no tensors.
Read: TypeAlias = Callable[[Signature | None], Any]


class Prediction(msgspec.Struct, kw_only=True):
    """What a model has answered.

    Attributes:
        version: the number of the one that answered; 0 where chance decided, on a trial.
        outputs: by name; or a list with one result an item, of a model that takes items.
    """

    version: int
    outputs: dict[str, Array] | list[Any]

    @property
    def tensors(self) -> dict[str, Array]:
        """The outputs.

        Raises:
            InvalidInput: the model answers in other things than tensors.
        """
        if isinstance(self.outputs, list):
            raise InvalidInput("the model answers items with results, not with tensors.")
        return self.outputs


class Metadata(msgspec.Struct, kw_only=True):
    """What a model takes and gives.

    Attributes:
        version: the number of the one that serves.
        signature: None where it declares no tensors.
    """

    version: int
    signature: Signature | None

    @property
    def by_name(self) -> dict[str, Signature | None]:
        """Every signature, by the name that clients use."""
        others = self.signature.others if self.signature is not None else ()
        return {DEFAULT_SIGNATURE: self.signature, **{each.name: each for each in others}}


def predict(
    choice: Choice, read: Read, *, wanted: Collection[str] = (), timeout: float | None = None
) -> Prediction:
    """Predict and wait.

    Args:
        choice: the model.
        read: is called before the prediction, with the model's signature.
        wanted: names of outputs; empty for all.
        timeout: in seconds, the load included; no more than the predictor's own.

    Raises:
        NotServed: there is no such model or version.
        Unsupported: the version is on trial.
        InvalidInput: the input, the signature's name or an output's name is wrong.
        InferenceError: what else a call may raise.
    """
    answer: Prediction = run(_predicted(choice, read, wanted, timeout))
    return answer


async def apredict(
    choice: Choice,
    read: Read,
    *,
    wanted: Collection[str] = (),
    timeout: float | None = None,
    is_long: bool = False,
) -> Prediction:
    """As `predict`, without holding the event loop.

    Args:
        choice: as `predict` takes it.
        read: likewise.
        wanted: likewise.
        timeout: likewise.
        is_long: there is so much to read that a thread does it.
    """
    answer: Prediction = await arun(_predicted(choice, read, wanted, timeout, is_long))
    return answer


def classified(prediction: Prediction) -> list[Classes]:
    """The classes of each example, see `wire.examples.classes_of`."""
    return classes_of(prediction.tensors)


def regressed(prediction: Prediction) -> list[float]:
    """The value for each example, see `wire.examples.values_of`."""
    return values_of(prediction.tensors)


def model_status(choice: Choice) -> list[VersionStatus]:
    """How the versions of a model fare. Loads nothing.

    Raises:
        NotServed: there is no such model or version.
    """
    return chosen(predictor_named(choice.model), choice)


def model_metadata(choice: Choice) -> Metadata:
    """What a model takes and gives; waits for its load where that is not known before.

    Raises:
        NotServed: there is no such model or version.
        InferenceError: it cannot be loaded.
    """
    predictor = predictor_named(choice.model)
    deadline = predictor.backend.deadline(None)
    if choice.version is not None or choice.label:
        if not predictor.status().version:
            predictor.backend.signature(deadline)
        chosen(predictor, choice)
    signature = predictor.backend.signature(deadline)
    return Metadata(version=number_of(predictor.status().version), signature=signature)


def signature_named(signature: Signature | None, name: str) -> Signature | None:
    """The signature that a client names; that of the predictor where it names none.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name in ("", DEFAULT_SIGNATURE):
        return signature
    others = {each.name: each for each in (signature.others if signature else ())}
    if name not in others:
        known = [DEFAULT_SIGNATURE, *others]
        raise InvalidInput(
            f"there is no signature {name[:200]!r}{suggestion(name[:200], known)}; "
            f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}."
        )
    return others[name]


def _predicted(
    choice: Choice,
    read: Read,
    wanted: Collection[str],
    timeout: float | None,
    is_long: bool = False,
) -> Generator[Any, Any, Prediction]:
    predictor = predictor_named(choice.model)
    backend = predictor.backend
    longest = backend.options.timeout
    deadline = backend.deadline(longest if timeout is None else min(timeout, longest))
    if choice.version is not None or choice.label:
        yield InThread(lambda: check_callable(predictor, choice, deadline))
    version, own = yield from serving_signature(predictor, deadline)
    signature = signature_named(own, choice.signature_name)
    if signature is not None and signature.outputs:
        _check_wanted(wanted, [spec.name for spec in signature.outputs])
    payload = (yield InThread(lambda: read(signature))) if is_long else read(signature)
    result: Any = answer_to_nothing(payload, signature)
    if result is None:
        if signature is not own:
            payload = {**payload, SIGNATURE_KEY: choice.signature_name}
        result = yield Predict(predictor, payload, deadline)
    return Prediction(version=number_of(version), outputs=_outputs(predictor, result, wanted))


def _outputs(
    predictor: Predictor, result: Any, wanted: Collection[str]
) -> dict[str, Array] | list[Any]:
    if isinstance(result, list) and not wanted:
        return result
    if not isinstance(result, Mapping):
        raise PredictionFailed(
            f"it answered with {type(result).__name__}, not with tensors by name.",
            alias=predictor.alias,
        )
    _check_wanted(wanted, result)
    return {
        name: np.asanyarray(value) for name, value in result.items() if not wanted or name in wanted
    }


def _check_wanted(wanted: Collection[str], there: Collection[str]) -> None:
    for name in wanted:
        if name not in there:
            raise InvalidInput(
                f"there is no output {name[:200]!r}{suggestion(name[:200], there)}; "
                f"the outputs are {', '.join(there)}."
            )
