"""Jobs for programs and for people."""

from __future__ import annotations

from django.contrib.staticfiles import views as static
from django.urls import include, path

from tests.site import views

urlpatterns = [
    path("plain/", views.plain),
    path("api/", include("django_inference.rest.jobs.urls")),
    path("async/", include("django_inference.rest.jobs.async_urls", "awaited")),
    path("predict/", include("django_inference.rest.jobs.pages.urls")),
    path("static/<path:path>", static.serve, {"insecure": True}),
]
