"""Server-sent events of the views of Django REST framework, by real servers."""

from __future__ import annotations

import time

import pytest

from tests.servers.conftest import SiteOf
from tests.servers.test_streams import requests, streams
from tests.servers.web import Server, eventually


@pytest.mark.parametrize(
    ("name", "places"), [("gunicorn sync", ["api"]), ("uvicorn", ["api", "aapi"])]
)
def test_events_come_one_by_one_until_the_client_leaves(
    site_of: SiteOf, name: str, places: list[str]
) -> None:
    site = site_of("counter", SITE_REST="1")
    server = site.serve(name).wait_listening()
    site.wait_ready("counter")
    for place in places:
        path = f"/{place}/counter/stream/"
        text = server.client.post(path, json={"item": 2}).text
        chunks = "".join(f"event: chunk\ndata: {number}\n\n" for number in range(2))
        assert text == f"{chunks}event: end\ndata: null\n\n"
        refused = server.client.post(path, json={"items": [1, 2]})
        assert (refused.status_code, list(refused.json())) == (400, ["results"])
        for _ in range(2):
            read_some(server, path)
        eventually(lambda: streams(site) == 0, lambda: f"{streams(site)} streams are open")
        counts = requests(site)
        time.sleep(0.2)
        assert requests(site) == counts
    assert server.client.post("/api/counter/", json={"item": 3}).json() == {"result": [0, 1, 2]}


def read_some(server: Server, path: str) -> None:
    """Read from a stream without end, and hang up."""
    headers = {"Accept": "text/event-stream"}
    with server.client.stream("POST", path, json={"item": None}, headers=headers) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.iter_lines()
        assert [next(lines) for _ in range(5)] == [
            "event: chunk", "data: 0", "", "event: chunk", "data: 1",
        ]  # fmt: skip
