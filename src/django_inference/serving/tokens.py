"""Ready-made values of `AUTHENTICATION`."""

from __future__ import annotations

import hashlib
from typing import Any

from django.apps import apps

from django_inference.conf import serve_settings
from django_inference.serving.access import Caller
from django_inference.serving.users import Stranger

#: The model, by name: Django REST framework itself is not needed here.
TOKEN = ("authtoken", "Token")


class ApiKeys:
    """Knows the clients in `INFERENCE_SERVE["API_KEYS"]`; needs no database.

    A client sends its key as `authorization: Bearer …` or as `x-api-key`.
    """

    def __init__(self) -> None:
        # Looking up a digest takes the same time however much of a guess is right.
        self._clients = {
            _digest(entry.key): Stranger(name, is_staff=entry.staff, predictors=entry.predictors)
            for name, entry in serve_settings().api_keys.items()
        }

    async def __call__(self, caller: Caller) -> Stranger | None:
        """The client of this name, or None."""
        key = caller.token("Bearer") or caller.metadata.get("x-api-key", "")
        return self._clients.get(_digest(key)) if key else None


class DatabaseTokens:
    """Knows the tokens of `rest_framework.authtoken`, and the users whose they are.

    A client sends its token as `authorization: Token …`, or with `Bearer` before it.
    """

    def __call__(self, caller: Caller) -> Any:
        """The user whose token it is, or None."""
        key = caller.token("Token", "Bearer")
        if not key or "\0" in key:
            return None
        tokens = apps.get_model(*TOKEN)._default_manager
        token = tokens.select_related("user").filter(key=key).first()
        return token.user if token is not None and token.user.is_active else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
