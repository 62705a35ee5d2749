"""The one process per machine that owns the workers and tells clients where they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable

from filelock import FileLock, Timeout

from django_inference.artifacts.records import StoreSettings
from django_inference.host.deployment import Deployment
from django_inference.host.leases import Leases, peer
from django_inference.host.protocol import (
    ClientMessage,
    Compared,
    Confine,
    Declare,
    HostMessage,
    Inspect,
    Promote,
    ProtocolError,
    Refusal,
    Reload,
    Report,
    Rollback,
    Saved,
    Stop,
    Unload,
    Update,
    pack,
    read,
)
from django_inference.host.rundir import RuntimeDir

logger = logging.getLogger("django_inference.host")

#: Seconds between two looks at whether anybody still needs the host.
LOOK = 0.5
BACKLOG = 1024


class AlreadyRunning(Exception):
    """Another supervisor serves this folder."""


class Supervisor:
    """Accepts clients, keeps a deployment for each predictor, leaves when told or idle.

    Args:
        folder: of the host.
        linger: seconds without a client process after which it leaves; None: never.
        graceful_timeout: seconds that running calls get at the end.
        memory_budget: resident bytes that all workers together may take, or None.
        store: where copies of what lies elsewhere go.
    """

    def __init__(
        self,
        folder: RuntimeDir,
        *,
        linger: float | None,
        graceful_timeout: float,
        memory_budget: int | None = None,
        store: StoreSettings | None = None,
    ) -> None:
        self._folder = folder
        self._linger = linger
        self._graceful_timeout = graceful_timeout
        self._memory_budget = memory_budget
        self._store = store or StoreSettings(str(folder.path / "artifacts"))
        self._leases = Leases()
        self._deployments: dict[str, Deployment] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()

    async def run(self, on_listening: Callable[[], None], *, wait: float = 0.0) -> None:
        """Serve until stopped.

        Args:
            on_listening: called once clients can connect.
            wait: seconds to wait for a former supervisor that is leaving.

        Raises:
            AlreadyRunning: another one serves this folder, and goes on doing so.
        """
        folder = self._folder
        folder.create()
        lock = FileLock(folder.host_lock, thread_local=False)
        try:
            await asyncio.to_thread(lock.acquire, timeout=wait)
        except Timeout:
            raise AlreadyRunning(f"another model host serves {folder.path}") from None
        self._epoch = folder.epoch(writable=True)
        # What a supervisor that was killed has left behind; its workers leave by themselves.
        for stale in (folder.socket, *folder.workers.iterdir()):
            stale.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        server = await asyncio.start_unix_server(self._on_client, folder.socket, backlog=BACKLOG)
        folder.socket.chmod(0o600)
        logger.info("model host listens pid=%s folder=%s", os.getpid(), folder.path)
        on_listening()
        try:
            await self._until_stopped()
        finally:
            server.close()
            folder.socket.unlink(missing_ok=True)
            self._epoch.advance()
            await asyncio.gather(*(d.stop() for d in self._deployments.values()))
            lock.release()
            logger.info("model host leaves pid=%s", os.getpid())
            for client in self._clients:
                client.cancel()

    async def _until_stopped(self) -> None:
        while not self._stopping.is_set():
            if self._linger is not None and self._leases.idle_seconds > self._linger:
                logger.info("no client process for %.0f s", self._linger)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK)
            for deployment in self._deployments.values():
                deployment.look()
            self._keep_within_budget()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            pid, uid = peer(writer.get_extra_info("socket"))
            if uid not in (0, os.getuid()):
                logger.error("refused a client of another user pid=%s uid=%s", pid, uid)
                return
            await self._answer(await read(reader, ClientMessage), pid, reader, writer)
            await writer.drain()
        except (EOFError, ConnectionError, asyncio.CancelledError):
            # Cancelled when the host leaves: the end of the connection says so.
            pass
        except ProtocolError as error:
            logger.warning("dropped a client pid=%s: %s", pid, error)
            writer.write(pack(Refusal(str(error))))
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(
        self,
        message: ClientMessage,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        def send(answer: HostMessage) -> None:
            writer.write(pack(answer))

        match message:
            case Declare(spec, declared_at, follow, claimed):
                # Linux tells, and says 0 of a process that it cannot see from here.
                self._leases.take(pid if sys.platform == "linux" else pid or claimed)
                deployment = self._deployment(spec.alias)
                deployment.declare(spec, declared_at)
                send(deployment.update())
                if follow:
                    await self._follow(deployment, send, reader)
            case Reload(alias):
                self._deployment(alias).reload()
                send(self._deployment(alias).update())
            case Unload(alias):
                self._deployment(alias).unload()
                send(self._deployment(alias).update())
            case Rollback(alias) | Promote(alias):
                deployment = self._deployment(alias)
                try:
                    if isinstance(message, Promote):
                        deployment.promote()
                    else:
                        deployment.rollback()
                except LookupError as error:
                    send(Refusal(str(error.args[0])))
                else:
                    send(deployment.update())
            case Compared(alias, version, equal, different, example):
                self._deployment(alias).compared(version, equal, different, example)
                send(self._deployment(alias).update())
            case Saved(alias, counts):
                self._deployment(alias).saved(counts)
                send(self._deployment(alias).update())
            case Confine(alias, digest):
                self._deployment(alias).confine(digest)
                send(self._deployment(alias).update())
            case Inspect():
                statuses = tuple(d.status() for d in self._deployments.values())
                send(Report(os.getpid(), statuses))
            case Stop():
                self._stopping.set()
                # The connection ends with this process: that is the answer.
                await reader.read()

    async def _follow(
        self,
        deployment: Deployment,
        send: Callable[[Update], None],
        reader: asyncio.StreamReader,
    ) -> None:
        """Push every change until the client hangs up."""
        hangup = asyncio.ensure_future(reader.read())
        last = deployment.update()
        try:
            while not hangup.done():
                change = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait([hangup, change], return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                update = deployment.update()
                if update != last:
                    send(update)
                    last = update
        finally:
            hangup.cancel()

    def _keep_within_budget(self) -> None:
        """Unload the models that were not called for the longest time, while there is need."""
        if self._memory_budget is None:
            return
        loaded = [d for d in self._deployments.values() if d.serving is not None]
        taken = {d.alias: d.serving.memory for d in loaded if d.serving is not None}
        # The most recently used one stays, however large: somebody waits for it.
        by_use = sorted(loaded, key=_last_used)[:-1]
        while sum(taken.values()) > self._memory_budget and by_use:
            oldest = by_use.pop(0)
            if oldest.serving is not None and not oldest.serving.is_running:
                logger.warning(
                    "memory budget: %d of %d bytes are taken, unloading alias=%s",
                    *(sum(taken.values()), self._memory_budget, oldest.alias),
                )
                del taken[oldest.alias]
                oldest.unload()

    def _deployment(self, alias: str) -> Deployment:
        if alias not in self._deployments:
            self._deployments[alias] = Deployment(
                *(alias, self._folder.workers, self._graceful_timeout),
                *(self._on_change, self._store),
            )
        return self._deployments[alias]

    def _on_change(self) -> None:
        self._epoch.advance()
        # Wakes everyone who waits now; who comes later waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()


def _last_used(deployment: Deployment) -> float:
    return deployment.serving.last_used if deployment.serving is not None else 0.0
