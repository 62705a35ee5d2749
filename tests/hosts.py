"""A model host of a test's own, which is gone after the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import psutil

from django_inference.backends.streaming import aiterate, iterate
from django_inference.host.client import ModelClient
from django_inference.host.control import Conversation, HostUnavailable
from django_inference.host.protocol import (
    ClientMessage,
    Declare,
    HostMessage,
    Inspect,
    Report,
    Stop,
    Update,
    pack,
)
from django_inference.host.rundir import RuntimeDir
from django_inference.specs import (
    NORMAL,
    EngineOptions,
    Golden,
    HostSettings,
    ModelSpec,
    PythonEnvironment,
    Status,
    Supervision,
)

#: Seconds that a test waits for something which takes milliseconds on an idle machine.
PATIENCE = 30.0

ACTOR = "tests.sample_runtimes.Actor"


def eventually(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Wait until the condition is true, and return what it said."""
    until = time.monotonic() + timeout
    while not (said := condition()):
        assert time.monotonic() < until, f"still {said!r} after {timeout:g} s"
        time.sleep(0.01)
    return said


def is_gone(process: psutil.Process) -> bool:
    """A zombie has ended too: whoever adopted it has yet to notice."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def do(what: str, argument: Any = None) -> dict[str, Any]:
    """An item for `sample_runtimes.Actor`."""
    return {"do": what} if argument is None else {"do": what, "with": argument}


class Host:
    """The settings of a host in a folder of its own, and what a test asks of it."""

    def __init__(self, **settings: Any) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="inf-"))
        defaults: dict[str, Any] = {
            "runtime_dir": str(self.home / "run"),
            "graceful_timeout": 5.0,
            "start_timeout": PATIENCE,
            "python": sys.executable,
            "artifact_dir": str(self.home / "artifacts"),
        }
        self.settings = HostSettings(**(defaults | settings))
        self.folder = RuntimeDir(self.settings.runtime_dir)
        self.journal = self.home / "journal"
        self._clients: list[ModelClient] = []
        self._seen: set[psutil.Process] = set()

    def spec(
        self,
        alias: str = "model",
        runtime: str = ACTOR,
        *,
        artifact: Path | str | None = None,
        sha256: str | None = None,
        replicas: int = 1,
        options: EngineOptions | None = None,
        supervision: Supervision | None = None,
        golden: Sequence[Golden] = (),
        source: Path | None = None,
        **runtime_options: Any,
    ) -> ModelSpec:
        """A declared model; its worker sets up no Django, which saves half of its start."""
        options = options or EngineOptions()
        if runtime == ACTOR:
            runtime_options.setdefault("journal", str(self.journal))
            # Its answers tell who shared a run, so they never agree with those of a lone run.
            options = msgspec.structs.replace(options, batching="always")
        return ModelSpec(
            alias=alias,
            runtime=runtime,
            runtime_options=runtime_options,
            artifact=None if artifact is None else str(artifact),
            sha256=sha256,
            options=options,
            golden=tuple(golden),
            supervision=supervision or Supervision(replicas=replicas),
            environment=PythonEnvironment(
                settings_module="", path=tuple(sys.path), source=str(source or "")
            ),
        )

    def client(self, spec: ModelSpec | None = None, declared_at: float | None = None) -> Client:
        """A client of one model, closed at the end of the test."""
        client = Client(
            self.settings, spec or self.spec(), time.time() if declared_at is None else declared_at
        )
        self._clients.append(client)
        return client

    def start(self, *extra: str) -> subprocess.Popen[bytes]:
        """Run the host in the foreground, and return once it listens."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "django_inference.host"),
                *("--runtime-dir", str(self.folder.path)),
                *("--graceful-timeout", str(self.settings.graceful_timeout)),
                *extra,
            ],
            stderr=self.folder_log(),
        )
        eventually(lambda: process.poll() is not None or self.report())
        self.processes()
        return process

    def folder_log(self) -> int:
        """A descriptor of the host's log."""
        self.folder.create()
        return os.open(self.folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def ask(self, message: ClientMessage, *, autostart: bool = False) -> HostMessage:
        """One question to the supervisor."""
        with Conversation(
            self.settings, time.monotonic() + PATIENCE, autostart=autostart
        ) as conversation:
            return conversation.ask(message)

    def declare(self, spec: ModelSpec, declared_at: float | None = None) -> Update:
        """Have a model loaded, as a preload does: without waiting for it."""
        at = time.time() if declared_at is None else declared_at
        return cast(Update, self.ask(Declare(spec, at), autostart=True))

    def report(self) -> Report | None:
        """What the supervisor says, None where there is none."""
        try:
            return cast(Report, self.ask(Inspect()))
        except (HostUnavailable, EOFError, OSError):
            return None

    def status(self, alias: str = "model") -> Status | None:
        """How one model fares."""
        report = self.report()
        statuses = report.statuses if report else ()
        return next((status for status in statuses if status.alias == alias), None)

    def notes(self, word: str) -> list[int]:
        """The processes that wrote this word into the journal."""
        if not self.journal.exists():
            return []
        lines = (line.split() for line in self.journal.read_text().splitlines())
        return [int(pid) for said, pid in lines if said == word]

    def log(self) -> str:
        """What the host and its workers have logged."""
        return self.folder.log.read_text() if self.folder.log.exists() else ""

    def processes(self) -> set[psutil.Process]:
        """Every process of the host that runs now: the supervisor and its workers."""
        found: set[psutil.Process] = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.folder.path) in process.cmdline():
                    found |= {process, *process.children(recursive=True)}
        self._seen |= found
        return {process for process in found if not is_gone(process)}

    def wait_status(
        self, condition: Callable[[Status], Any], alias: str = "model", timeout: float = PATIENCE
    ) -> Status:
        """Wait until a model's status fulfils the condition; return it."""
        return cast(
            Status,
            eventually(
                lambda: (status := self.status(alias)) and condition(status) and status, timeout
            ),
        )

    def stop(self) -> None:
        """Ask the host to leave, and wait until it has."""
        with contextlib.suppress(HostUnavailable, EOFError, OSError):
            self.ask(Stop())

    def clean_up(self) -> None:
        """Stop the host and remove its folder; nothing of it may be left."""
        for client in self._clients:
            client.close()
        self.processes()
        self.stop()
        try:
            eventually(lambda: all(map(is_gone, self._seen)), 20.0)
            eventually(lambda: not self.processes(), 20.0)
        finally:
            for process in self._seen:
                with contextlib.suppress(psutil.Error):
                    if not is_gone(process):
                        process.kill()
            shutil.rmtree(self.home, ignore_errors=True)


class Client(ModelClient):
    """A `ModelClient` whose calls have all the time that a test has."""

    def ask(self, payload: Any, timeout: float = PATIENCE, priority: int = NORMAL) -> Any:
        return self.call(payload, time.monotonic() + timeout, priority)

    def one(self, item: Any, timeout: float = PATIENCE, priority: int = NORMAL) -> Any:
        return self.ask([item], timeout, priority)[0]

    def chunks(
        self, item: Any, timeout: float = PATIENCE, priority: int = NORMAL
    ) -> Generator[Any, None, None]:
        return iterate(self.stream(item, priority), lambda: time.monotonic() + timeout)

    def achunks(
        self, item: Any, timeout: float = PATIENCE, priority: int = NORMAL
    ) -> AsyncGenerator[Any, None]:
        return aiterate(self.stream(item, priority), lambda: time.monotonic() + timeout)

    async def aone(self, item: Any, timeout: float = PATIENCE, priority: int = NORMAL) -> Any:
        return (await self.acall([item], time.monotonic() + timeout, priority))[0]


def frame(message: msgspec.Struct) -> bytes:
    """A control message as it travels."""
    return pack(message)
