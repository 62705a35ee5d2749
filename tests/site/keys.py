"""Who calls the site: `Authorization: Bearer staff`, `Bearer guest`, or nobody."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from django_inference.serving.access import Caller


def user_of(caller: Caller) -> Any:
    """The owner of a key, anybody without one, and None for a key that is none."""
    scheme, _, key = caller.metadata.get("authorization", "").partition(" ")
    if not scheme:
        return AnonymousUser()
    if scheme != "Bearer" or key not in ("staff", "guest"):
        return None
    return User(username=key, is_staff=key == "staff")


class Keys(BaseAuthentication):
    """Knows two keys, and needs no database."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        user = user_of(
            Caller(metadata={"authorization": request.META.get("HTTP_AUTHORIZATION", "")})
        )
        if user is None:
            raise AuthenticationFailed("There is no such key.")
        return None if user.is_anonymous else (user, None)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
