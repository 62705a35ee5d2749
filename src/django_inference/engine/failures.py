"""What the model's own code raises, and what its callers are told."""

from __future__ import annotations

from collections.abc import Callable

from django_inference.exceptions import InferenceError, PredictionFailed
from django_inference.specs import ErrorReport

#: What the model's own code may raise. `sys.exit()`, a cancelled coroutine or a panic of a library
#: written in Rust is no `Exception`, and must not end the thread that serves the model.
OF_THE_MODEL = (BaseException,)


def failure_of(
    error: BaseException, alias: str, report: Callable[[ErrorReport], None]
) -> InferenceError:
    """Return the error that one caller gets.

    Args:
        error: that was raised.
        alias: of the predictor.
        report: told of everything but a refusal, which is about the caller's input.
    """
    if isinstance(error, InferenceError):
        failure = _copy(error)
        failure.alias = alias
        return failure
    said = ErrorReport.of(error)
    report(said)
    return PredictionFailed(said.message, alias=alias, details=said.traceback)


def _copy(error: InferenceError) -> InferenceError:
    # A model may raise the same object again and again, for callers in different threads.
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error
    return copy
