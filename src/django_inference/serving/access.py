"""Whose call it is, and what they may do: for servers without Django's middleware.

`INFERENCE_SERVE` names who decides. `AUTHENTICATION` is given a `Caller` and returns a user, or
None to refuse; `PERMISSION` is given a user, an alias and an action. Both may be functions,
classes (made once, without arguments) or coroutine functions; what is none runs in a thread,
and may use the database.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
from django.core.exceptions import PermissionDenied
from django.core.signals import setting_changed
from django.db import close_old_connections
from django.utils.module_loading import import_string

from django_inference.conf import ServeSettings, serve_settings
from django_inference.serving.users import Anonymous

#: What a call is about: a prediction, a look at a model or (without an alias) at the server.
Action: TypeAlias = Literal["infer", "read", "load", "unload"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a caller before anybody is asked.

    Attributes:
        metadata: of a call by gRPC, or the headers of a request, by names in lower case.
        peer: the address that the call came from, as the transport writes it.
        names: that the client's certificate gives, where one was asked for and checked.
    """

    metadata: Mapping[str, str]
    peer: str = ""
    names: tuple[str, ...] = ()

    def token(self, *schemes: str) -> str:
        """What `authorization` holds behind one of these words, or an empty string."""
        scheme, _, token = self.metadata.get("authorization", "").strip().partition(" ")
        return token.strip() if scheme.lower() in map(str.lower, schemes) else ""


class Refused(Exception):
    """A call that is not answered.

    Attributes:
        status_code: the HTTP status that says the same.
        public: what the client is told.
    """

    status_code: ClassVar[int] = 403
    public: ClassVar[str] = "This is not allowed."


class NotAuthenticated(Refused):
    """Nobody knows whose call it is."""

    status_code = 401
    public = "Credentials are missing or wrong."


class Gate:
    """Lets calls in, as `INFERENCE_SERVE` says.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._authenticate = _hook(settings.authentication)
        self._may = _hook(settings.permission)
        self._permissions = settings.permissions

    async def admit(self, caller: Caller) -> Any:
        """The user whose call it is.

        Raises:
            NotAuthenticated: nobody's.
            Refused: a user's who is let in nowhere.
        """
        if self._authenticate is None:
            return Anonymous()
        try:
            user = await _call(self._authenticate, caller)
        except PermissionDenied as error:
            raise Refused from error
        if user is None:
            raise NotAuthenticated
        return user

    async def check(self, user: Any, alias: str, action: Action) -> None:
        """Ask whether a user may do something; to be called before any model is touched.

        Loading and unloading are for staff. Whether there is such a model is not looked at.

        Args:
            user: that `admit` returned.
            alias: of the predictor; empty for what is about the server.
            action: what the call is about.

        Raises:
            Refused: no.
        """
        if action in ("load", "unload") and not (user.is_active and user.is_staff):
            raise Refused
        of_user = getattr(user, "predictors", None)
        if of_user is not None and alias and alias not in of_user:
            raise Refused
        permission = self._permissions.get(alias)
        if permission is not None and not await _call(user.has_perm, permission):
            raise Refused
        if self._may is not None and not await _call(self._may, user, alias, action):
            raise Refused


@cache
def gate() -> Gate:
    """The gate of this process.

    Raises:
        InvalidPredictor: `INFERENCE_SERVE` is wrong.
    """
    return Gate(serve_settings())


def reset(*, setting: str, **kwargs: Any) -> None:
    """Receiver of `setting_changed`."""
    if setting == "INFERENCE_SERVE":
        gate.cache_clear()


setting_changed.connect(reset, dispatch_uid="django_inference.serving.access.reset")


def _hook(dotted: str | None) -> Callable[..., Any] | None:
    if dotted is None:
        return None
    found = import_string(dotted)
    hook: Callable[..., Any] = found() if isinstance(found, type) else found
    return hook


async def _call(hook: Callable[..., Any], *args: Any) -> Any:
    if _is_async(hook):
        return await hook(*args)
    return await asyncio.to_thread(_with_database, hook, *args)


def _is_async(hook: Callable[..., Any]) -> bool:
    return any(map(inspect.iscoroutinefunction, (hook, type(hook).__call__)))


def _with_database(hook: Callable[..., Any], *args: Any) -> Any:
    # There is no request whose end would do so.
    close_old_connections()
    try:
        return hook(*args)
    finally:
        close_old_connections()
