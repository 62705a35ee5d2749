"""Web servers that run the test site."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

T = TypeVar("T")

#: Seconds within which everything happens on a busy machine, or never.
PATIENCE = 30.0


def eventually(
    look: Callable[[], T], what: str | Callable[[], str], timeout: float = PATIENCE
) -> T:
    """Look until there is something, and return it."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout:g} s: {said}")
        time.sleep(0.05)
    return found


SERVERS = {
    "gunicorn sync": "gunicorn --workers 2",
    "gunicorn gthread": "gunicorn --workers 2 --worker-class gthread --threads 8",
    "gunicorn preload": "gunicorn --workers 2 --preload",
    "uvicorn": "uvicorn --workers 2",
    "granian wsgi": "granian --interface wsgi --workers 2",
    "granian asgi": "granian --interface asgi --workers 2",
    "daphne": "daphne",
    "runserver": "tests.site.manage runserver",
}
#: Those that serve the open protocols and nothing else of the site.
ALONE = {"granian alone": "granian --interface asgi --factory"}


class Server:
    """A web server of the site, on a free port of the loopback.

    Args:
        name: in `SERVERS` or `ALONE`.
        folder: of the site.
        environment: that names the site.
        options: further ones.
    """

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str], options: Iterable[str] = ()
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.name = name
        module, *arguments = (SERVERS | ALONE)[name].split()
        wsgi, asgi = "tests.site.wsgi:application", "tests.site.asgi:application"
        if name in ALONE:
            asgi = "django_inference.asgi:get_inference_application"
        address = {
            "gunicorn": ["--bind", f"127.0.0.1:{self.port}", "--no-control-socket", wsgi],
            "uvicorn": ["--port", str(self.port), asgi],
            "granian": ["--port", str(self.port), wsgi if "wsgi" in name else asgi],
            "daphne": ["--port", str(self.port), asgi],
            "tests.site.manage": [f"127.0.0.1:{self.port}"],
        }[module]
        self.output = folder / f"{module}-{self.port}.log"
        with self.output.open("w") as output:
            self.process = psutil.Popen(
                [sys.executable, "-m", module, *arguments, *options, *address],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=2 * PATIENCE,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=0),
        )

    def wait_listening(self, path: str = "/plain/") -> Server:
        """Return when it answers."""

        def look() -> bool:
            assert self.process.poll() is None, self.output.read_text()
            try:
                return self.client.get(path).status_code == 200
            except httpx.TransportError:
                return False

        eventually(look, "the server answers")
        return self

    def predict(self, body: Any, alias: str = "mlp", *, view: str = "predict") -> httpx.Response:
        """Ask for a prediction."""
        return self.client.post(f"/{view}/{alias}/", json=body)

    def pids(self) -> set[int]:
        """The process itself and those below it that belong to the server."""
        return {self.process.pid, *(child.pid for child in self.process.children(recursive=True))}

    def stop(self) -> None:
        """Have it leave, as a service manager would."""
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)

    def end(self) -> str:
        """Make sure that it has left; return what was wrong with that, if anything."""
        self.client.close()
        if self.process.poll() is not None:
            return ""
        try:
            self.stop()
        except psutil.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5.0)
            return f"{self.name} did not leave when it was told to"
        return ""
