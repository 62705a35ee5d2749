"""Results that a browser gets piece by piece, until it has had enough."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.servers.conftest import SiteOf
from tests.servers.running import Site
from tests.servers.web import Server, eventually

SYNC = ("gunicorn sync", "gunicorn gthread", "granian wsgi")
ASYNC = ("uvicorn", "granian asgi", "daphne")


@pytest.fixture
def site(site_of: SiteOf) -> Site:
    return site_of("counter")


@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
def test_a_browser_that_leaves_ends_the_generation(site: Site, name: str) -> None:
    server = site.serve(name).wait_listening()
    path = "/astream/counter/" if name in ASYNC else "/stream/counter/"
    site.wait_ready("counter")
    assert server.client.post(path, content="5").text == "0\n1\n2\n3\n4\n"
    for _ in range(3):
        read_some(server, path)
    eventually(lambda: streams(site) == 0, lambda: f"{streams(site)} streams are open")
    counts = requests(site)
    time.sleep(0.2)
    assert requests(site) == counts
    assert server.client.post(path, content="2").text == "0\n1\n"


def read_some(server: Server, path: str) -> None:
    """Read from a stream without end, and hang up."""
    began = time.monotonic()
    with server.client.stream("POST", path, content="null") as response:
        lines = response.iter_lines()
        assert [next(lines) for _ in range(5)] == list("01234")
    # They have come one by one: nobody could have waited for them all.
    assert time.monotonic() - began < 10


def streams(site: Site) -> int:
    """How many are open in the model."""
    status = site.status("counter")
    assert status
    return status.replicas[0].statistics.streams


def requests(site: Site) -> int:
    """How many chunks it has made."""
    status = site.status("counter")
    assert status
    return status.replicas[0].statistics.requests


def test_readers_do_not_keep_calls_from_an_event_loop(site: Site) -> None:
    server = site.serve("uvicorn", "--workers", "1").wait_listening()
    site.wait_ready("counter")
    readers = []
    with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
        for _ in range(20):
            request = client.build_request("POST", "/astream/counter/", content="null")
            response = client.send(request, stream=True)
            assert next(response.iter_raw()).startswith(b"0")
            readers.append(response)
        for number in range(20):
            body = f"[{number}]".encode()
            answer = server.client.post("/apredict/counter/", content=body)
            assert answer.json()["result"] == [list(range(number))]
        for response in readers:
            response.close()
    eventually(lambda: streams(site) == 0, lambda: f"{streams(site)} streams are open")
