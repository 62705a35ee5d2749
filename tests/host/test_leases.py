from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from django_inference.host import leases as module
from django_inference.host.leases import Leases, peer


def sleeper() -> subprocess.Popen[bytes]:
    """A process that stays until its standard input is closed."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> None:
    process.communicate(b"\n")


async def until_idle(leases: Leases) -> None:
    async with asyncio.timeout(20):
        while not leases.idle_seconds:
            await asyncio.sleep(0.01)


async def test_a_process_counts_until_it_exits() -> None:
    leases = Leases()
    assert leases.idle_seconds > 0
    first, second = sleeper(), sleeper()
    leases.take(first.pid)
    leases.take(first.pid)
    leases.take(second.pid)
    assert leases.idle_seconds == 0
    end(first)
    await asyncio.sleep(0.05)
    assert leases.idle_seconds == 0
    end(second)
    await until_idle(leases)
    assert leases.idle_seconds < 10


async def test_a_process_that_is_gone_already_counts_for_nothing() -> None:
    leases = Leases()
    process = sleeper()
    end(process)
    leases.take(process.pid)
    await until_idle(leases)


async def test_a_process_that_cannot_be_seen_counts_for_nothing() -> None:
    leases = Leases()
    leases.take(0)
    assert leases.idle_seconds > 0


async def test_without_descriptors_of_processes_they_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    monkeypatch.setattr(module, "LOOK", 0.02)
    leases = Leases()
    process = sleeper()
    leases.take(process.pid)
    await asyncio.sleep(0.1)
    assert leases.idle_seconds == 0
    end(process)
    await until_idle(leases)


def test_a_peer_is_known_by_its_process_and_user() -> None:
    ours, theirs = socket.socketpair()
    expected = os.getpid() if sys.platform == "linux" else 0
    assert peer(ours) == (expected, os.getuid())
    ours.close()
    theirs.close()
