"""What happens to a job, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.decorators import method_decorator
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from django_inference.jobs.models import Job
from django_inference.rest.jobs.mixin import JobMixin
from django_inference.rest.jobs.watching import achanges, changes, fingerprint
from django_inference.rest.renderers import EventStreamRenderer

#: Of the client, before it asks again after the stream has ended without an end.
_RETRY = "retry: 1000\n\n"
#: A comment: nobody knows that a client has gone before something is sent to it.
_STILL_THERE = ":\n\n"

Describe = Callable[[Job], Any]


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class EventsView(JobMixin):
    """GET sends the state of a job each time that it changes, and closes with an event `end`.

    Attributes:
        max_stream: seconds after which the stream is closed; a browser opens it again. A
            synchronous server has one thread busy with each.
    """

    name = "Events"
    asks = "events"
    description = (
        "GET sends an event `state` each time that there is anything new of the job, and `end` "
        "when it is finished, each with what GET of the job answers."
    )
    max_stream: float = 300.0

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send the states of a job, as they come."""
        job = self.get_job()
        if job.is_finished and request.headers.get("Last-Event-ID") == fingerprint(job):
            # The only answer that keeps a browser from asking again.
            return HttpResponse(status=204)
        is_async = isinstance(request._request, ASGIRequest)
        # Django would gather all that a plain iterator has before it sends any of it.
        make: Any = aevents if is_async else events
        return StreamingHttpResponse(
            make(job, self.max_stream, self.describe_job),
            content_type="text/event-stream",
            # nginx would gather the events until there are enough of them.
            headers={"Cache-Control": "private, no-cache", "X-Accel-Buffering": "no"},
        )

    def get_renderers(self) -> list[BaseRenderer]:
        """What a client may ask for: events, or what says why there are none."""
        return [*super().get_renderers(), EventStreamRenderer()]

    def answer_renderers(self) -> list[type[BaseRenderer]]:
        """None."""
        return []


def events(job: Job, seconds: float, describe: Describe) -> Iterator[str]:
    """The events of a job, until it is finished or the time is over."""
    yield _RETRY
    try:
        for is_new in changes(job, seconds):
            yield _event(job, describe) if is_new else _STILL_THERE
    except Job.DoesNotExist:
        yield _REMOVED


async def aevents(job: Job, seconds: float, describe: Describe) -> AsyncIterator[str]:
    """As `events`, for `async for`."""
    yield _RETRY
    try:
        async for is_new in achanges(job, seconds):
            yield _event(job, describe) if is_new else _STILL_THERE
    except Job.DoesNotExist:
        yield _REMOVED


_REMOVED = "event: end\ndata: null\n\n"


def _event(job: Job, describe: Describe) -> str:
    kind = "end" if job.is_finished else "state"
    # Without line breaks: one would end the event's data.
    return f"id: {fingerprint(job)}\nevent: {kind}\ndata: {json.dumps(describe(job))}\n\n"
