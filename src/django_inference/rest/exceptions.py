"""What went wrong, as Django REST framework says it."""

from __future__ import annotations

import logging
import re

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import UnreadablePostError
from rest_framework.exceptions import APIException, ParseError

from django_inference.exceptions import InferenceError

logger = logging.getLogger("django_inference.rest")


class PredictionException(APIException):
    """An `InferenceError` on its way through `EXCEPTION_HANDLER`; `__cause__` is the error.

    Its code is the name of the error in snake case, such as `model_not_ready`.

    Attributes:
        alias: the predictor that was asked.
        wait: whole seconds after which another try makes sense, or None. DRF's own
            exception handler sends it as Retry-After.
    """

    def __init__(self, error: InferenceError) -> None:
        self.__cause__ = error
        self.status_code = error.status_code
        self.alias = error.alias
        self.wait = error.retry_after_seconds
        name = error.kind
        super().__init__(
            error.for_client(debug=settings.DEBUG),
            code=re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(),
        )


class BodyTooLarge(APIException):
    """The body has more bytes than the view or Django's settings allow."""

    status_code = 413
    default_detail = "The body is too large."
    default_code = "body_too_large"


class LengthRequired(APIException):
    """The body was sent without its length, and Django REST framework reads none of it."""

    status_code = 411
    default_detail = "Send the length of the body in a Content-Length header."
    default_code = "length_required"


def as_api_exception(error: Exception) -> Exception:
    """Return the exception that Django REST framework knows how to answer.

    Errors that are none of this package's business are returned as they are.
    """
    if isinstance(error, InferenceError):
        return PredictionException(error)
    if isinstance(error, RequestDataTooBig):
        return _because(BodyTooLarge(str(error)), error)
    if isinstance(error, TooManyFieldsSent | TooManyFilesSent):
        return _because(ParseError(str(error)), error)
    if isinstance(error, UnreadablePostError):
        return _because(ParseError("The body ended too early."), error)
    return error


def log_failure(error: InferenceError) -> None:
    """Log what the person on call may want to know of; mistakes of clients are not."""
    if error.status_code == 500:
        logger.error("%s\n%s", error, error.details, exc_info=error)
    elif error.status_code > 500:
        logger.warning("%s", error)


def _because(exception: APIException, error: Exception) -> APIException:
    exception.__cause__ = error
    return exception
