"""No request fails because the process that answers it was forked from another one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs
from tests.servers.running import Site
from tests.servers.web import eventually


def test_children_of_a_master_that_has_predicted_use_nothing_of_it(site_of: SiteOf) -> None:
    site = site_of(SITE_PREDICT="1")
    hooks = ("--config", "python:tests.site.gunicorn_conf")
    server = site.serve("gunicorn preload", "--workers", "3", *hooks).wait_listening()
    given = inputs(3)
    pids = set()

    def look() -> bool:
        with ThreadPoolExecutor(6) as pool:
            for response in pool.map(server.predict, [given] * 12):
                assert response.json()["result"] == answer(given)
                pids.add(response.json()["pid"])
        return len(pids) == 3

    eventually(look, "each of the three children answers")
    assert server.process.pid not in pids
    assert len(site.launches) == len(site.loads()) == 1

    notes = [json.loads(line) for line in (site.folder / "forks").read_text().splitlines()]
    before = [note for note in notes if note["when"] == "before"]
    after = [note for note in notes if note["when"] == "after"]
    assert len(before) == len(after) == 3
    for note in before:
        assert note["pid"] == server.process.pid
        assert note["sockets"]
        assert note["arenas"]
    for note in after:
        assert note["pid"] in pids
        assert note["sockets"] == []
        assert note["arenas"] == []


def test_recycled_web_workers_lose_no_request(site: Site) -> None:
    server = site.serve("gunicorn preload", "--max-requests", "5").wait_listening()
    status = site.wait_ready()
    given = [inputs(number) for number in range(60)]
    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(server.predict, given))
    assert [response.status_code for response in responses] == [200] * 60
    assert [r.json()["result"] for r in responses] == [answer(body) for body in given]
    assert len({response.json()["pid"] for response in responses}) >= 60 // 5 - 2
    assert site.loads() == [status.pid]


RIGHT = {"answer": answer(inputs(0)), "inherited": 0}


def test_a_host_is_started_although_its_starter_forks_all_the_while(site: Site) -> None:
    facts = json.loads(site.run("-m", "tests.site.forking", "starting"))
    assert facts["children"] == [RIGHT] * 4
    assert facts["forks"] > 20
    # As long as it takes at most, and not as long as the children live.
    assert facts["preload_seconds"] < 10.0
    assert len(site.launches) == len(site.loads()) == 1


def test_children_forked_amid_the_calls_of_other_threads_predict(site: Site) -> None:
    facts = json.loads(site.run("-m", "tests.site.forking", "calling"))
    assert facts["children"] == [RIGHT] * 8
    assert facts["calls"] > 50
    assert facts["wrong"] == 0
    assert len(site.launches) == len(site.loads()) == 1
