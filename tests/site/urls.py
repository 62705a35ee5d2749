"""The pages of the site."""

from __future__ import annotations

import os

from django.urls import URLPattern, URLResolver, include, path

from tests.site import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("plain/", views.plain),
    path("modules/", views.modules),
    path("predict/<alias>/", views.predict),
    path("apredict/<alias>/", views.apredict),
    path("cancel/", views.cancel),
    path("stream/<alias>/", views.stream),
    path("astream/<alias>/", views.astream),
    path("status/<alias>/", views.status),
    path("reload/<alias>/", views.reload),
]

if os.environ.get("SITE_REST") == "1":
    from django_inference.rest import PredictView

    urlpatterns += [
        path("detect/<alias>/", PredictView.as_view()),
        path("api/", include("django_inference.rest.urls")),
        path("aapi/", include("django_inference.rest.async_urls", namespace="awaited")),
    ]

if os.environ.get("SITE_OPEN_INFERENCE") == "1":
    urlpatterns += [
        path("", include("django_inference.rest.open_inference.urls", namespace="at_root")),
        path(
            "some/prefix/",
            include("django_inference.rest.open_inference.urls", namespace="at_prefix"),
        ),
    ]

if os.environ.get("SITE_TENSORFLOW_SERVING") == "1":
    urlpatterns += [
        path("", include("django_inference.rest.tensorflow_serving.urls", namespace="tfs_at_root")),
        path(
            "some/prefix/",
            include("django_inference.rest.tensorflow_serving.urls", namespace="tfs_at_prefix"),
        ),
    ]
