"""What is asked of many jobs."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

from django_inference.jobs.states import FINISHED, UNFINISHED, JobState

if TYPE_CHECKING:
    from typing import Self

    from django_inference.jobs.models import Job

    Jobs = models.QuerySet[Job]
else:
    Jobs = models.QuerySet

#: The columns that may be long.
PAYLOADS = ("inputs_json", "inputs_packed", "result_json", "result_packed")


class JobQuerySet(Jobs):
    """Chainable, like every QuerySet."""

    def for_user(self, user: Any) -> Self:
        """The jobs that a user has submitted; none for who is not logged in."""
        if user is None or user.pk is None:
            return self.none()
        return self.filter(owner=user.pk)

    def for_predictor(self, alias: str) -> Self:
        """The jobs of one predictor."""
        return self.filter(predictor=alias)

    def unfinished(self) -> Self:
        """What still has to end."""
        return self.filter(state__in=UNFINISHED)

    def finished(self) -> Self:
        """What has succeeded, failed or been cancelled."""
        return self.filter(state__in=FINISHED)

    def due(self, now: datetime.datetime | None = None) -> Self:
        """What waits, and may be enqueued now."""
        return self.filter(
            state=JobState.WAITING, available_at__lte=timezone.now() if now is None else now
        )

    def without_payloads(self) -> Self:
        """Leave inputs and results in the database: for lists, and for looking at states."""
        return self.defer(*PAYLOADS)
