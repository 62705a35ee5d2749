"""A web server that serves a folder, and misbehaves when told to."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class WebServer(ThreadingHTTPServer):
    """Serves files with ETags and ranges.

    Attributes:
        folder: of the files.
        cuts: for each transfer to come, after how many bytes it is cut.
        etags: send them; without, the files have no validator at all.
        ranges: honour them.
        refers_to: where every request is sent on to.
        requests: path, `Range` and `Authorization` of each one.
        sent: bytes of bodies.
        hold: cleared: a transfer waits after its first half.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.cuts: list[int] = []
        self.etags = True
        self.ranges = True
        self.refers_to = ""
        self.requests: list[tuple[str, str, str]] = []
        self.sent = 0
        self.hold = threading.Event()
        self.hold.set()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range", "")
        server.requests.append((self.path, wanted, self.headers.get("Authorization", "")))
        if server.refers_to:
            self.send_response(302)
            self.send_header("Location", server.refers_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = server.folder / self.path.lstrip("/").partition("?")[0]
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"' if server.etags else ""
        if etag and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        begin = 0
        if wanted and server.ranges and self.headers.get("If-Range") == etag:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        self._send(body[begin:])

    def _send(self, body: bytes) -> None:
        server = self.server
        end = min(len(body), server.cuts.pop(0)) if server.cuts else len(body)
        try:
            self.wfile.write(body[: end // 2])
            server.hold.wait(60)
            self.wfile.write(body[end // 2 : end])
        except OSError:
            # The client did not want to read it.
            return
        server.sent += end
        if end < len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[WebServer]:
    """A server that runs until the end of the block."""
    server = WebServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
