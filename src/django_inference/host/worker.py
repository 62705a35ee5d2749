"""One process of the host: one replica of one model.

The main thread loads the model, then: wait for sockets, read every call that is there, run
them in as few batches as their shapes allow, reply. While the model runs, the next calls
gather in the sockets, so batches grow with the load and nobody waits for a timer.
"""

from __future__ import annotations

import gc
import logging
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from importlib import import_module

from django_inference.engine.models import OF_THE_MODEL
from django_inference.engine.runner import Runner
from django_inference.host.connection import Connection, Hangup, HostRequest
from django_inference.host.protocol import (
    LENGTH,
    MAX_FRAME,
    Drain,
    Erred,
    Loaded,
    LoadFailed,
    ProtocolError,
    Start,
    WorkerOrder,
    pack,
    receive,
)
from django_inference.host.rundir import LOG_FORMAT, LOG_TIME
from django_inference.metrics import StatisticsPage
from django_inference.specs import ErrorReport, PythonEnvironment

logger = logging.getLogger("django_inference.worker")

FOREVER = float("inf")
BACKLOG = 1024
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
        self._path = start.socket
        self._spec = start.spec
        self._runner = Runner(start.spec, page, self._report)
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
        self._control.sendall(pack(Loaded(self._runner.load_seconds, self._runner.signature)))
        return True

    def serve(self) -> None:
        """Answer calls until drained."""
        buffer = bytearray(LENGTH.size + MAX_FRAME + 1)
        while True:
            requests = self._gather(buffer, QUIET if self._is_draining else None)
            if requests:
                self._runner.run(requests)
            elif self._is_draining:
                self._runner.close()
                return

    def _report(self, error: ErrorReport) -> None:
        # One a second is enough to know what is wrong, and a flood would fill the log.
        if time.monotonic() - self._reported_at >= 1.0:
            self._reported_at = time.monotonic()
            self._control.sendall(pack(Erred(error)))

    def _gather(self, buffer: bytearray, wait: float | None) -> list[HostRequest]:
        requests = self._read(buffer, wait)
        delay = self._spec.options.max_batch_delay
        if delay and requests:
            until = time.monotonic() + delay
            while len(requests) < self._spec.options.max_batch_size:
                wait = until - time.monotonic()
                if wait <= 0:
                    break
                requests += self._read(buffer, wait)
        return requests

    def _read(self, buffer: bytearray, wait: float | None) -> list[HostRequest]:
        """Wait until some descriptor is ready, then read every call that is there."""
        heard = []
        for fd, _ in self._poll.poll(None if wait is None else wait * 1000):
            if fd in self._connections:
                heard.append(self._hear(fd, buffer))
            elif fd == self._wake_reader:
                self._stop_listening()
            elif not self._is_draining:
                self._accept()
        return [request for request in heard if request is not None]

    def _hear(self, fd: int, buffer: bytearray) -> HostRequest | None:
        try:
            return self._connections[fd].read(buffer)
        except (Hangup, ProtocolError) as error:
            if isinstance(error, ProtocolError):
                logger.warning("dropped a client alias=%s: %s", self._spec.alias, error)
            self._drop(fd)
            return None

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            # All of them, so that what they have to say becomes one batch.
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                self._connections[sock.fileno()] = Connection(sock)
                self._poll.register(sock, select.POLLIN)
        except BlockingIOError:
            pass
        except OSError as error:
            # Out of descriptors, most likely: the client stays in the backlog and keeps
            # the listener readable, so without a pause this would spin.
            logger.error("cannot accept a client: %s", error)
            time.sleep(0.05)

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


def main() -> None:
    """Run a worker: `python -m django_inference.host.worker CONTROL_FD PAGE_FD`."""
    # The supervisor decides when workers leave: Ctrl-C and systemd signal the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, datefmt=LOG_TIME)
    control = socket.socket(fileno=int(sys.argv[1]))
    worker = Worker(control, StatisticsPage(mmap.mmap(int(sys.argv[2]), StatisticsPage.SIZE)))
    threading.Thread(target=worker.obey, daemon=True).start()
    if worker.load():
        worker.serve()


if __name__ == "__main__":
    main()
