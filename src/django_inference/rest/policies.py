"""Who may call a predictor over HTTP, how often, and with how much.

`REST` of the predictor decides; what it leaves out, Django REST framework's own settings
decide; and attributes of a view go before both. Everything is read for each request, so
`override_settings` works.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from django_inference.conf import InvalidPredictor, RestSettings, rest_classes
from django_inference.registry import UnknownPredictor, predictors
from django_inference.rest.exceptions import BodyTooLarge, LengthRequired
from django_inference.rest.parsers import body_length
from django_inference.rest.throttles import RequestThrottle, RowThrottle


@dataclass(frozen=True)
class Policies:
    """What holds for one predictor, or for requests that name none.

    Attributes:
        alias: the predictor; empty for requests that name none.
        rest: its settings; the defaults where it is not declared, so that nobody learns from
            a refusal which ones are.
    """

    alias: str
    rest: RestSettings

    @property
    def enabled(self) -> bool:
        """The predictor may be called over HTTP."""
        return self.rest.enabled

    @property
    def max_body_bytes(self) -> int | None:
        """Longer bodies are answered 413; None is no limit."""
        return self.rest.max_body_bytes

    @property
    def authentication_classes(self) -> tuple[Any, ...]:
        """How callers say who they are."""
        return self._classes("authentication_classes", api_settings.DEFAULT_AUTHENTICATION_CLASSES)

    @property
    def permission_classes(self) -> tuple[Any, ...]:
        """Who may call."""
        return self._classes("permission_classes", api_settings.DEFAULT_PERMISSION_CLASSES)

    @property
    def throttle_classes(self) -> tuple[Any, ...]:
        """How often, beside `throttle`."""
        return self._classes("throttle_classes", api_settings.DEFAULT_THROTTLE_CLASSES)

    @property
    def parser_classes(self) -> tuple[Any, ...] | None:
        """Which bodies are read; None leaves it to the view."""
        return rest_classes(self.alias, self.rest, "parser_classes")

    @property
    def renderer_classes(self) -> tuple[Any, ...] | None:
        """In which forms the answer comes; None leaves it to the view."""
        return rest_classes(self.alias, self.rest, "renderer_classes")

    @property
    def serializer_class(self) -> Any | None:
        """What turns a body into inputs; None derives it from the signature."""
        found = rest_classes(self.alias, self.rest, "serializer_class")
        return found[0] if found else None

    def rate_throttles(self) -> list[BaseThrottle]:
        """What `throttle` says of requests."""
        rate = self.rest.throttle.get("requests")
        return [RequestThrottle(self.alias, rate)] if rate else []

    def check_rows(self, request: Request, view: Any, rows: int) -> None:
        """Count the rows, or items, of a request that is about to be predicted.

        Raises:
            Throttled: they would be too many; none is counted then.
        """
        if rate := self.rest.throttle.get("rows"):
            RowThrottle(self.alias, rate).take(request, view, rows)

    def _classes(self, key: str, default: Sequence[Any]) -> tuple[Any, ...]:
        found = rest_classes(self.alias, self.rest, key)
        return tuple(default) if found is None else found


def policies_of(alias: str | None) -> Policies:
    """The policies of a predictor; Django REST framework's own for None and unknown names.

    Loads no model.

    Raises:
        InvalidPredictor: it is declared wrongly.
    """
    try:
        rest = predictors[alias].backend.settings.rest if alias else RestSettings()
    except UnknownPredictor:
        rest = RestSettings()
    if not rest.enabled:
        # Whoever is refused shall not learn from how that there is such a predictor.
        rest = RestSettings(enabled=False)
    return Policies(alias or "", rest)


def exposed() -> list[str]:
    """The predictors that have endpoints. One that is declared wrongly has none worth a look."""
    found = []
    for alias in predictors:
        with contextlib.suppress(InvalidPredictor):
            if policies_of(alias).enabled:
                found.append(alias)
    return found


class PolicyMixin(APIView):
    """A view that keeps to the policies of the predictor that a request names.

    What a subclass or `as_view()` sets itself goes before them: `authentication_classes`,
    `permission_classes`, `throttle_classes` and `max_body_bytes`.

    Attributes:
        max_body_bytes: longer bodies are answered 413; None is no limit.
    """

    max_body_bytes: int | None = RestSettings().max_body_bytes

    def policy_alias(self) -> str | None:
        """The predictor that this request names; None where it names none."""
        raise NotImplementedError

    @cached_property
    def policies(self) -> Policies:
        """Those of the predictor that this request names."""
        return policies_of(self.policy_alias())

    def is_set(self, name: str) -> bool:
        """Whether a subclass or `as_view()` has set an attribute itself."""
        kind: Any = type(self)
        return name in vars(self) or _is_own(kind, name)

    def get_max_body_bytes(self) -> int | None:
        """The longest body that this request may have; None is no limit."""
        return (
            self.max_body_bytes if self.is_set("max_body_bytes") else self.policies.max_body_bytes
        )

    def get_authenticators(self) -> list[BaseAuthentication]:
        """How callers say who they are."""
        if self.is_set("authentication_classes"):
            return super().get_authenticators()
        return [kind() for kind in self.policies.authentication_classes]

    def get_permissions(self) -> Sequence[Any]:
        """Who may call."""
        if self.is_set("permission_classes"):
            return super().get_permissions()
        return [kind() for kind in self.policies.permission_classes]

    def get_throttles(self) -> list[BaseThrottle]:
        """How often."""
        if self.is_set("throttle_classes"):
            own = super().get_throttles()
        else:
            own = [kind() for kind in self.policies.throttle_classes]
        return [*own, *self.policies.rate_throttles()]

    def check_rows(self, rows: int) -> None:
        """Count what is about to be predicted; to be called before any model is.

        Raises:
            Throttled: this caller has had too many rows.
        """
        self.policies.check_rows(self.request, self, rows)

    def check_body_length(self, request: Request) -> None:
        """Look at what a client says of its body, before anything reads it.

        Raises:
            BodyTooLarge: it is longer than `max_body_bytes`.
            LengthRequired: it comes in chunks, and nobody knows how long it is.
        """
        length, limit = body_length(request), self.get_max_body_bytes()
        if limit is not None and length > limit:
            raise BodyTooLarge(
                f"The body has {length} bytes, more than the {limit} that this takes."
            )
        if length <= 0 and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            raise LengthRequired


@lru_cache(maxsize=1024)
def _is_own(kind: type, name: str) -> bool:
    bases = (base for base in kind.__mro__ if not base.__module__.startswith(_NOT_OWN))
    return any(name in vars(base) for base in bases)


#: Django's, Django REST framework's and this package's classes set no more than defaults.
_NOT_OWN = ("builtins", "django.", "django_inference.", "rest_framework.")
