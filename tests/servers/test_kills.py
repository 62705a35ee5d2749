"""Processes are killed while threads predict: calls go on, and everything comes back."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import psutil
import pytest

from django_inference.exceptions import BY_NAME
from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs
from tests.servers.running import running
from tests.servers.web import Server, eventually

#: `OPTIONS["timeout"]`, and what a busy machine may add.
DEADLINE = 10.0 + 5.0

WAYS = pytest.mark.parametrize(
    ("name", "view"), [("gunicorn gthread", "predict"), ("uvicorn", "apredict")]
)


class Call:
    """What became of one request."""

    def __init__(self, server: Server, view: str, number: int) -> None:
        began = time.monotonic()
        self.number = number
        body = [{"value": number, "seconds": 0.02}]
        self.response: httpx.Response = server.predict(body, "slow", view=view)
        self.seconds = time.monotonic() - began

    @property
    def is_right(self) -> bool:
        response = self.response
        return response.status_code == 200 and response.json()["result"] == [2 * self.number]


def kill_amid_calls(server: Server, view: str, pid: int, calls: int = 160) -> list[Call]:
    """Have eight threads predict, and kill a process when some of it is done."""
    with ThreadPoolExecutor(8) as pool:
        futures: list[Future[Call]] = [
            pool.submit(Call, server, view, number) for number in range(calls)
        ]
        eventually(lambda: sum(future.done() for future in futures) > calls // 4, "some answers")
        os.kill(pid, signal.SIGKILL)
        return [future.result() for future in futures]


@WAYS
def test_every_call_succeeds_although_the_models_worker_is_killed(
    site_of: SiteOf, name: str, view: str
) -> None:
    site = site_of("slow")
    site.expects_errors = True
    server = site.serve(name).wait_listening()
    before = site.wait_ready("slow")
    calls = kill_amid_calls(server, view, before.pid)
    assert [call.number for call in calls if not call.is_right] == []
    assert max(call.seconds for call in calls) < DEADLINE

    after = site.wait_ready("slow")
    assert after.pid != before.pid
    assert after.replicas[0].restarts == 1
    assert site.loads("slow") == [before.pid, after.pid]
    assert not psutil.pid_exists(before.pid)
    assert len(site.launches) == 1


@WAYS
def test_one_new_host_takes_over_when_the_supervisor_is_killed(
    site_of: SiteOf, name: str, view: str
) -> None:
    site = site_of("slow")
    site.expects_errors = True
    server = site.serve(name).wait_listening()
    before = site.wait_ready("slow")
    (supervisor,) = site.supervisors()
    calls = kill_amid_calls(server, view, supervisor.pid)

    for call in calls:
        assert call.seconds < DEADLINE
        if not call.is_right:
            error = call.response.json()["error"]["type"]
            assert call.response.status_code == BY_NAME[error].status_code
    # Nearly all of them have the time to wait for the new host.
    assert sum(call.is_right for call in calls) > len(calls) // 2

    after = site.wait_ready("slow")
    assert after.pid != before.pid
    assert len(site.launches) == 2
    (new,) = site.supervisors()
    assert new.pid != supervisor.pid
    # The old worker has left with its supervisor.
    workers = running(site.processes(), "django_inference.host.worker")
    assert [worker.pid for worker in workers] == [after.pid]
    assert Call(server, view, 7).is_right


def test_sigterm_answers_what_is_under_way_and_leaves_nothing_behind(site_of: SiteOf) -> None:
    site = site_of("slow", linger=0.5)
    server = site.serve("gunicorn gthread").wait_listening()
    site.wait_ready("slow")
    with ThreadPoolExecutor(1) as pool:
        note = site.folder / "running"
        item = {"value": 3, "seconds": 1.0, "note": str(note)}
        late = pool.submit(server.predict, [item], "slow")
        eventually(note.exists, "the model runs")
        server.process.terminate()
        assert late.result().json()["result"] == [6]
    server.process.wait(timeout=15.0)
    site.wait_gone()
    assert "model host leaves" in site.log
    assert list(site.host_folder.glob("host*.sock")) == []
    (workers,) = site.host_folder.glob("workers*")
    assert list(workers.iterdir()) == []


def test_a_server_that_is_killed_leaves_nothing_behind_either(site_of: SiteOf) -> None:
    site = site_of(linger=0.5)
    server = site.serve("gunicorn sync").wait_listening()
    given = inputs(8)
    assert server.predict(given).json()["result"] == answer(given)
    for pid in server.pids():
        os.kill(pid, signal.SIGKILL)
    server.process.wait(timeout=5.0)
    site.wait_gone()
    assert "model host leaves" in site.log
