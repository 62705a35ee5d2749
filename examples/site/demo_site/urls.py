"""Where everything is."""

from __future__ import annotations

from django.contrib.staticfiles import views as static
from django.urls import include, path
from django.views.generic import TemplateView
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from demo_site import folder, views

urlpatterns = [
    path("", views.home, name="home"),
    path("faces/", views.Faces.as_view(), name="faces"),
    path("notes/", views.Notes.as_view(), name="notes"),
    path("types/", views.Types.as_view(), name="types"),
    path("samples/<slug:alias>/<slug:name>", views.sample_file, name="sample"),
    # A folder of photos, each a job of its own; whoever submits them may close the browser.
    path("folder/", folder.Folder.as_view(), name="folder"),
    path("folder/jobs/", folder.FolderJobs.as_view(), name="folder-jobs"),
    path("folder/jobs/<uuid:id>/", folder.FolderJob.as_view()),
    path("folder/jobs/<uuid:id>/picture.jpg", folder.FolderPicture.as_view()),
    path("folder/jobs/<uuid:id>/result.json", folder.result),
    # The same models for programs: JSON, uploads, raw bytes or arrays in, JSON or arrays out.
    path("api/", include("django_inference.rest.urls")),
    path("api/", include("django_inference.rest.jobs.urls")),
    # And for programs that were written for Triton, KServe, MLServer or TensorFlow Serving.
    path("", include("django_inference.rest.open_inference.urls")),
    path("", include("django_inference.rest.tensorflow_serving.urls")),
    path("openapi/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(), name="docs"),
    # The scripts of that page and of the browsable API. A site of your own has a server for them.
    path("static/<path:path>", static.serve, {"insecure": True}),
    path("status.json", views.status, name="status"),
    # One small file: a server of its own for static files would be more than it needs.
    path(
        "style.css",
        TemplateView.as_view(template_name="style.css", content_type="text/css"),
        name="style",
    ),
]
