"""No views: a test that needs some names its own module with `pytest.mark.urls`."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver

urlpatterns: list[URLPattern | URLResolver] = []
