"""Answers to requests, and their counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django_inference.engine.batching import Request
from django_inference.engine.failures import failure_of
from django_inference.exceptions import InferenceError, InvalidInput, Overloaded, PredictionTimeout
from django_inference.metrics import StatisticsPage
from django_inference.specs import ErrorReport


class Answers:
    """Answers the requests of one model.

    Args:
        alias: of the predictor.
        page: where the counts go.
        report: called with every exception that the model's own code raises.
    """

    def __init__(
        self, alias: str, page: StatisticsPage, report: Callable[[ErrorReport], None]
    ) -> None:
        self._alias = alias
        self._page = page
        self._report = report

    def give(self, request: Request, outcome: Any) -> None:
        """Answer with a result or an error."""
        request.waiting = -1
        invalid = isinstance(outcome, InvalidInput)
        failed = isinstance(outcome, InferenceError) and not invalid
        now = time.monotonic()
        self._page.answered(now, now - request.sent_at, failed=failed, invalid=invalid)
        request.answer(outcome)

    def fail(self, request: Request, error: BaseException, index: int | None = None) -> None:
        """Answer with what was raised, unless there is an answer already.

        Args:
            request: to answer.
            error: that was raised.
            index: of the item that it was raised for.
        """
        if request.waiting < 0:
            return
        failure = failure_of(error, self._alias, self._report)
        if index is not None and isinstance(request.payload, list) and len(request.payload) > 1:
            failure.message = f"item {index}: {failure.message}"
        self.give(request, failure)

    def abandon(self, request: Request) -> None:
        """Answer nothing: the caller has given up."""
        request.waiting = -1
        self._page.abandoned()

    def expire(self, request: Request) -> None:
        """Answer that the deadline has passed."""
        self._page.expired()
        self.give(
            request,
            PredictionTimeout("the deadline passed before the model could run.", alias=self._alias),
        )

    def refuse(self, request: Request, waiting: int) -> None:
        """Answer that too many requests wait."""
        self._page.refused()
        self.give(
            request,
            Overloaded(
                f"{waiting} requests wait already (max_queue).",
                alias=self._alias,
                retry_after=waiting * self._page.seconds_per_row,
            ),
        )
