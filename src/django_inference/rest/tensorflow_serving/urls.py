"""TensorFlow Serving's paths: `path("", include("django_inference.rest.tensorflow_serving.urls"))`.

Its clients add `/v1/models/…` to the address that they are given, so this goes where that
address points: at the root of the site, or at a prefix.
"""

from __future__ import annotations

from django.urls import re_path

from django_inference.rest.tensorflow_serving.views import TensorFlowServingView

app_name = "tensorflow_serving"
urlpatterns = [re_path(r"^[vV]1(?P<rest>/.*)?$", TensorFlowServingView.as_view(), name="v1")]
