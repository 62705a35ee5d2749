"""From what a predictor returns to the tensors of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.serving.items import RESULTS, results_as_tensor
from django_inference.wire.datatypes import Array, datatype_of
from django_inference.wire.open_inference import InferRequest
from django_inference.words import suggestion


def outputs_of(request: InferRequest, result: Any) -> dict[str, Array]:
    """The tensors of an answer, or those that a request names.

    Args:
        request: that is answered.
        result: of the prediction: tensors by name, or a list with a result for each item.

    Raises:
        InvalidInput: the request names an output that there is not.
        PredictionFailed: the model has answered with something else.
    """
    if isinstance(result, list):
        result = {RESULTS: results_as_tensor(result)}
    if not isinstance(result, Mapping):
        raise PredictionFailed(
            f"it answered with {type(result).__name__}, not with tensors by name.",
            alias=request.model,
        )
    outputs = {name: np.asanyarray(value) for name, value in result.items()}
    for name, array in outputs.items():
        try:
            datatype_of(array.dtype)
        except ValueError as error:
            raise PredictionFailed(f"its output {name!r}: {error}.", alias=request.model) from error
    if not request.outputs:
        return outputs
    for name in request.outputs:
        if name not in outputs:
            raise InvalidInput(
                f"there is no output {name[:200]!r}{suggestion(name[:200], outputs)}; "
                f"the outputs are {', '.join(outputs)}.",
                alias=request.model,
            )
    return {name: outputs[name] for name in request.outputs}
