"""One worker process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from django_inference.host.protocol import (
    Drain,
    Erred,
    Loaded,
    LoadFailed,
    ProtocolError,
    Start,
    WorkerMessage,
    pack,
    read,
)
from django_inference.metrics import StatisticsPage
from django_inference.specs import ErrorReport, ModelSpec, ReplicaStatus, State
from django_inference.tensors import Signature

logger = logging.getLogger("django_inference.host")


class WorkerProcess:
    """A process that loads and serves one replica of one model.

    Args:
        spec: of the model.
        version: of the model.
        socket_path: where it shall listen.
        on_change: called after each change of `state` or `error`.

    Attributes:
        state: LOADING, READY, DRAINING, or FAILED once it has ended.
        error: of the load, or the last one that the model's code raised.
        signature: of the loaded model.
        page: its counts, readable while it is busy or dead.
    """

    def __init__(
        self, spec: ModelSpec, version: str, socket_path: Path, on_change: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.version = version
        self.socket_path = socket_path
        self.state = State.LOADING
        self.error: ErrorReport | None = None
        self.signature: Signature | None = None
        self.load_seconds = 0.0
        self.pid = 0
        self._page_fd = _shared_page()
        self.page = StatisticsPage(mmap.mmap(self._page_fd, StatisticsPage.SIZE))
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def has_loaded(self) -> bool:
        """Whether the model was ready once."""
        return self.load_seconds > 0.0

    @property
    def has_served(self) -> bool:
        """Whether it gave at least one good answer."""
        counts = self.page.read()
        return counts.requests > counts.failures

    async def run(self) -> None:
        """Start the process and return when it has ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "django_inference.host.worker"),
                    *(str(theirs.fileno()), str(self._page_fd)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), self._page_fd),
                )
            self.pid = self._process.pid
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._writer.write(pack(Start(self.spec, self.version, str(self.socket_path))))
            await self._listen(reader)
            code = await self._process.wait()
            self._ended(code)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            ours.close() if self._writer is None else self._writer.close()
            os.close(self._page_fd)
            self.socket_path.unlink(missing_ok=True)

    def drain(self) -> bool:
        """Have it answer what it was asked, then leave; False where it cannot be told."""
        if self.state not in (State.LOADING, State.READY) or self._writer is None:
            return False
        self._writer.write(pack(Drain()))
        self._become(State.DRAINING)
        return True

    def status(self) -> ReplicaStatus:
        """What it is and how it fares; the process itself is not asked."""
        is_running = self._process is not None and self._process.returncode is None
        return ReplicaStatus(
            pid=self.pid if is_running else 0,
            state=self.state,
            load_seconds=self.load_seconds,
            memory=_memory(self.pid) if is_running else 0,
            statistics=self.page.read(),
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                message = await read(reader, WorkerMessage)
            except (EOFError, ConnectionError):
                return
            except ProtocolError:
                logger.exception("worker pid=%s talks nonsense and is killed", self.pid)
                assert self._process is not None
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                return
            match message:
                case Loaded(load_seconds, signature):
                    self.load_seconds, self.signature = load_seconds, signature
                    logger.info(
                        "model loaded alias=%s version=%s pid=%s seconds=%.2f",
                        *(self.spec.alias, self.version, self.pid, load_seconds),
                    )
                    if self.state is State.LOADING:
                        self._become(State.READY)
                case LoadFailed(error):
                    self.error = error
                    logger.error(
                        "model failed to load alias=%s version=%s pid=%s: %s\n%s",
                        *(self.spec.alias, self.version, self.pid, error.message, error.traceback),
                    )
                case Erred(error):
                    self.error = error
                    logger.error(
                        "prediction failed alias=%s version=%s pid=%s: %s\n%s",
                        *(self.spec.alias, self.version, self.pid, error.message, error.traceback),
                    )

    def _ended(self, code: int) -> None:
        if self.state is State.READY or (self.state is State.LOADING and self.error is None):
            how = f"signal {-code}" if code < 0 else f"status {code}"
            self.error = ErrorReport(message=f"the worker process ended with {how}")
            logger.error(
                "worker ended alias=%s version=%s pid=%s: %s",
                *(self.spec.alias, self.version, self.pid, how),
            )
        self._become(State.UNLOADED if self.state is State.DRAINING else State.FAILED)

    def _become(self, state: State) -> None:
        self.state = state
        self._on_change()


def _shared_page() -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("inference-statistics", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="inference-statistics-")
        os.unlink(path)
    os.ftruncate(fd, StatisticsPage.SIZE)
    return fd


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
