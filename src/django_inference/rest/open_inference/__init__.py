"""The Open Inference Protocol, version 2, behind Django's authentication and permissions.

`path("", include("django_inference.rest.open_inference.urls"))` serves it at the root, and
any other prefix does as well.
"""
