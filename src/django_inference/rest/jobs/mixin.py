"""What every view of jobs has in common: whose they are, and what is said of them."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.reverse import reverse

from django_inference.jobs.models import Job
from django_inference.jobs.querysets import JobQuerySet
from django_inference.jobs.waiting import exception_of
from django_inference.plain import to_plain
from django_inference.rest.failures import said
from django_inference.rest.jobs.submitters import Submitter, submitter_of
from django_inference.rest.jobs.watching import fingerprint
from django_inference.rest.prediction import PredictionMixin


class JobMixin(PredictionMixin):
    """A view of jobs of one predictor, under the same policies as its predictions.

    Attributes:
        id_url_kwarg: the part of the URL that names a job.
    """

    id_url_kwarg: str = "id"
    #: What a GET is for, in the OpenAPI document.
    asks: str = "job"

    # What a subclass overrides.

    def get_submitter(self) -> Submitter:
        """Who is asking."""
        return submitter_of(self.request._request, self.request.user)

    def get_queryset(self) -> JobQuerySet:
        """The jobs that the caller may see, whichever predictor they are for: their own."""
        return self.get_submitter().jobs()

    # The steps.

    def get_jobs(self) -> JobQuerySet:
        """Those of them that are for this predictor."""
        return self.get_queryset().for_predictor(self.get_predictor().alias)

    def get_job(self) -> Job:
        """The one that the URL names.

        Raises:
            NotFound: there is none, or it is another's: nobody learns which.
        """
        try:
            return self.get_jobs().get(pk=self.kwargs[self.id_url_kwarg])
        except Job.DoesNotExist:
            raise NotFound("You have no such job.") from None

    def describe_job(self, job: Job) -> dict[str, Any]:
        """What is said of a job: plain values."""
        found = {
            "id": job.pk,
            "url": self.address("job", job),
            "predictor": job.predictor,
            "version": job.version,
            "state": str(job.state),
            "progress": {"done": job.progress_done, "total": job.progress_total},
            "attempts": job.attempts,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "error": None,
            "result": None,
            "events": self.address("events", job),
        }
        error = exception_of(job)
        if error is not None:
            found["error"] = said(error)
        elif job.is_finished:
            found["result"] = self.address("result", job)
        plain: dict[str, Any] = to_plain(found)
        return plain

    def address(self, name: str, job: Job) -> str:
        """Where something of a job is."""
        match = self.request.resolver_match
        prefix = match.view_name.rpartition(":")[0] + ":" if match and match.namespace else ""
        kwargs: dict[str, Any] = {self.id_url_kwarg: job.pk}
        if self.alias_url_kwarg in self.kwargs:
            kwargs[self.alias_url_kwarg] = job.predictor
        return reverse(f"{prefix}{name}", kwargs=kwargs, request=self.request)

    def unless_seen(self, job: Job, response: HttpResponseBase, form: str = "") -> HttpResponseBase:
        """Say which state of the job this is; leave the body out where the client has it.

        Args:
            job: that is answered about.
            response: what is answered.
            form: what else makes it another body.
        """
        tag = fingerprint(job, form)
        headers = {
            "ETag": tag,
            # Another visitor, behind the same proxy or at the same browser, shall not get it.
            "Cache-Control": "private, no-cache",
            "Vary": "Accept, Authorization, Cookie",
        }
        if self.is_seen(tag):
            response = Response(status=304)
        for name, value in headers.items():
            response.headers[name] = value
        return response

    def is_seen(self, tag: str) -> bool:
        """Whether the client has the body of this entity tag."""
        known = self.request.headers.get("If-None-Match", "")
        return known.strip() == "*" or tag in (one.strip() for one in known.split(","))
