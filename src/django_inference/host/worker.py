"""One process of the host: one replica of one model.

The main thread loads the model, then: wait for sockets, read every call that is there, run
them in as few batches as their shapes allow, reply. While the model runs, the next calls
gather in the sockets, so batches grow with the load and nobody waits for a timer.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import mmap
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from importlib import import_module

from django_inference.engine.failures import OF_THE_MODEL
from django_inference.engine.runner import Runner
from django_inference.host.connection import Connection, Hangup
from django_inference.host.protocol import (
    LENGTH,
    MAX_FRAME,
    Batching,
    Drain,
    Erred,
    Loaded,
    LoadFailed,
    Loading,
    ProtocolError,
    Start,
    WorkerOrder,
    pack,
    receive,
)
from django_inference.host.request import HostRequest
from django_inference.host.rundir import LOG_FORMAT, LOG_TIME
from django_inference.metrics import StatisticsPage
from django_inference.specs import ErrorReport, PythonEnvironment

logger = logging.getLogger("django_inference.worker")

FOREVER = float("inf")
BACKLOG = 1024
#: Seconds after its last answer for which a client is expected to call again.
LATELY = 1.0
#: Seconds without a call after which a draining worker believes that no more will come.
QUIET = 0.05


class Worker:
    """Loads one model, then serves it until it is told to leave.

    Args:
        control: to the supervisor.
        page: where the counts go.
    """

    def __init__(self, control: socket.socket, page: StatisticsPage) -> None:
        self._control = control
        start: Start = receive(control, WorkerOrder, FOREVER)
        if start.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, start.cores)
        self._path = start.socket
        self._spec = start.spec
        self._runner = Runner(
            start.spec, page, self._report, self._tell, self._say_batching, start.store
        )
        self._reported_at = -FOREVER
        self._connections: dict[int, Connection] = {}
        self._poll = select.poll()
        self._listener: socket.socket | None = None
        self._is_draining = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._poll.register(self._wake_reader, select.POLLIN)

    def obey(self) -> None:
        """Wait for the supervisor's word, also while the main thread loads or runs the model.

        A supervisor that is gone is an order to leave at once: the next one starts workers
        of its own.
        """
        try:
            while not isinstance(receive(self._control, WorkerOrder, FOREVER), Drain):
                pass
            if self._listener is None:
                os._exit(0)
            self._is_draining = True
            os.write(self._wake_writer, b"!")
            receive(self._control, WorkerOrder, FOREVER)
        except (EOFError, OSError, ProtocolError):
            os._exit(1)

    def load(self) -> bool:
        """Load the model and listen; tell the supervisor how it went."""
        try:
            _set_up(self._spec.environment)
            self._runner.load()
        except OF_THE_MODEL as error:
            self._control.sendall(pack(LoadFailed(ErrorReport.of(error))))
            return False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(self._path)
        self._listener.listen(BACKLOG)
        self._poll.register(self._listener, select.POLLIN)
        # What was made while loading stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        runner = self._runner
        loaded = Loaded(
            runner.load_seconds,
            runner.signature,
            device=runner.device,
            framework=runner.framework,
            weights=runner.weights,
            batching=runner.proof.status,
            warnings=runner.warnings,
        )
        self._control.sendall(pack(loaded))
        return True

    def serve(self) -> None:
        """Answer calls until drained."""
        buffer = memoryview(bytearray(LENGTH.size + MAX_FRAME + 1))
        runner = self._runner
        while True:
            runner.streams.close_abandoned()
            is_leaving = self._is_draining and not runner.streams
            if runner.waiting:
                self._admit(buffer, 0.0)
            else:
                self._admit(buffer, QUIET if is_leaving else None)
                self._wait_for_more(buffer)
            if runner.waiting:
                runner.step()
            elif self._is_draining and not runner.streams:
                runner.close()
                return

    def _tell(self, stage: str) -> None:
        self._control.sendall(pack(Loading(stage)))

    def _say_batching(self, status: str) -> None:
        # Before `Loaded`, which says it as well, the supervisor waits for other messages.
        if self._listener is not None:
            self._control.sendall(pack(Batching(status)))

    def _report(self, error: ErrorReport) -> None:
        # One a second is enough to know what is wrong, and a flood would fill the log.
        if time.monotonic() - self._reported_at >= 1.0:
            self._reported_at = time.monotonic()
            self._control.sendall(pack(Erred(error)))

    def _wait_for_more(self, buffer: memoryview) -> None:
        """Give a batch that is not full the time that the options allow.

        But not while everybody who has called lately waits for this very batch: a lone
        caller would wait for nobody.
        """
        options = self._spec.options
        if not options.max_batch_delay:
            return
        until = time.monotonic() + options.max_batch_delay
        while self._runner.gains_by_waiting:
            idle = (each.answered_at for each in self._connections.values() if each.is_idle)
            expected = max(idle, default=-FOREVER) + LATELY
            wait = min(until, expected) - time.monotonic()
            if wait <= 0:
                return
            self._admit(buffer, wait)

    def _admit(self, buffer: memoryview, wait: float | None) -> None:
        """Wait until some descriptor is ready, then admit every call that is there."""
        heard: list[HostRequest | None] = []
        for fd, event in self._poll.poll(None if wait is None else wait * 1000):
            if fd in self._connections:
                heard.append(self._hear(fd, buffer))
                if event & select.POLLHUP and fd in self._connections:
                    # It has called and hung up since: nobody waits for the answer.
                    self._drop(fd)
            elif fd == self._wake_reader:
                self._stop_listening()
            elif not self._is_draining:
                # What these clients have to say may be there as well: it belongs into
                # this batch, not each into one of its own.
                for new in self._accept():
                    heard.append(self._hear(new, buffer))
                    if new in self._connections:
                        # Once more, for the end of one that has hung up already.
                        heard.append(self._hear(new, buffer))
        for request in heard:
            if request is not None:
                self._runner.admit(request)

    def _hear(self, fd: int, buffer: memoryview) -> HostRequest | None:
        connection = self._connections[fd]
        try:
            call = connection.read(buffer)
            return HostRequest(connection, call) if call is not None else None
        except (Hangup, ProtocolError) as error:
            if isinstance(error, ProtocolError):
                logger.warning("dropped a client alias=%s: %s", self._spec.alias, error)
            self._drop(fd)
            return None

    def _accept(self) -> list[int]:
        """Take every client that has come; return their descriptors."""
        assert self._listener is not None
        new = []
        try:
            # All of them, so that what they have to say becomes one batch.
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                self._connections[sock.fileno()] = Connection(sock, self._spec.supervision)
                self._poll.register(sock, select.POLLIN)
                new.append(sock.fileno())
        except BlockingIOError:
            pass
        except OSError as error:
            # Out of descriptors, most likely: the client stays in the backlog and keeps
            # the listener readable, so without a pause this would spin.
            logger.error("cannot accept a client: %s", error)
            time.sleep(0.05)
        return new

    def _stop_listening(self) -> None:
        assert self._listener is not None
        self._poll.unregister(self._wake_reader)
        self._poll.unregister(self._listener)
        self._listener.close()

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._connections.pop(fd).close()


def _set_up(environment: PythonEnvironment | None) -> None:
    if environment is None:
        return
    sys.path[:] = [*environment.path, *(p for p in sys.path if p not in environment.path)]
    if environment.settings_module:
        os.environ["DJANGO_SETTINGS_MODULE"] = environment.settings_module
        # By name: the host is no Django program, and only this line ever needs it.
        import_module("django").setup()


def _raise_limit() -> None:
    """Take as many descriptors as there may be: every client thread costs three of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Run a worker: `python -m django_inference.host.worker CONTROL_FD PAGE_FD`."""
    # The supervisor decides when workers leave: Ctrl-C and systemd signal the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, datefmt=LOG_TIME)
    _raise_limit()
    control = socket.socket(fileno=int(sys.argv[1]))
    worker = Worker(control, StatisticsPage(mmap.mmap(int(sys.argv[2]), StatisticsPage.SIZE)))
    threading.Thread(target=worker.obey, daemon=True).start()
    if worker.load():
        worker.serve()


if __name__ == "__main__":
    main()
