"""A file or an archive on a web server, with nothing to install.

One GET with the server's own validators asks for a change and begins the transfer at once; so
it works with signed URLs too, which take no HEAD.
"""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from django_inference.artifacts.errors import ArtifactError, Changed, TransferCut
from django_inference.artifacts.location import Location
from django_inference.artifacts.source import PIECE, Listing, RemoteFile, Source, checked_names

#: Seconds without a byte after which a server is given up.
TIMEOUT = 60.0


class HttpSource(Source):
    """One URL.

    Args:
        location: `http://` or `https://`, with `user:password@` for Basic authentication.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        address = urllib.parse.urlsplit(location.path)
        user, _, host = address.netloc.rpartition("@")
        self._url = urllib.parse.urlunsplit(address._replace(netloc=host, fragment=""))
        self._credentials = urllib.parse.unquote_to_bytes(user)
        self._opener = urllib.request.build_opener(_Redirects)
        self._answer: Any = None
        self._tag = ""

    def look(self, known: str = "") -> Listing:
        """Ask for the file; the answer waits to be read."""
        headers = {}
        if known:
            etag, modified, _ = json.loads(known)
            headers = {"If-None-Match": etag, "If-Modified-Since": modified}
        answer = self._open({name: value for name, value in headers.items() if value})
        if answer is None:
            self._tag = known
            return Listing((), False, known)
        said = answer.headers
        length = said.get("Content-Length", "")
        facts = (said.get("ETag", ""), said.get("Last-Modified", ""), length)
        self._tag = json.dumps(facts) if facts[0] or facts[1] else ""
        size = int(length) if length.isdecimal() else None
        file = RemoteFile(self._location.name, size)
        return Listing(checked_names([file], self._location), False, self._tag)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read the answer that waits, or ask for the rest of the file."""
        etag, modified, _ = json.loads(self._tag) if self._tag else ("", "", "")
        # What is cut out of another version would not be noticed without a validator.
        validator = modified if etag.startswith("W/") else etag or modified
        if offset and not validator:
            offset = 0
        answer, self._answer = self._answer, None
        if answer is None or offset:
            self._answer = answer
            asked = {"Range": f"bytes={offset}-", "If-Range": validator} if offset else {}
            answer, self._answer = self._open(asked), None
            if answer.status != 206:
                offset = 0
            if answer.headers.get("ETag", etag) != etag:
                answer.close()
                raise Changed(f"{self._location} was changed while it was fetched.")
            part = answer.headers.get("Content-Range", "")
            if offset and not part.startswith(f"bytes {offset}-"):
                answer.close()
                raise ArtifactError(f"{self._location} answered another part than was asked for.")
        return offset, self._pieces(answer)

    def close(self) -> None:
        """Hang up."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _pieces(self, answer: Any) -> Iterator[bytes]:
        with answer:
            try:
                while piece := answer.read1(PIECE):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise TransferCut(f"{self._location} stopped in the middle: {error!r}") from error

    def _open(self, headers: dict[str, str]) -> Any:
        """Send a GET; return None when nothing has changed."""
        self.close()
        try:
            request = urllib.request.Request(
                self._url, headers={"Accept-Encoding": "identity", **headers}
            )
            if self._credentials:
                token = base64.b64encode(self._credentials).decode()
                # A server that this one refers to shall not be told.
                request.add_unredirected_header("Authorization", f"Basic {token}")
            self._answer = self._opener.open(request, timeout=TIMEOUT)
            return self._answer
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 304:
                said = f"{error.code} {error.reason}".strip()
                raise ArtifactError(f"{self._location} answered {said}.") from error
            return None
        except urllib.error.URLError as error:
            raise ArtifactError(f"{self._location}: {error.reason}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            # Some errors hold the path with its query, which may be a signature.
            query = urllib.parse.urlsplit(self._url).query
            said = repr(error).replace(query, "…") if query else repr(error)
            raise ArtifactError(f"{self._location} cannot be asked: {said}") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        new = urllib.parse.urlsplit(newurl).scheme
        if new != req.type and new != "https":
            # Whoever sits in between could put another model in its place.
            raise urllib.error.URLError(f"it refers from {req.type} to {new or 'nowhere'}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
