"""What a fork makes of a process that has predicted, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from tests.hosts import Host

#: Threads of the parent may be in the middle of a call when it forks.
PROGRAM = """
import gc, os, sys, threading, time, warnings
import msgspec, numpy as np
from tests.hosts import Client
from django_inference.specs import HostSettings, ModelSpec

warnings.simplefilter("ignore", DeprecationWarning)
host, spec = msgspec.json.decode(sys.argv[1], type=tuple[HostSettings, ModelSpec])

def links(prefixes=("socket:", "/memfd:inference-arena")):
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(prefixes):
            # The number of the inode says which one it is, also of a memory file.
            found[fd] = os.stat(f"/proc/self/fd/{fd}").st_ino
    return set(found.values())

def predict(client, who, count=20):
    for index in range(count):
        x = np.full(3, index)
        answer = client.one([who, index, x])
        assert answer[:2] == [who, index] and np.array_equal(answer[2], x), answer

def fork(child):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid

def ended_well(*pids):
    until = time.monotonic() + 60
    for pid in pids:
        while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
            assert time.monotonic() < until, "the child hangs"
            time.sleep(0.01)
        assert done[1] == 0, done

client = Client(host, spec, time.time())
predict(client, "before")
"""


def run(host: Host, program: str) -> str:
    arguments = msgspec.json.encode((host.settings, host.spec())).decode()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(program), arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_child_and_parent_both_go_on_predicting(module_host: Host) -> None:
    run(
        module_host,
        """
        pids = [fork(lambda: predict(client, "child")) for _ in range(3)]
        predict(client, "parent")
        ended_well(*pids)
        predict(client, "after")
        """,
    )
    assert len(module_host.notes("loaded")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are looked up in /proc")
def test_no_descriptor_is_shared(module_host: Host) -> None:
    run(
        module_host,
        """
        ours = links()
        assert len(ours) >= 2, ours

        def child():
            gc.collect()
            assert not links(), "inherited"
            predict(client, "child")
            theirs = links()
            assert len(theirs) >= 2
            assert not theirs & ours

        ended_well(fork(child))
        assert links() == ours
        predict(client, "parent")
        """,
    )


def test_a_fork_in_the_middle_of_calls(module_host: Host) -> None:
    run(
        module_host,
        """
        is_over = threading.Event()
        errors = []

        def call(who):
            while not is_over.is_set():
                try:
                    predict(client, who, 1)
                except Exception as error:
                    errors.append(error)

        threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            ended_well(fork(lambda: predict(client, "child", 5)))
        is_over.set()
        for thread in threads:
            thread.join()
        assert not errors, errors
        predict(client, "parent")
        """,
    )


def test_a_fork_while_the_routes_are_asked_for(module_host: Host) -> None:
    run(
        module_host,
        """
        client.close()
        slow = Client(host, msgspec.structs.replace(
            spec, alias="slow", runtime_options=spec.runtime_options | {"load_seconds": 0.5}
        ), time.time())
        thread = threading.Thread(target=predict, args=(slow, "thread", 1))
        thread.start()
        time.sleep(0.1)
        ended_well(fork(lambda: predict(slow, "child", 2)))
        thread.join()
        predict(slow, "parent")
        """,
    )


def test_a_child_of_a_child(module_host: Host) -> None:
    run(
        module_host,
        """
        def child():
            predict(client, "child", 2)
            ended_well(fork(lambda: predict(client, "grandchild", 2)))
            predict(client, "child", 2)

        ended_well(fork(child))
        predict(client, "parent")
        """,
    )


def test_event_loops_before_and_after_the_fork(module_host: Host) -> None:
    run(
        module_host,
        """
        import asyncio

        async def some():
            answers = await asyncio.gather(*(client.aone(n) for n in range(10)))
            assert answers == list(range(10)), answers

        asyncio.run(some())
        ended_well(fork(lambda: asyncio.run(some())))
        asyncio.run(some())
        """,
    )
