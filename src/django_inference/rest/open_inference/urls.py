"""The protocol's paths, below whichever prefix they are included at.

Each is answered with and without a slash at its end: clients follow no redirects.
"""

from __future__ import annotations

from django.urls import URLPattern, re_path
from rest_framework.views import APIView

from django_inference.rest.open_inference import views
from django_inference.rest.protocol import NoSuchPath

app_name = "open_inference"

_MODEL = r"v2/models/(?P<alias>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_OF_REPOSITORY = r"v2/repository/models/(?P<alias>[^/]+)"


def _at(route: str, view: type[APIView], name: str) -> URLPattern:
    return re_path(rf"^{route}/?$", view.as_view(), name=name)


urlpatterns = [
    _at(rf"{_MODEL}/infer", views.InferView, "infer"),
    _at(rf"{_MODEL}/ready", views.ModelReadyView, "model-ready"),
    _at(_MODEL, views.ModelView, "model"),
    _at("v2", views.ServerView, "server"),
    _at("v2/health/live", views.LiveView, "live"),
    _at("v2/health/ready", views.ReadyView, "ready"),
    _at("v2/repository/index", views.IndexView, "index"),
    _at(rf"{_OF_REPOSITORY}/load", views.LoadView, "load"),
    _at(rf"{_OF_REPOSITORY}/unload", views.UnloadView, "unload"),
    re_path(r"^v2/", NoSuchPath.as_view()),
]
