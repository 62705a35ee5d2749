"""Where everything is."""

from __future__ import annotations

from django.urls import path
from django.views.generic import TemplateView

from demo_site import views
from django_inference.rest import PredictView

urlpatterns = [
    path("", views.home, name="home"),
    path("faces/", views.Faces.as_view(), name="faces"),
    path("notes/", views.Notes.as_view(), name="notes"),
    path("types/", views.Types.as_view(), name="types"),
    path("samples/<slug:alias>/<slug:name>", views.sample_file, name="sample"),
    # The same models for programs: JSON, a multipart upload or raw bytes in, JSON out.
    path("api/faces/", PredictView.as_view(alias="faces"), name="api-faces"),
    path("api/notes/", PredictView.as_view(alias="notes"), name="api-notes"),
    path("api/types/", PredictView.as_view(alias="types"), name="api-types"),
    path("status.json", views.status, name="status"),
    # One small file: a server of its own for static files would be more than it needs.
    path(
        "style.css",
        TemplateView.as_view(template_name="style.css", content_type="text/css"),
        name="style",
    ),
]
