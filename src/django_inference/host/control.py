"""A client's short conversations with the supervisor; starts the host where there is none."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator
from types import TracebackType

from filelock import FileLock, Timeout

from django_inference.exceptions import ModelNotReady
from django_inference.host.arguments import arguments
from django_inference.host.protocol import (
    ClientMessage,
    HostMessage,
    ProtocolError,
    Refusal,
    pack,
    receive,
)
from django_inference.host.rundir import RuntimeDir
from django_inference.specs import HostSettings

logger = logging.getLogger("django_inference.client")

#: Seconds that a client waits for another one that starts the host.
START_PATIENCE = 5.0

#: Every socket of this process that leads to the host.
open_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_sockets() -> None:
    for sock in list(open_sockets):
        sock.close()


# A child that shared a connection with its parent would take the parent's answers.
os.register_at_fork(after_in_child=_close_sockets)
atexit.register(_close_sockets)

#: Held while a launcher is spawned. A worker that a server forks meanwhile, from another
#: thread, would inherit the launcher's pipes, and their end would come only with the worker's.
_spawning = threading.RLock()


def _spawning_released() -> None:
    # Not held where this module was imported during the fork.
    with contextlib.suppress(RuntimeError):
        _spawning.release()


os.register_at_fork(
    before=_spawning.acquire,
    after_in_parent=_spawning_released,
    after_in_child=_spawning_released,
)


class Refused(ProtocolError):
    """The supervisor cannot do what it was asked for."""


class HostUnavailable(ModelNotReady):
    """There is no model host, and none could be started."""


def connect(path: str | os.PathLike[str], timeout: float) -> socket.socket:
    """Connect to a Unix socket.

    Raises:
        OSError: nobody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    open_sockets.add(sock)
    try:
        sock.settimeout(timeout)
        sock.connect(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    return sock


class Conversation:
    """A connection to the supervisor, for one request. A context manager.

    Args:
        host: where it is, and whether it may be started.
        deadline: `time.monotonic()` at which the conversation is given up.
        autostart: start a host where there is none, if the settings allow it.

    Raises:
        HostUnavailable: there is none.
    """

    def __init__(
        self,
        host: HostSettings,
        deadline: float,
        *,
        autostart: bool = True,
    ) -> None:
        self._deadline = deadline
        folder = RuntimeDir(host.runtime_dir)
        try:
            self._socket = connect(folder.socket, _remaining(deadline))
        except (FileNotFoundError, ConnectionError):
            if not (autostart and host.autostart):
                raise HostUnavailable(
                    f"no model host listens on {folder.socket}.", retry_after=5.0
                ) from None
            self._socket = _start(host, folder, deadline)

    def __enter__(self) -> Conversation:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, message: ClientMessage) -> HostMessage:
        """Send the request and wait for the first answer.

        Raises:
            What `answer` raises, and OSError: the host has left.
        """
        self._socket.sendall(pack(message))
        return self.answer()

    def answer(self) -> HostMessage:
        """Wait for the next answer.

        Raises:
            EOFError: the host has left.
            TimeoutError: the deadline has passed.
            Refused: the host cannot do it.
            ProtocolError: it talks nonsense.
        """
        answer: HostMessage = receive(self._socket, HostMessage, self._deadline)
        if isinstance(answer, Refusal):
            raise Refused(answer.message)
        return answer


def _start(host: HostSettings, folder: RuntimeDir, deadline: float) -> socket.socket:
    """Start the host, unless another client was faster; return a connection to it."""
    try:
        folder.create()
        with _start_lock(folder, deadline):
            try:
                return connect(folder.socket, _remaining(deadline))
            except (FileNotFoundError, ConnectionError):
                return _launched(host, folder, deadline)
    except OSError as error:
        raise HostUnavailable(
            f"the model host could not be started: {error}", retry_after=5.0
        ) from error


@contextlib.contextmanager
def _start_lock(folder: RuntimeDir, deadline: float) -> Iterator[None]:
    """Keep other clients from starting a host too.

    It only saves needless launches: the host has a lock of its own. So nobody waits for
    ever for a holder that is frozen, as the threads of a uWSGI master are after its fork.
    """
    lock = FileLock(folder.start_lock, thread_local=False)
    try:
        lock.acquire(timeout=min(START_PATIENCE, _remaining(deadline)))
    except Timeout:
        logger.warning("somebody holds %s, starting the model host anyway", folder.start_lock)
    try:
        yield
    finally:
        lock.release()


def _launched(host: HostSettings, folder: RuntimeDir, deadline: float) -> socket.socket:
    try:
        _launch(host, folder)
    except OSError as failure:
        try:
            # It refuses to run beside another one, which is all that was wanted.
            return connect(folder.socket, _remaining(deadline))
        except OSError:
            raise failure from None
    return connect(folder.socket, _remaining(deadline))


def _launch(host: HostSettings, folder: RuntimeDir) -> None:
    logger.info("starting the model host folder=%s", folder.path)
    command = [
        *(host.python, "-P", "-m", "django_inference.host", "--detach"),
        *arguments(host),
        *("--linger", str(host.linger)),
        *("--wait", str(host.graceful_timeout + 1.0)),
    ]
    with _spawning:
        launcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    # A launch goes on although the call that caused it has less time: the next will need it.
    with launcher:
        try:
            _, said = launcher.communicate(timeout=host.start_timeout)
        except subprocess.TimeoutExpired:
            launcher.kill()
            raise OSError(
                f"it did not listen within {host.start_timeout:g} s, see {folder.log}"
            ) from None
    if launcher.returncode:
        raise OSError(said.decode(errors="replace").strip() or f"see {folder.log}")


def _remaining(deadline: float) -> float:
    # Zero would make the socket non-blocking; a deadline that has passed fails soon enough.
    return max(0.001, deadline - time.monotonic())
