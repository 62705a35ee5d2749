"""Jobs over HTTP: submit one, look at it, wait for it, cancel it, fetch its result."""

from __future__ import annotations

import re
from typing import Any

from django.db import transaction
from django.http import HttpResponseBase
from django.utils.decorators import method_decorator
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from django_inference.exceptions import InferenceError
from django_inference.jobs.models import Job
from django_inference.jobs.states import JobState
from django_inference.rest.calls import Call
from django_inference.rest.inputs import AnyInputs, Inputs, Item, Items
from django_inference.rest.jobs.mixin import JobMixin
from django_inference.rest.jobs.submitters import new_submitter
from django_inference.rest.jobs.watching import fingerprint, preferred_wait, wait
from django_inference.rest.prediction import fitted
from django_inference.rest.renderers import AnswerRenderer
from django_inference.specs import Priority
from django_inference.words import suggestion

#: Of an `Idempotency-Key`.
_KEY = re.compile(r"[\x20-\x7e]{1,200}")


class Conflict(APIException):
    """The job is in a state in which this cannot be done."""

    status_code = 409
    default_code = "conflict"


class JobPagination(CursorPagination):
    """The newest first, and the same pages while new ones come."""

    page_size = 50
    ordering = ("-created_at", "-id")


class JobsView(JobMixin):
    """POST submits a job, and answers before it is run; GET lists one's own.

    Attributes:
        priority: of the jobs: `high`, `normal` or `low`.
        pagination_class: of the list.
    """

    name = "Jobs"
    asks = "jobs"
    description = (
        "POST what a prediction takes. The answer is 202 at once, and says in Location where to "
        "look; the model may be loading, busy or away meanwhile. GET lists your own jobs."
    )
    priority: Priority = "normal"
    pagination_class: Any = JobPagination

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Submit a job."""
        job = self.submit(self.get_inputs(request))
        location = self.address("job", job)
        return Response(self.describe_job(job), status=202, headers={"Location": location})

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List one's own jobs for this predictor."""
        jobs = self.get_jobs().without_payloads()
        state = request.query_params.get("state")
        if state:
            if state not in JobState.values:
                near = suggestion(state, JobState.values)
                raise ValidationError({"state": [f"There is no state {state!r}{near}."]})
            jobs = jobs.filter(state=state)
        paginator = self.pagination_class()
        page = paginator.paginate_queryset(jobs, request, view=self)
        response: Response = paginator.get_paginated_response(map(self.describe_job, page))
        return response

    def submit(self, inputs: AnyInputs) -> Job:
        """Submit what was read from a body, within the policies of the predictor.

        Raises:
            ValidationError: the inputs do not fit the model, so far as that is known.
            NotAuthenticated: the job would be nobody's.
            Throttled: the caller has had too many rows.
        """
        predictor = self.get_predictor()
        if isinstance(inputs, Inputs):
            inputs = self._fitted_if_known(inputs)
        key = self.get_idempotency_key()
        submitter = new_submitter(self.request._request, self.request.user)
        self.check_rows(inputs.rows)
        return inputs.submit(
            predictor,
            priority=self.priority,
            timeout=self.get_timeout(),
            idempotency_key=key,
            **submitter.as_options(),
        )

    def get_idempotency_key(self) -> str:
        """What the header `Idempotency-Key` says: of two equal ones, the second makes no job.

        Raises:
            ValidationError: it is no key.
        """
        key = self.request.headers.get("Idempotency-Key", "")
        if key and not _KEY.fullmatch(key):
            raise ValidationError({"Idempotency-Key": ["Expected 1 to 200 ASCII characters."]})
        return key

    def answer_renderers(self) -> list[type[BaseRenderer]]:
        """None: what the model says comes later."""
        return []

    def _fitted_if_known(self, inputs: Inputs) -> Inputs:
        """Refuse at once what a loaded model would; one that is not is not waited for."""
        try:
            signature = self.get_predictor().status().signature
        except InferenceError:
            signature = None
        return inputs if signature is None else fitted(inputs, signature)


# A transaction would show the same row for as long as it lasts, on some databases.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class JobView(JobMixin):
    """GET tells the state of a job; DELETE cancels it.

    Attributes:
        max_wait: seconds that `Prefer: wait=…` is granted at the most.
    """

    name = "Job"
    description = (
        "GET tells the state. With Prefer: wait=10 the answer waits until the job is finished, or "
        "with If-None-Match until there is anything new. DELETE cancels it."
    )
    max_wait: int = 30

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Tell the state of a job, at once or when it has changed."""
        job = self.get_job()
        granted = self.granted()
        if granted is not None:
            try:
                wait(job, granted, self.is_enough)
            except Job.DoesNotExist:
                raise NotFound("The job has been removed.") from None
        return self.tell(job, granted)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Cancel a job. What is cancelled already stays so."""
        job = self.get_job()
        job.cancel()
        job.refresh_from_db()
        if job.state != JobState.CANCELLED:
            raise Conflict(f"The job has ended before: it has {job.state}.")
        return Response(self.describe_job(job))

    def granted(self) -> int | None:
        """The seconds that this answer may wait; None where the client does not ask for it."""
        return preferred_wait(self.request.headers.get("Prefer", ""), self.max_wait)

    def is_enough(self, job: Job) -> bool:
        """Whether there is what the client waits for."""
        if "If-None-Match" in self.request.headers:
            return not self.is_seen(fingerprint(job))
        return job.is_finished

    def tell(self, job: Job, granted: int | None) -> HttpResponseBase:
        """Answer with the state of a job."""
        response = self.unless_seen(job, Response(self.describe_job(job)))
        if granted is not None:
            response.headers["Preference-Applied"] = f"wait={granted}"
        return response

    def answer_renderers(self) -> list[type[BaseRenderer]]:
        """None: the result is a resource of its own."""
        return []


class ResultView(JobMixin):
    """GET answers what the prediction would have answered, in any form that it could."""

    name = "Result"
    asks = "result"
    description = "GET answers what the prediction would have answered, in any of its forms."

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer with the result, or with what went wrong."""
        job = self.get_job()
        if not job.is_finished:
            raise NotFound(f"There is no result yet: the job is {job.state}.")
        renderer: BaseRenderer = request.accepted_renderer
        if job.state == JobState.SUCCEEDED and self.is_seen(fingerprint(job, renderer.format)):
            return self.unless_seen(job, Response(), renderer.format)
        result = job.get_result()
        # The inputs may be long, and only a picture is drawn on what was sent.
        asked: Any = job.inputs if isinstance(renderer, AnswerRenderer) else None
        inputs: AnyInputs = Inputs(asked)
        if job.one:
            inputs = Item(asked)
        elif isinstance(result, list):
            inputs = Items(asked)
        response = self.respond(Call(self.get_predictor(), inputs, None), result)
        return self.unless_seen(job, response, renderer.format)

    def gives_answers(self) -> bool:
        """As a prediction does."""
        return True
