"""A model is loaded once per machine, and no web worker ever holds its framework."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs
from tests.servers.web import PATIENCE, Server, eventually

LIBRARIES = {"mlp": "onnxruntime", "layers": "tensorflow"}


def libraries(pid: int) -> str:
    """The files that a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


def modules_of_every_worker(server: Server, count: int = 2) -> dict[int, list[str]]:
    """The frameworks that each web worker has imported, by its process."""
    found: dict[int, list[str]] = {}

    def look() -> bool:
        with ThreadPoolExecutor(8) as pool:
            for response in pool.map(lambda _: server.client.get("/modules/"), range(8)):
                found[response.json()["pid"]] = response.json()["modules"]
        return len(found) == count

    eventually(look, f"{count} web workers answer")
    return found


@pytest.mark.parametrize("alias", ["mlp", pytest.param("layers", marks=pytest.mark.heavy)])
def test_fifty_requests_at_two_web_workers_share_one_load(site_of: SiteOf, alias: str) -> None:
    site = site_of(alias)
    if alias == "layers":
        site.run("-m", "tests.servers.model", alias, str(site.folder / alias))
    server = site.serve("gunicorn gthread").wait_listening()
    status = site.wait_ready(alias, timeout=2 * PATIENCE)

    before = modules_of_every_worker(server)
    assert list(before.values()) == [[], []]
    assert not any("numpy" in libraries(pid) for pid in before)

    given = [inputs(number) for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(lambda body: server.predict(body, alias), given))
    assert [response.status_code for response in responses] == [200] * 50
    results: list[Any] = [response.json()["result"] for response in responses]
    assert results == [answer(body) for body in given]
    assert {response.json()["pid"] for response in responses} == set(before)

    assert site.loads(alias) == [status.pid]
    library = LIBRARIES[alias]
    assert [p.pid for p in site.processes() if library in libraries(p.pid)] == [status.pid]
    after = modules_of_every_worker(server)
    assert list(after.values()) == [["numpy"], ["numpy"]]
    assert after.keys() == before.keys()
