"""The same for ASGI: no thread is held while a client waits for a job."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from django_inference.jobs.models import Job
from django_inference.rest.jobs.views import JobView
from django_inference.rest.jobs.watching import await_


class AsyncJobView(JobView):
    """As `JobView`."""

    # Django asks this of the class; Django REST framework's handlers are no coroutines.
    view_is_async = True

    _awaited: Job | None = None

    @transaction.non_atomic_requests
    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Answer one request."""
        dispatch = sync_to_async(super().dispatch)
        response: HttpResponseBase = await dispatch(request, *args, **kwargs)
        if self._awaited is None:
            return response
        return await self._later(self._awaited)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Tell the state of a job, or leave it to `dispatch` to wait for it."""
        job = self.get_job()
        granted = self.granted()
        if granted and not self.is_enough(job):
            self._awaited = job
        return self.tell(job, granted)

    async def _later(self, job: Job) -> HttpResponseBase:
        try:
            await await_(job, self.granted() or 0, self.is_enough)
        except Job.DoesNotExist:
            return await sync_to_async(self._finish)(None)
        return await sync_to_async(self._finish)(job)

    def _finish(self, job: Job | None) -> HttpResponseBase:
        response: Any
        if job is None:
            response = self.handle_exception(NotFound("The job has been removed."))
        else:
            response = self.tell(job, self.granted())
        return self.finalize_response(self.request, response, *self.args, **self.kwargs)
