"""The project that a reader of the documentation has in front of them, for real."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.docs.blocks import ROOT, Block, Command, commands
from tests.hosts import eventually

#: Seconds for one command; a load among them.
PATIENCE = 120.0

#: Commands that stay in the foreground.
_SERVER = re.compile(
    r"(gunicorn|uvicorn|granian|daphne)\b"
    r"|python manage\.py (runserver|inference_host|inference_serve .*)$"
)
_NUMBER = re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]+(\.[0-9]+)?\b")


class Project:
    """A folder to work in, with what was started there.

    Args:
        like: a folder to begin with a copy of.
    """

    def __init__(self, like: Path | None = None) -> None:
        # Short, since a Unix socket's name takes a hundred bytes.
        self._home = Path(tempfile.mkdtemp(prefix="doc-"))
        self.folder = self._home / "work"
        if like is None:
            self.folder.mkdir()
        else:
            shutil.copytree(like, self.folder)
        (self._home / "tmp").mkdir()
        self.port = _free_port()
        self.grpc_port = _free_port()
        self.environment = _environment() | {
            "TMPDIR": str(self._home / "tmp"),
            "XDG_CACHE_HOME": str(self._home / "cache"),
        }
        self._servers: list[subprocess.Popen[bytes]] = []
        self._session: subprocess.Popen[str] | None = None

    def do(self, block: Block) -> None:
        """Do what a reader does with a block: save it, type it, or run it."""
        if block.language == "console":
            for command in commands(block):
                self.type(command, f"{block.page}:{command.line}")
        elif block.file:
            self._save(block)
        else:
            self.ask(block)

    def type(self, command: Command, place: str) -> None:
        """Run a command in a shell, and compare what it prints with what the page shows."""
        text = command.text.replace("8000", str(self.port)).replace("8001", str(self.grpc_port))
        if _SERVER.match(text):
            self._serve(text)
            return
        printed = self.run(text)
        if command.output:
            # The number of spaces in a table follows from numbers that differ.
            wanted, got = command.output, printed
            if " inference " in text and " predict " not in text:
                wanted, got = _masked(wanted), _masked(got)
            what = f"{place}: $ {text}\n{printed}\ninstead of\n{command.output}"
            assert _matches(wanted, got), what

    def run(self, text: str) -> str:
        """Run a command that has to succeed; return what it prints."""
        # Whatever a page has installed is there: this says so, or fails.
        text = text.replace("pip install ", "pip install --no-index --dry-run --quiet ")
        # A terminal is spared the progress that curl shows to a pipe.
        text = re.sub(r"^curl ", "curl -sS ", text)
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"$ {text}\n{done.stdout}"
        return done.stdout

    def ask(self, block: Block) -> None:
        """Run a block in the page's Python session."""
        session = self._session
        if session is None:
            session = self._session = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("session.py"))],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert session.stdin is not None and session.stdout is not None
        request = {"language": block.language, "text": block.text, "place": str(block)}
        print(json.dumps(request), file=session.stdin, flush=True)
        reply = session.stdout.readline()
        assert reply, f"{block}: the session has ended"
        error = json.loads(reply)
        assert error is None, f"{block}:\n{error}"

    def close(self) -> None:
        """Stop everything, the model host included, and remove the folder."""
        try:
            self._stop_servers()
            self._end_session()
            if (self.folder / "manage.py").exists():
                self.run("python manage.py inference_host --stop")
        finally:
            shutil.rmtree(self._home, ignore_errors=True)

    def _save(self, block: Block) -> None:
        # Who changes a program starts it again.
        self._end_session()
        path = self.folder / block.file
        if block.is_appended:
            assert path.exists(), f"{block}: there is no {block.file} to add to"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if block.is_appended else "w") as file:
            file.write(block.text)

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.communicate(timeout=20)

    def _serve(self, text: str) -> None:
        """Start a server, after the one that a reader has stopped before."""
        self._stop_servers()
        if text.endswith("runserver"):
            text += f" 127.0.0.1:{self.port}"
        said = self._home / "server.log"
        with said.open("w") as log:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {text}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._servers.append(server)
        is_host = text.endswith("inference_host")

        def is_up() -> bool:
            assert server.poll() is None, "it has ended"
            return "listens" in said.read_text() if is_host else self._answers()

        try:
            eventually(is_up)
        except AssertionError as error:
            raise AssertionError(f"$ {text}\n{said.read_text()}") from error

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
        except OSError:
            return False
        return True

    def _stop_servers(self) -> None:
        while self._servers:
            server = self._servers.pop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _environment() -> dict[str, str]:
    unwanted = ("DJANGO_SETTINGS_MODULE", "PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    scripts = os.path.dirname(sys.executable)
    return environment | {
        "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        # The package beside these pages, whichever one is installed, and settings with patience.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(Path(__file__).parent)]),
        "DJANGO_SETTINGS_MODULE": "patient_settings",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _masked(text: str) -> str:
    # A table is as wide in each line, and a page has no spaces at the end of one.
    return re.sub(r" +$", "", re.sub(r"[ \t]+", " ", _NUMBER.sub("#", text)), flags=re.MULTILINE)


def _matches(wanted: str, got: str) -> bool:
    pattern = ".*".join(map(re.escape, wanted.strip().split("…")))
    return re.fullmatch(pattern, got.strip(), re.DOTALL) is not None
