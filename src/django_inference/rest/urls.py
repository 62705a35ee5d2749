"""An endpoint for every predictor: `path("api/", include("django_inference.rest.urls"))`.

Permissions and throttles are the project's own defaults, `DEFAULT_PERMISSION_CLASSES` and
`DEFAULT_THROTTLE_CLASSES`.
"""

from __future__ import annotations

from django.urls import path

from django_inference.rest.views import PredictView

app_name = "inference"

urlpatterns = [path("<str:alias>/", PredictView.as_view(), name="predict")]
