"""Who the site says it is: headers, tokens and certificates."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from django.utils.module_loading import import_string

from django_inference.backends.remote.options import RemoteOptions
from django_inference.exceptions import RemoteError


class Credentials:
    """What every request of one predictor carries.

    Args:
        options: of the backend.
    """

    def __init__(self, options: RemoteOptions) -> None:
        self._options = options
        self._fixed = tuple((name.lower(), value) for name, value in options.headers.items())
        if options.token is not None:
            self._fixed += (("authorization", f"Bearer {options.token}"),)
        self._token: Callable[[], str] | None = None

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"<Credentials of {', '.join(name for name, _ in self._fixed) or 'nobody'}>"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names in lower case, and values. The function of `token_from` is called each time.

        Raises:
            RemoteError: it cannot be imported, or raised.
        """
        dotted = self._options.token_from
        if dotted is None:
            return self._fixed
        try:
            if self._token is None:
                self._token = import_string(dotted)
            return (*self._fixed, ("authorization", f"Bearer {self._token()}"))
        except Exception as error:
            raise RemoteError(
                f"OPTIONS['token_from'], {dotted!r}, gave no token: {type(error).__name__}: {error}"
            ) from error

    def context(self) -> ssl.SSLContext:
        """For HTTPS.

        Raises:
            OSError: a file cannot be read, or is no certificate.
        """
        options = self._options
        context = ssl.create_default_context(cafile=options.tls_ca)
        if options.tls_certificate is not None:
            context.load_cert_chain(options.tls_certificate, options.tls_key)
        return context

    def files(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """For gRPC: the certificates to trust, the own key, and the own certificate.

        Raises:
            OSError: a file cannot be read.
        """
        options = self._options
        return (
            _content(options.tls_ca),
            _content(options.tls_key or options.tls_certificate),
            _content(options.tls_certificate),
        )


def _content(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
