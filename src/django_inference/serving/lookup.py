"""Which predictor, and which version of it, a client means."""

from __future__ import annotations

from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.registry import UnknownPredictor, predictors


class NotServed(InferenceError):
    """There is no such model here, or no such version of it."""

    status_code = 404
    public = "There is no such model."

    def for_client(self, *, debug: bool = False) -> str:
        """The message itself, which repeats what the client has asked for."""
        return self.message or self.public


def predictor_named(alias: str) -> Predictor:
    """The predictor that a client names.

    Raises:
        NotServed: there is none. What there is otherwise is not told.
        InvalidPredictor: it is declared wrongly.
    """
    try:
        return predictors[alias]
    except UnknownPredictor:
        raise NotServed(f"there is no model {alias[:200]!r}.") from None


def versions(predictor: Predictor) -> list[str]:
    """The version that answers calls now; none before the first load. Loads nothing."""
    version = predictor.status().version
    return [version] if version else []


def check_version(predictor: Predictor, version: str, deadline: float) -> None:
    """Refuse a version that does not answer calls; waits for the first load.

    Args:
        predictor: that is asked.
        version: empty for whichever answers.
        deadline: `time.monotonic()`.

    Raises:
        NotServed: another one answers.
        InferenceError: the model cannot be loaded.
    """
    if not version or version in versions(predictor):
        return
    predictor.backend.signature(deadline)
    if version not in versions(predictor):
        raise NotServed(f"the model {predictor.alias!r} has no version {version[:200]!r} now.")
