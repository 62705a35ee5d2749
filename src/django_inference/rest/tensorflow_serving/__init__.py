"""TensorFlow Serving's REST interface, behind Django's authentication and permissions.

`path("", include("django_inference.rest.tensorflow_serving.urls"))` serves it at the root, and
any other prefix does as well.
"""
