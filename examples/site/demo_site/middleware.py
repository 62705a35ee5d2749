"""Headers of every response of the demo."""

from __future__ import annotations

import os
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

#: The pages load nothing from elsewhere and run no script, those of jobs excepted; the browser
#: is held to it.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; media-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: The pages for developers have scripts, of their own, and style what these make.
PROGRAMS = ("/api/", "/docs/")
PROGRAM_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'") + (
    "; script-src 'self'; connect-src 'self'; font-src 'self'"
)


#: The pages of jobs have one script, which asks for what is new.
LIVE = ("/folder/",)
LIVE_POLICY = POLICY + "; script-src 'self'; connect-src 'self'"


class DemoMiddleware:
    """Says which web worker answered, and what a page may load."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Add the headers to the response."""
        response = self._get_response(request)
        response["X-Web-Worker"] = str(os.getpid())
        response["Content-Security-Policy"] = policy_of(request.path)
        return response


def policy_of(path: str) -> str:
    """What the page at a path may load."""
    if path.startswith(PROGRAMS):
        return PROGRAM_POLICY
    return LIVE_POLICY if path.startswith(LIVE) else POLICY
