"""Request bodies: JSON that is read strictly, and any other type as bytes."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework import parsers
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.utils.json import strict_constant

from django_inference.rest.exceptions import BodyTooLarge
from django_inference.rest.inputs import Inputs
from django_inference.wire import npy

#: How half of a surrogate pair, which is no text, comes into a JSON string.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_CONTAINERS = frozenset({dict, list})
_TOO_DEEP = "nested too deeply"
_FORMS = ("application/x-www-form-urlencoded", "multipart/")


class JSONParser(parsers.JSONParser):
    """Reads `{"b64": "…"}` as bytes; refuses what two readers could understand differently.

    Beside DRF's own parser it answers 400 to names that appear twice in an object, to
    nesting too deep to be read and to texts that are not Unicode. NaN and Infinity are
    refused unless `STRICT_JSON` is off.

    Attributes:
        max_depth: levels of objects and lists within each other.
    """

    max_depth = 64

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value that the body holds."""
        encoding = _encoding(parser_context or {})
        # Versions of DRF differ in whether they look at it.
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = _read(stream, limit, "DATA_UPLOAD_MAX_MEMORY_SIZE allows")
        try:
            text = body.decode(encoding)
            value = json.loads(
                text,
                parse_constant=strict_constant if self.strict else None,
                object_pairs_hook=_object,
            )
            _check_depth(value, self.max_depth)
            if _SURROGATE.search(text):
                json.dumps(value, ensure_ascii=False, default=repr).encode()
        except RecursionError:
            raise ParseError(f"JSON parse error - {_TOO_DEEP}") from None
        except ValueError as error:
            raise ParseError(f"JSON parse error - {error}") from error
        return value


class RawParser(parsers.BaseParser):
    """Takes a body of any other type as bytes, such as image/jpeg or audio/wav.

    No more of it is read than `max_body_bytes` of the view or the predictor. Forms without
    files are refused: `curl --data-binary` labels everything as one, and a photo read as a
    form would be lost in silence.
    """

    media_type = "*/*"

    def parse(  # type: ignore[override]  # a parser may return anything
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return the body."""
        if (media_type or "").lower().startswith(_FORMS):
            raise UnsupportedMediaType(
                media_type or "",
                f'Unsupported media type "{media_type}" in request. Send JSON, files as '
                "multipart/form-data, or bytes with a Content-Type of their own, such as "
                "image/jpeg or application/octet-stream.",
            )
        context = parser_context or {}
        view = context.get("view")
        limit: int | None = view.get_max_body_bytes() if view else None
        body = _read(stream, limit, "this takes")
        if "request" in context and len(body) < body_length(context["request"]):
            raise ParseError("The body ended too early.")
        return body


class NpyParser(RawParser):
    """Reads a `.npy` or `.npz` file as named tensors, and any other body as bytes.

    A model that is to be given the bytes of such a file gets them under another type, such
    as `application/x-npy`.
    """

    media_type = "application/octet-stream"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return `Inputs`, or the body."""
        body = super().parse(stream, media_type, parser_context)
        view = (parser_context or {}).get("view")
        try:
            if npy.is_npy(body):
                return Inputs(npy.read_npy(body))
            if npy.is_npz(body):
                return Inputs(npy.read_npz(body, view.get_max_body_bytes() if view else None))
        except ValueError as error:
            raise ParseError(str(error)) from error
        return body


def body_length(request: Request) -> int:
    """The bytes that the client announced; 0 where it did not say."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _read(stream: IO[Any], limit: int | None, because: str) -> bytes:
    body = bytes(stream.read() if limit is None else stream.read(limit + 1))
    if limit is not None and len(body) > limit:
        raise BodyTooLarge(f"The body has more than the {limit} bytes that {because}.")
    return body


def _encoding(parser_context: Mapping[str, Any]) -> str:
    encoding = parser_context.get("encoding") or settings.DEFAULT_CHARSET
    try:
        # Unlike bytes.decode(), this refuses the codecs that unpack: a few bytes of bz2
        # may hold gigabytes.
        "".encode(encoding)
    except (LookupError, UnicodeError):
        raise ParseError(f"JSON parse error - unknown charset {encoding[:100]!r}") from None
    return str(encoding)


def _check_depth(value: Any, limit: int) -> None:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _containers(parent: Any) -> Iterable[Any]:
    children = parent.values() if type(parent) is dict else parent
    # The rows of a large array hold numbers only: one pass of C for each of them.
    if type(parent) not in _CONTAINERS or _CONTAINERS.isdisjoint(map(type, children)):
        return ()
    return (child for child in children if type(child) in _CONTAINERS)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice, _ = counts.most_common(1)[0]
        raise ValueError(f"the name {twice[:100]!r} appears twice in one object")
    if len(value) == 1 and isinstance(value.get("b64"), str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f'the value of "b64" is not base64: {error}') from error
    return value
