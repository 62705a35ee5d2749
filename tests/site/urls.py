"""The pages of the site."""

from __future__ import annotations

from django.urls import path

from tests.site import views

urlpatterns = [
    path("plain/", views.plain),
    path("modules/", views.modules),
    path("predict/<alias>/", views.predict),
    path("apredict/<alias>/", views.apredict),
    path("cancel/", views.cancel),
]
