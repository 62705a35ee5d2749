"""Bodies that came compressed, unpacked up to a bound."""

from __future__ import annotations

import zlib

from django_inference.exceptions import InferenceError, InvalidInput

#: What zlib calls the two headers, and a stream without any.
_GZIP, _ZLIB, _RAW = 31, 15, -15


class BodyTooLong(InferenceError):
    """A body has more bytes than are read, as it came or unpacked."""

    status_code = 413
    public = "The body is too large."

    def for_client(self, *, debug: bool = False) -> str:
        """The message itself, which is about what the client has sent."""
        return self.message or self.public


class UnknownEncoding(InvalidInput):
    """A body is compressed in a way that is not unpacked here."""

    status_code = 415


def inflate(body: bytes, encoding: str, limit: int | None) -> bytes:
    """Unpack a body.

    Args:
        body: as it came.
        encoding: what `Content-Encoding` says; empty for nothing.
        limit: bytes that are unpacked at the most; None is no limit.

    Raises:
        BodyTooLong: it has more.
        UnknownEncoding: it is neither gzip nor deflate.
        InvalidInput: it is not what it says.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip"):
        return _unpacked(body, _GZIP, limit)
    if encoding == "deflate":
        # The standard means zlib's header; some clients send the stream alone.
        has_header = body[:1] and body[0] & 0x0F == zlib.DEFLATED
        return _unpacked(body, _ZLIB if has_header else _RAW, limit)
    raise UnknownEncoding(f"Content-Encoding is gzip, deflate or identity, not {encoding[:40]!r}.")


def _unpacked(body: bytes, header: int, limit: int | None) -> bytes:
    packed = zlib.decompressobj(header)
    try:
        unpacked = packed.decompress(body, 0 if limit is None else limit + 1)
    except zlib.error as error:
        raise InvalidInput(f"the body is not compressed as it says: {error}.") from error
    if limit is not None and len(unpacked) > limit:
        raise BodyTooLong(f"the body has more than {limit} bytes when it is unpacked.")
    if not packed.eof or packed.unused_data:
        raise InvalidInput("the compressed body ends too early, or goes on behind its end.")
    return unpacked
