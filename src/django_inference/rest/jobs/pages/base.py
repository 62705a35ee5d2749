"""What the pages have in common: plain views of Django, under the policies of the predictor."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_protect
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, NotFound
from rest_framework.request import Request

from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.jobs.models import Job
from django_inference.jobs.querysets import JobQuerySet
from django_inference.rest.exceptions import as_api_exception
from django_inference.rest.jobs.views import JobsView


class SiteAuthentication(BaseAuthentication):
    """Whoever is logged in to the site. The token of a form is the page's own concern."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        """Return the user of Django's session."""
        user = getattr(request._request, "user", None)
        return (user, None) if user is not None and user.is_active else None


# Also where the site has left the middleware out.
@method_decorator(csrf_protect, name="dispatch")
class JobPages(View):
    """A page about jobs of one predictor.

    Who may see it is up to the predictor's policies, as for its endpoints; but a visitor is
    known by the site's session, whatever the endpoints ask for.

    Attributes:
        alias: the predictor; None takes it from the URL.
        jobs_view: what submits and finds jobs; a view of `django_inference.rest.jobs`.
        title: of the predictor; None takes its alias.
        refresh: seconds between two looks of a page at a job that is not finished.
        template_name: of the page.
        refused_template_name: of a page that says why there is none.
    """

    alias: str | None = None
    jobs_view: type[JobsView] = JobsView
    title: str | None = None
    refresh: int = 1
    template_name: str = ""
    refused_template_name: str = "django_inference/jobs/refused.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a request, or say on a page why there is no answer."""
        try:
            self.api = self.get_api()
            self.api.perform_authentication(self.api.request)
            self.api.check_permissions(self.api.request)
            self.predictor: Predictor = self.api.get_predictor()
            return super().dispatch(request, *args, **kwargs)
        except NotFound as error:
            raise Http404(str(error.detail)) from error
        except (APIException, InferenceError) as error:
            return self.refuse(error)

    def get_api(self) -> JobsView:
        """The view whose policies hold, set up for this request."""
        view = self.jobs_view()
        view.authentication_classes = (SiteAuthentication,)
        if self.alias is not None:
            view.alias = self.alias
        view.setup(self.request, *self.args, **self.kwargs)
        view.request = view.initialize_request(self.request, *self.args, **self.kwargs)
        return view

    def get_jobs(self) -> JobQuerySet:
        """The visitor's own, the newest first."""
        return self.api.get_jobs().order_by("-created_at", "-pk")

    def get_job(self) -> Job:
        """The one that the URL names.

        Raises:
            NotFound: there is none, or it is another's.
        """
        return self.api.get_job()

    def get_title(self) -> str:
        """The heading of the pages."""
        return self.title or self.predictor.alias

    def page(self, *, status: int = 200, template: str = "", **context: Any) -> HttpResponse:
        """Render a template of these pages."""
        context |= {
            "title": self.get_title(),
            "predictor": self.predictor.alias,
            "refresh": self.refresh,
            "has_htmx": apps.is_installed("django_htmx"),
        }
        response = render(self.request, template or self.template_name, context, status=status)
        # A page of one visitor, and another one in a second.
        response.headers["Cache-Control"] = "private, no-store"
        return response

    def refuse(self, error: Exception) -> HttpResponse:
        """Say why there is no answer."""
        known = as_api_exception(error)
        assert isinstance(known, APIException)
        context = {"status": known.status_code, "reasons": reasons_of(known)}
        response = render(
            self.request, self.refused_template_name, context, status=known.status_code
        )
        wait = getattr(known, "wait", None)
        if wait is not None:
            response.headers["Retry-After"] = str(int(wait))
        return response


def reasons_of(error: APIException) -> list[str]:
    """What a refusal says, as sentences."""
    return list(_sentences(error.detail))


def _sentences(detail: Any) -> Any:
    if isinstance(detail, dict):
        for value in detail.values():
            yield from _sentences(value)
    elif isinstance(detail, list):
        for value in detail:
            yield from _sentences(value)
    else:
        yield str(detail)
