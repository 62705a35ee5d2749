"""Hooks of gunicorn that note what a worker has of its master right after the fork."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["SITE_FOLDER"])


def pre_fork(server: Any, worker: Any) -> None:
    _note("before")


def post_fork(server: Any, worker: Any) -> None:
    _note("after")


def _note(when: str) -> None:
    facts = {"when": when, "pid": os.getpid(), "sockets": to_host(), "arenas": arenas()}
    with (FOLDER / "forks").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def to_host() -> list[int]:
    """The inodes of this process's sockets that lead into the host's folder."""
    return [
        os.fstat(fd).st_ino for fd in _descriptors("socket:") if _peer(fd).startswith(str(FOLDER))
    ]


def arenas() -> list[int]:
    """The inodes of the arenas that this process has open."""
    return [os.fstat(fd).st_ino for fd in _descriptors("/memfd:inference-arena")]


def _descriptors(kind: str) -> list[int]:
    found = []
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}").startswith(kind):
                found.append(int(entry))
        except FileNotFoundError:
            # The listing itself had a descriptor.
            continue
    return found


def _peer(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as copy:
        try:
            name = copy.getpeername()
        except OSError:
            return ""
    return name if isinstance(name, str) else ""
