"""What went wrong, as both protocols say it: a status, and `{"error": …}`."""

from __future__ import annotations

import logging

from django.conf import settings

from django_inference.asgi.messages import Answer, as_json
from django_inference.exceptions import InferenceError
from django_inference.serving.access import Refused

logger = logging.getLogger("django_inference.asgi")


class WrongMethod(InferenceError):
    """A path is asked with another method than its own.

    Attributes:
        allowed: the one that it takes.
    """

    status_code = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"Method {method[:20]!r} is not allowed here, {allowed} is.")
        self.allowed = allowed

    def for_client(self, *, debug: bool = False) -> str:
        """The message itself."""
        return self.message


def refusal(error: Exception, path: str) -> Answer:
    """The response that says what went wrong. What an operator may want to know is logged."""
    if isinstance(error, Refused):
        headers = {"www_authenticate": "Bearer"} if error.status_code == 401 else {}
        return as_json({"error": error.public}, error.status_code, **headers)
    if not isinstance(error, InferenceError):
        logger.error("request failed path=%s", path, exc_info=error)
        said = f"{type(error).__name__}: {error}" if settings.DEBUG else "The server failed."
        return as_json({"error": said}, 500)
    if error.status_code == 500:
        logger.error("%s\n%s", error, error.details, exc_info=error)
    elif error.status_code > 500:
        logger.warning("%s", error)
    headers = {}
    if isinstance(error, WrongMethod):
        headers["allow"] = error.allowed
    elif error.retry_after_seconds is not None:
        headers["retry_after"] = str(error.retry_after_seconds)
    return as_json({"error": error.for_client(debug=settings.DEBUG)}, error.status_code, **headers)
