"""`python -m django_inference.host`: the model host as a program."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable

from django_inference.artifacts.records import StoreSettings
from django_inference.host.rundir import LOG_FORMAT, LOG_TIME, RuntimeDir
from django_inference.host.supervisor import AlreadyRunning, Supervisor

#: A log that has grown longer is put aside when a host starts.
MAX_LOG = 10 * 1024 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Run the host; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m django_inference.host", description=__doc__)
    parser.add_argument("--runtime-dir", required=True)
    parser.add_argument("--linger", type=float, help="seconds without a client; default: forever")
    parser.add_argument("--graceful-timeout", type=float, default=10.0, help="seconds")
    parser.add_argument("--memory-budget", type=int, help="bytes; default: no limit")
    parser.add_argument("--artifact-dir", default="", help="of the copies of artifacts")
    parser.add_argument("--artifact-limit", type=int, help="bytes; default: no limit")
    parser.add_argument("--wait", type=float, default=0.0, help="for a host that is leaving")
    parser.add_argument("--detach", action="store_true", help="return once the host listens")
    options = parser.parse_args(arguments)
    folder = RuntimeDir(options.runtime_dir)
    try:
        folder.create()
        tell = _detach(folder) if options.detach else _tell_systemd
        asyncio.run(_serve(folder, options, tell))
    except (AlreadyRunning, OSError) as error:
        print(f"model host: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(
    folder: RuntimeDir, options: argparse.Namespace, on_listening: Callable[[], None]
) -> None:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, datefmt=LOG_TIME)
    supervisor = Supervisor(
        folder,
        linger=options.linger,
        graceful_timeout=options.graceful_timeout,
        memory_budget=options.memory_budget,
        store=StoreSettings(
            options.artifact_dir or str(folder.path / "artifacts"), options.artifact_limit
        ),
    )
    await supervisor.run(on_listening, wait=options.wait)


def _detach(folder: RuntimeDir) -> Callable[[], None]:
    """Go on in a child that belongs to no terminal; the parent waits until it listens.

    Forking is safe here, and only here: the process is young and has one thread.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        if said != "listening":
            print(said or f"model host: it ended at once, see {folder.log}", file=sys.stderr)
        os._exit(0 if said == "listening" else 1)
    os.close(reader)
    os.setsid()
    if folder.log.exists() and folder.log.stat().st_size > MAX_LOG:
        folder.log.replace(folder.log.with_suffix(".log.1"))
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)

    def tell() -> None:
        os.write(writer, b"listening")
        os.close(writer)

    return tell


def _tell_systemd() -> None:
    """Say that the host is ready, under a unit with `Type=notify` (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # An address that begins with @ is in the abstract namespace.
            sock.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            sock.sendall(b"READY=1")


if __name__ == "__main__":
    sys.exit(main())
