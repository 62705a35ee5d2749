"""What a model answers must reach its callers, whichever process they are in."""

from __future__ import annotations

from typing import Any

from django_inference.exceptions import PredictionFailed
from django_inference.specs import one_line
from django_inference.values import check_sendable


def check_answer(answer: Any, alias: str) -> None:
    """Look whether the answer to an example could be sent to a caller.

    Args:
        answer: of a model that is being loaded.
        alias: of the predictor.

    Raises:
        PredictionFailed: it could not.
    """
    try:
        check_sendable(answer)
    except Exception as error:
        # An array of another library may raise anything.
        raise unsendable(error, alias) from error


def unsendable(error: Exception, alias: str = "") -> PredictionFailed:
    """Return the error of a caller whose result cannot be sent."""
    return PredictionFailed(f"the result cannot be sent: {one_line(error)}", alias=alias)
