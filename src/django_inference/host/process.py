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
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from django_inference.artifacts.records import StoreSettings
from django_inference.host.placement import Placement
from django_inference.host.protocol import (
    Batching,
    Drain,
    Erred,
    Loaded,
    LoadFailed,
    Loading,
    ProtocolError,
    Start,
    WorkerMessage,
    pack,
    read,
)
from django_inference.metrics import StatisticsPage
from django_inference.specs import ErrorReport, ModelSpec, Progress, ReplicaStatus, State
from django_inference.tensors import Signature

logger = logging.getLogger("django_inference.host")


class WorkerProcess:
    """A process that loads and serves one replica of one model.

    Args:
        spec: of the model.
        version: of the model.
        socket_path: where it shall listen.
        on_change: called after each change of `state` or `error`.
        store: where what is made of the artifact is kept.
        index: of the replica among those of its model, which places it.

    Attributes:
        state: LOADING, READY, DRAINING, or FAILED once it has ended.
        error: of the load, or the last one that the model's code raised.
        signature: of the loaded model.
        page: its counts, readable while it is busy or dead.
        started_at: `time.monotonic()` when the process was started.
        ready_at: likewise when the model was loaded.
    """

    def __init__(
        self,
        spec: ModelSpec,
        version: str,
        socket_path: Path,
        on_change: Callable[[], None],
        store: StoreSettings,
        index: int = 0,
    ) -> None:
        self.spec = spec
        self.version = version
        self.socket_path = socket_path
        self.state = State.LOADING
        self.error: ErrorReport | None = None
        self.signature: Signature | None = None
        self.load_seconds = 0.0
        self.device = self.framework = self.weights = self.batching = ""
        self.warnings: tuple[str, ...] = ()
        self.pid = 0
        self.page = StatisticsPage()
        self.ready_at = 0.0
        self._index = index
        self._store = store
        self._on_change = on_change
        self._killed_for = ""
        self.started_at = time.monotonic()
        self._stage, self._stage_began = "loading", self.started_at
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def has_loaded(self) -> bool:
        """Whether the model was ready once."""
        return self.load_seconds > 0.0

    @property
    def has_served(self) -> bool:
        """Whether it gave at least one good answer."""
        return self.page.read().successes > 0

    async def run(self) -> None:
        """Start the process and return when it has ended."""
        placement = Placement(self.spec.supervision, self._index)
        page_fd = _shared_page()
        try:
            self.page = StatisticsPage(mmap.mmap(page_fd, StatisticsPage.SIZE))
            await self._run(placement, page_fd)
        finally:
            os.close(page_fd)

    async def _run(self, placement: Placement, page_fd: int) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", "django_inference.host.worker"),
                    *(str(theirs.fileno()), str(page_fd)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), page_fd),
                    env=os.environ | placement.environment,
                )
            self.pid = self._process.pid
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            path = str(self.socket_path)
            start = Start(self.spec, self.version, path, placement.cores, self._store)
            self._writer.write(pack(start))
            await self._listen(reader)
            code = await self._process.wait()
            self._ended(code)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            ours.close() if self._writer is None else self._writer.close()
            self.socket_path.unlink(missing_ok=True)

    def drain(self) -> bool:
        """Have it answer what it was asked, then leave; False where it cannot be told."""
        if self.state not in (State.LOADING, State.READY) or self._writer is None:
            return False
        self._writer.write(pack(Drain()))
        self._become(State.DRAINING)
        return True

    def kill(self, why: str) -> None:
        """End it at once; whoever keeps it running starts another."""
        self._killed_for = why
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    @property
    def memory(self) -> int:
        """Resident bytes, 0 when it does not run."""
        if self._process is None or self._process.returncode is not None:
            return 0
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def last_used(self) -> float:
        """`time.monotonic()` of its last answer, or of the load before there was one."""
        return max(self.page.last_answer, self.page.run_started, self.ready_at)

    def status(self) -> ReplicaStatus:
        """What it is and how it fares; the process itself is not asked."""
        is_running = self._process is not None and self._process.returncode is None
        return ReplicaStatus(
            pid=self.pid if is_running else 0,
            state=self.state,
            load_seconds=self.load_seconds,
            memory=self.memory,
            device=self.device,
            framework=self.framework,
            weights=self.weights,
            batching=self.batching,
            warnings=self.warnings,
            statistics=self.page.read(),
        )

    @property
    def progress(self) -> Progress | None:
        """How far its load is; None once that has ended."""
        if self.state is not State.LOADING:
            return None
        return Progress(stage=self._stage, seconds=time.monotonic() - self._stage_began)

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
                case Loading(stage):
                    self._stage, self._stage_began = stage, time.monotonic()
                case Batching(status):
                    self.batching = status
                case Loaded(load_seconds, signature, device, framework, weights):
                    self.load_seconds, self.signature = load_seconds, signature
                    self.device, self.framework, self.weights = device, framework, weights
                    self.batching, self.warnings = message.batching, message.warnings
                    logger.info(
                        "model loaded alias=%s version=%s pid=%s seconds=%.2f",
                        *(self.spec.alias, self.version, self.pid, load_seconds),
                    )
                    self.ready_at = time.monotonic()
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
            how = self._killed_for or (f"signal {-code}" if code < 0 else f"status {code}")
            self.error = ErrorReport(message=f"the worker process ended with {how}", at=time.time())
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
