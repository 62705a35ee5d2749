"""Pictures on web servers that the site has named."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from django_inference.exceptions import InvalidInput

#: Seconds for every wait, and for all of it: the model waits as well.
_WAIT, _SECONDS = 5.0, 15.0
_MAX_BYTES = 32 * 2**20
_CHUNK = 64 * 2**10


class AllowedAddresses:
    """Fetches what lies below the named addresses, and nothing else.

    Args:
        prefixes: such as `https://media.example.org/photos/`: a scheme, a host and a
            folder. What a client names is fetched from inside the site's network, so
            there is no way to say "any".

    Raises:
        ValueError: a prefix leaves open which host or folder it means.
    """

    def __init__(self, prefixes: Sequence[str] = ()) -> None:
        if isinstance(prefixes, str):
            raise ValueError(f"allow_urls must be a list of addresses, not the text {prefixes!r}.")
        self._prefixes = [_prefix(text) for text in prefixes]

    def fetch(self, address: str) -> bytes:
        """Return what an address holds; redirections are not followed.

        Raises:
            InvalidInput: it is not allowed, cannot be fetched, or is too large.
        """
        if not self._allows(address):
            raise InvalidInput(
                f"pictures may not be fetched from {address[:200]!r}; the option allow_urls "
                "names what their addresses must begin with."
            )
        try:
            return _download(address)
        except urllib.error.HTTPError as error:
            with error:
                raise InvalidInput(
                    f"the picture at {address[:200]!r} was answered {error.code} {error.reason}."
                ) from error
        except (OSError, HTTPException, ValueError) as error:
            raise InvalidInput(
                f"the picture at {address[:200]!r} cannot be fetched: {error}."
            ) from error

    def _allows(self, address: str) -> bool:
        try:
            parts = urlsplit(address)
        except ValueError:
            return False
        steps = unquote(parts.path).replace("\\", "/").split("/")
        # A server may take these for the folder above.
        if ".." in steps or "." in steps:
            return False
        return any(
            (parts.scheme, parts.netloc.lower()) == (allowed.scheme, allowed.netloc)
            and parts.path.startswith(allowed.path)
            for allowed in self._prefixes
        )


class _NoRedirections(urllib.request.HTTPRedirectHandler):
    """Leaves a redirection to be raised as the error that it is here."""

    def redirect_request(self, *args: Any) -> None:
        """Refuse."""


def _prefix(text: str) -> SplitResult:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.path.endswith("/"):
        raise ValueError(
            f"allow_urls: {text!r} must be a scheme, a host and a folder that ends in a slash, "
            "such as 'https://media.example.org/photos/'."
        )
    return parts._replace(netloc=parts.netloc.lower())


def _download(address: str) -> bytes:
    ends = time.monotonic() + _SECONDS
    opener = urllib.request.build_opener(_NoRedirections)
    chunks: list[bytes] = []
    length = 0
    with opener.open(address, timeout=_WAIT) as response:
        while chunk := response.read1(_CHUNK):
            chunks.append(chunk)
            length += len(chunk)
            if length > _MAX_BYTES:
                raise ValueError(f"it has more than {_MAX_BYTES} bytes")
            if time.monotonic() > ends:
                raise TimeoutError(f"it took longer than {_SECONDS:g} seconds")
        if response.length:
            raise ValueError(f"it ended {response.length} bytes too early")
    return b"".join(chunks)
