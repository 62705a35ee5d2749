"""Both open protocols by REST as an ASGI application of their own: no middleware, no views.

For machines that are model servers and nothing else; `manage.py inference_serve` runs it. Who
may call is for `INFERENCE_SERVE` to say, as it is for gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_inference.asgi.application import Application


def get_inference_application() -> Application:
    """Set Django up and make the application, as `get_asgi_application` does for a site."""
    import django

    django.setup(set_prefix=False)
    from django_inference.asgi.application import Application

    return Application()
