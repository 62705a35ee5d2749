"""Whose a job is: a user's, or that of a visitor whom the Django session remembers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.http import HttpRequest
from rest_framework.exceptions import NotAuthenticated

from django_inference.jobs.models import Job
from django_inference.jobs.querysets import JobQuerySet

#: In the session of a visitor without an account: one token, whatever the number of jobs, so
#: that two requests at once cannot overwrite each other's.
SESSION_KEY = "inference_submitter"

_NOBODY = "Log in first: a job belongs to whoever submits it."


@dataclass(frozen=True)
class Submitter:
    """Who is asking.

    Attributes:
        owner: a row of the user model; None for a visitor.
        token: what the visitor's session holds; empty where it holds none.
    """

    owner: Any = None
    token: str = ""

    def jobs(self) -> JobQuerySet:
        """Those that are this submitter's own, whichever predictor they are for."""
        if self.owner is None and not self.token:
            return Job.objects.none()
        mine = Q()
        if self.owner is not None:
            mine |= Q(owner=self.owner)
        if self.token:
            # Submitted before logging in: Django keeps the session of whoever does.
            mine |= Q(submitter=self.token)
        return Job.objects.filter(mine)

    def as_options(self) -> dict[str, Any]:
        """The arguments of `Predictor.submit`."""
        if self.owner is not None:
            return {"owner": self.owner}
        return {"submitter": self.token}


def submitter_of(request: HttpRequest, user: Any) -> Submitter:
    """Who sends a request.

    Args:
        request: with a session, if it has one.
        user: as the request was authenticated.
    """
    # Some ways of authentication have users without a row, which can own nothing.
    is_row = isinstance(user, get_user_model()) and user.is_authenticated
    session = getattr(request, "session", None)
    token = "" if session is None else session.get(SESSION_KEY, "")
    return Submitter(user if is_row else None, token)


def new_submitter(request: HttpRequest, user: Any) -> Submitter:
    """As `submitter_of`, for who is about to submit: a visitor gets a token.

    Raises:
        NotAuthenticated: nobody could find the job again: no user, and no sessions.
    """
    found = submitter_of(request, user)
    if found.owner is not None or found.token:
        return found
    session = getattr(request, "session", None)
    if session is None:
        raise NotAuthenticated(_NOBODY)
    session[SESSION_KEY] = token = secrets.token_urlsafe(32)
    return Submitter(token=token)
