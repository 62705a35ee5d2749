"""Pages for every predictor.

`path("predict/", include("django_inference.rest.jobs.pages.urls"))`
"""

from __future__ import annotations

from django.urls import path
from rest_framework.renderers import JSONRenderer

from django_inference.rest.jobs.pages.base import SiteAuthentication
from django_inference.rest.jobs.pages.views import JobPage, JobsPage, PicturePage, SubmitPage
from django_inference.rest.jobs.views import ResultView

app_name = "inference_pages"

urlpatterns = [
    path("<str:alias>/", SubmitPage.as_view(), name="submit"),
    path("<str:alias>/jobs/", JobsPage.as_view(), name="jobs"),
    path("<str:alias>/jobs/<uuid:id>/", JobPage.as_view(), name="job"),
    path("<str:alias>/jobs/<uuid:id>/picture.jpg", PicturePage.as_view(), name="picture"),
    path(
        "<str:alias>/jobs/<uuid:id>/result.json",
        ResultView.as_view(
            authentication_classes=[SiteAuthentication], renderer_classes=[JSONRenderer]
        ),
        name="result",
    ),
]
