"""Async views, under a server that runs them on its event loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs
from tests.servers.running import Site


def test_fifty_requests_at_an_async_view(site: Site) -> None:
    server = site.serve("uvicorn").wait_listening()
    given = [inputs(number) for number in range(50)]

    def ask(body: Any) -> httpx.Response:
        return server.predict(body, view="apredict")

    # The first ones arrive before the model is loaded, and wait for it without a thread each.
    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(ask, given))
    assert [response.status_code for response in responses] == [200] * 50
    assert [r.json()["result"] for r in responses] == [answer(body) for body in given]
    assert site.loads() == [site.wait_ready().pid]


def test_a_cancelled_call_does_not_disturb_the_others(site_of: SiteOf) -> None:
    server = site_of("slow").serve("uvicorn", "--workers", "1").wait_listening()
    for _ in range(3):
        results = server.client.get("/cancel/").json()["results"]
        expected = [2 * value if value % 3 else "CancelledError" for value in range(10)]
        assert results == expected


def test_a_client_that_hangs_up_does_not_disturb_the_others(site_of: SiteOf) -> None:
    site = site_of("slow")
    server = site.serve("uvicorn", "--workers", "1").wait_listening()
    worker = site.wait_ready("slow").pid

    def ask(value: int) -> Any:
        body = [{"value": value, "seconds": 0.3}]
        timeout = 0.2 if value % 4 == 0 else 30.0
        return server.client.post("/apredict/slow/", json=body, timeout=timeout).json()["result"]

    with ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(ask, value) for value in range(12)]
    for value, future in enumerate(futures):
        if value % 4 == 0:
            with pytest.raises(httpx.ReadTimeout):
                future.result()
        else:
            assert future.result() == [2 * value]
    assert server.predict([{"value": 50}], "slow", view="apredict").json()["result"] == [100]
    assert site.loads("slow") == [worker]
