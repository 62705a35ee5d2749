"""`OPTIONS` that both remote backends take."""

from __future__ import annotations

from typing import Annotated

import msgspec

from django_inference.backends.base import BackendOptions

Path = Annotated[str, msgspec.Meta(min_length=1)]


class RemoteOptions(BackendOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the servers of one model are called.

    Attributes:
        endpoints: their URLs; `http`, `https`, `grpc` and `grpcs` decide the wire.
        model: the name that the servers know it by; None is the alias.
        version: that is asked for; None leaves it to the servers.
        attempt_timeout: seconds that one server has, where there is another one to ask;
            None is all that the call has.
        connections: to one server at once, over HTTP.
        health_interval: seconds between two questions after a server's health, while calls
            are made; None asks none.
        breaker_failures: calls in a row that are lost before a server is left alone.
        breaker_seconds: for which it is.
        retry_budget: resends after an answer, or to the same server, as a share of the
            calls; 0 sends nothing again but to another server.
        token: of `Authorization: Bearer`.
        token_from: dotted path of a function that returns it.
        headers: that each request has, over either wire.
        tls_ca: path of the certificates to trust; None are the system's.
        tls_certificate: path of the client's own certificate.
        tls_key: path of its key.
        max_request_bytes: a longer request is refused.
        max_response_bytes: a longer answer is refused.
    """

    endpoints: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    version: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    preload: bool = False
    attempt_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    connections: Annotated[int, msgspec.Meta(ge=1)] = 64
    health_interval: Annotated[float, msgspec.Meta(gt=0)] | None = 5.0
    breaker_failures: Annotated[int, msgspec.Meta(ge=1)] = 3
    breaker_seconds: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    retry_budget: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
    token: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    token_from: Path | None = None
    headers: dict[str, str] = {}
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    max_request_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 30
    max_response_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 30
