"""Waiting for a job at a server for ASGI, over real connections."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.pages.conftest import at_work
from tests.servers.running import Site
from tests.tasks.office import PATIENCE, Office

pytestmark = pytest.mark.timeout(300)


def test_clients_wait_and_are_sent_events_until_the_end(site: Site, the_office: Office) -> None:
    client = site.serve("uvicorn").wait_listening().client
    client.timeout = PATIENCE
    answer = client.post("/api/sizes/jobs/", content=b"abc", headers={"Content-Type": "a/b"})
    assert answer.status_code == 202
    cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    job = answer.headers["Location"].partition("/api/")[2]

    def wait() -> Any:
        prefer = {"Prefer": "wait=30"}
        for _ in range(10):
            said = client.get(f"/async/{job}", headers=cookies | prefer)
            assert said.headers["Preference-Applied"] == "wait=30"
            if said.json()["state"] == "succeeded":
                break
        return said.json()

    def listen() -> list[tuple[str, Any]]:
        with client.stream("GET", f"/async/{job}events/", headers=cookies) as stream:
            assert stream.headers["Content-Type"] == "text/event-stream"
            lines = [line.partition(": ") for line in stream.iter_lines()]
        kinds = [value for name, _, value in lines if name == "event"]
        data = [json.loads(value)["state"] for name, _, value in lines if name == "data"]
        return list(zip(kinds, data, strict=True))

    with ThreadPoolExecutor(2) as pool, at_work(the_office):
        waiting, listening = pool.submit(wait), pool.submit(listen)
        assert waiting.result()["state"] == "succeeded"
        events = listening.result()
    assert events[-1] == ("end", "succeeded")
    assert [kind for kind, _ in events].count("end") == 1
    said = client.get(f"/api/{job}result/", headers=cookies)
    assert said.json() == {"result": {"bytes": 3}}
