"""The URLs of `OPTIONS["endpoints"]`."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from django_inference.words import suggestion

Wire: TypeAlias = Literal["rest", "grpc"]

#: Which wire a scheme stands for, and whether it is encrypted.
SCHEMES: dict[str, tuple[Wire, bool]] = {
    "http": ("rest", False),
    "https": ("rest", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}


class Address(NamedTuple):
    """One server, and how it is spoken to.

    Attributes:
        url: as the settings have it, without a slash at the end.
        wire: `rest` or `grpc`.
        is_secure: by TLS.
        target: host and port, as gRPC takes them.
    """

    url: str
    wire: Wire
    is_secure: bool
    target: str


def parse_endpoint(url: str) -> Address:
    """Read one URL.

    Raises:
        ValueError: it names no server; the message says why, and not what it holds of secrets.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"it is no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("a name and a password belong into 'token' or 'headers'")
    if parts.scheme not in SCHEMES:
        near = suggestion(parts.scheme, SCHEMES) if parts.scheme else ""
        raise ValueError(f"it has to begin with {', '.join(f'{s}://' for s in SCHEMES)}{near}")
    if not parts.hostname:
        raise ValueError("it names no host")
    if parts.query or parts.fragment:
        raise ValueError("it ends with the path: no '?' and no '#'")
    wire, is_secure = SCHEMES[parts.scheme]
    if wire == "grpc" and parts.path.strip("/"):
        raise ValueError("gRPC knows no path: it ends with the port")
    if wire == "grpc" and port is None:
        raise ValueError("gRPC has no usual port: add it, as in grpc://models:8001")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    target = f"{host}:{port or (443 if is_secure else 80)}"
    return Address(url.rstrip("/"), wire, is_secure, target)
