"""Requests to the site, as any client would send them."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from demo_site.samples import Upload

Status = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: of HTTP.
        worker: the gunicorn worker that answered.
        headers: by lower-case name.
        text: the body.
        seconds: from sending to having read it.
    """

    status: int
    worker: int
    headers: dict[str, str]
    text: str
    seconds: float

    @property
    def data(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.text)


def request(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
    """Send one request over a connection of its own.

    Raises:
        OSError: nobody listens, or nobody answers.
    """
    # Straight to the loopback interface, whatever proxy the environment names.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, {**named, "Connection": "close"})
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method} {path}: {error!r}") from error
    finally:
        connection.close()
    found = {name.lower(): value for name, value in response.getheaders()}
    seconds = time.perf_counter() - began
    return Reply(response.status, int(found.get("x-web-worker", 0)), found, text, seconds)


def get_status(port: int) -> Status:
    """The site's own account of its processes and models."""
    reply = request(port, "GET", "/status.json")
    if reply.status != 200:
        raise ConnectionError(f"/status.json answered {reply.status}")
    found: Status = reply.data
    return found


def multipart(uploads: Iterable[Upload], field: str, **fields: str) -> tuple[bytes, str]:
    """Encode files as a form does; return the body and its content type."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for upload in uploads:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; '
            f'filename="{upload.name}"\r\nContent-Type: {upload.content_type}\r\n\r\n'
        )
        parts.append(head.encode() + upload.content + b"\r\n")
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def post_form(
    port: int, path: str, uploads: Iterable[Upload] = (), field: str = "file", **fields: str
) -> tuple[Reply, str]:
    """Fetch a form and send it, as a browser does; return the reply, and the visitor's cookies."""
    form = request(port, "GET", path)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
    fields |= {"csrfmiddlewaretoken": token[1] if token else ""}
    body, content_type = multipart(uploads, field, **fields)
    cookies = _cookie(form)
    reply = request(port, "POST", path, body, Content_Type=content_type, Cookie=cookies)
    return reply, "; ".join(filter(None, (cookies, _cookie(reply))))


def _cookie(reply: Reply) -> str:
    return reply.headers.get("set-cookie", "").split(";")[0]


def predict(port: int, alias: str, uploads: list[Upload]) -> Reply:
    """Send files to the API of a predictor, all in one request."""
    body, content_type = multipart(uploads, "file")
    return request(port, "POST", f"/api/{alias}/", body, Content_Type=content_type)


def predict_through_all(
    port: int, alias: str, uploads: list[Upload], workers: set[int], rounds: int = 30
) -> list[Reply]:
    """Send the same files until every web worker has answered once.

    Which worker accepts a connection is for the system to decide, so several are sent at a
    time, and some rounds more if that was not enough.
    """
    replies: list[Reply] = []
    with ThreadPoolExecutor(2 * len(workers) or 1) as pool:
        for _ in range(rounds):
            sent = [pool.submit(predict, port, alias, uploads) for _ in range(2 * len(workers))]
            replies += [future.result() for future in sent]
            if workers <= {reply.worker for reply in replies}:
                break
    return replies
