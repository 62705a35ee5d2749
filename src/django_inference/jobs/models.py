"""The row of a job."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import models
from django.utils import timezone

from django_inference.jobs.querysets import JobQuerySet
from django_inference.jobs.states import FINISHED, JobState
from django_inference.specs import NORMAL, PRIORITIES

if TYPE_CHECKING:
    from django_inference.exceptions import InferenceError


class Job(models.Model):
    """A prediction that is made sometime, once, whatever dies meanwhile.

    Made by `Predictor.submit`. What changes a row is in `transitions`: each change is one
    conditional UPDATE, so that of several processes one makes it.

    The attributes are as of the last look at the database; `refresh_from_db()` looks again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    predictor = models.CharField(max_length=200, help_text="alias in INFERENCE")
    version = models.CharField(
        max_length=200, blank=True, default="", help_text="of the model that answered"
    )
    state = models.CharField(
        max_length=16, choices=JobState.choices, default=JobState.WAITING, editable=False
    )
    #: Index of `specs.PRIORITIES`: less is more urgent.
    priority = models.PositiveSmallIntegerField(choices=list(enumerate(PRIORITIES)), default=NORMAL)
    #: The inputs are one item, as for `predict_one`.
    one = models.BooleanField(default=False)
    #: Seconds for one run; None takes the predictor's.
    timeout = models.FloatField(null=True, blank=True)
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=1)

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    #: When a sweep may enqueue it: a waiting one again, a queued one once more.
    available_at = models.DateTimeField(default=timezone.now)
    queued_at = models.DateTimeField(null=True, blank=True)
    #: Of the last run.
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    #: Runs that have begun.
    attempts = models.PositiveIntegerField(default=0)
    #: How often it was enqueued once more because nobody had begun it.
    requeues = models.PositiveIntegerField(default=0)

    error = models.TextField(blank=True, default="", help_text="why the last run failed")
    #: Name of the exception's class.
    error_type = models.CharField(max_length=100, blank=True, default="")
    #: The traceback of the process that failed.
    error_details = models.TextField(blank=True, default="")

    #: What people submitted goes when they go.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
    )
    #: Whose it is where there is no account: what a visitor's session holds.
    submitter = models.CharField(max_length=64, blank=True, default="", db_index=True)
    idempotency_key = models.CharField(max_length=255, blank=True, default="")
    #: A digest of owner, predictor and key; NULL without a key. Not every database has unique
    #: indexes with a condition, and each takes several NULLs.
    idempotency_digest = models.CharField(max_length=64, null=True, unique=True, editable=False)
    #: A digest of the inputs; only where there is a key.
    inputs_digest = models.CharField(max_length=32, blank=True, default="", editable=False)
    #: What another app wants to be reminded of by `job_finished`.
    target = models.JSONField(null=True, blank=True)

    #: The queue's own id of the task.
    engine_id = models.CharField(max_length=255, blank=True, default="", editable=False)
    #: Of the run that may record a result.
    lease = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    #: Since when `job_finished` is to be sent; NULL when it has been.
    announce_at = models.DateTimeField(null=True, editable=False)

    # Of each payload one column is filled: see `payloads`.
    inputs_json = models.TextField(null=True, editable=False)
    inputs_packed = models.BinaryField(null=True)
    inputs_file = models.CharField(max_length=255, blank=True, default="", editable=False)
    result_json = models.TextField(null=True, editable=False)
    result_packed = models.BinaryField(null=True)
    result_file = models.CharField(max_length=255, blank=True, default="", editable=False)

    objects = models.Manager.from_queryset(JobQuerySet)()

    class Meta:
        """Each index serves one question of a sweep, of `prune` or of a list."""

        verbose_name = "job"
        verbose_name_plural = "jobs"
        get_latest_by = "created_at"
        indexes = [
            models.Index(fields=["state", "available_at"], name="inference_job_available"),
            models.Index(fields=["state", "lease_until"], name="inference_job_lease"),
            models.Index(fields=["owner", "created_at"], name="inference_job_owner"),
            models.Index(fields=["announce_at"], name="inference_job_announce"),
            models.Index(fields=["finished_at"], name="inference_job_finished"),
        ]

    def __str__(self) -> str:
        """As in `detector 1f0c…: running`."""
        return f"{self.predictor} {self.pk}: {self.state}"

    @property
    def is_finished(self) -> bool:
        """It has succeeded, failed or been cancelled."""
        return self.state in FINISHED

    @property
    def progress(self) -> float:
        """The part that is done, 0 to 1."""
        if self.state == JobState.SUCCEEDED:
            return 1.0
        return min(1.0, self.progress_done / max(1, self.progress_total))

    @property
    def queue(self) -> str:
        """Name of the queue that it goes to."""
        from django_inference.jobs.settings import predictor_jobs

        return predictor_jobs(self.predictor).queue

    @property
    def inputs(self) -> Any:
        """As they were submitted; arrays and bytes are what they were."""
        from django_inference.jobs.payloads import INPUTS, load

        return load(self, INPUTS)

    @property
    def exception(self) -> InferenceError | None:
        """What `result()` raises of a job that has failed or was cancelled, else None."""
        from django_inference.jobs.waiting import exception_of

        return exception_of(self)

    def get_result(self) -> Any:
        """The recorded result, without waiting: what `predict` would have returned.

        Raises:
            JobCancelled: it was cancelled.
            InferenceError: what the model raised.
            PredictionTimeout: there is no result yet.
        """
        from django_inference.jobs.waiting import outcome_of

        return outcome_of(self)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until it has ended; return its result.

        Args:
            timeout: seconds; None waits as long as it takes.

        Raises:
            PredictionTimeout: it has not ended in time. It goes on.
            JobCancelled: it was cancelled.
            InferenceError: what the model raised.
        """
        from django_inference.jobs.waiting import wait

        return wait(self, timeout)

    async def aresult(self, timeout: float | None = None) -> Any:
        """As `result`, to be awaited."""
        from django_inference.jobs.waiting import await_

        return await await_(self, timeout)

    def cancel(self) -> bool:
        """Have it not be run, or its result be thrown away.

        Returns:
            Whether this call has ended it; False where it had ended before.
        """
        from django_inference.jobs.cancelling import cancel

        return cancel(self)

    async def acancel(self) -> bool:
        """As `cancel`, to be awaited."""
        return await sync_to_async(self.cancel)()

    def retry(self) -> bool:
        """Have a job that has failed or was cancelled run again, with its inputs.

        Returns:
            Whether it will; False where it has not ended, or has succeeded.
        """
        from django_inference.jobs.submission import resubmit

        return resubmit(self)

    async def aretry(self) -> bool:
        """As `retry`, to be awaited."""
        return await sync_to_async(self.retry)()
