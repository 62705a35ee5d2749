"""Whoever asks, and from wherever, gets the same answer from the same model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.servers.model import answer, inputs
from tests.servers.running import Site
from tests.servers.web import eventually

SHELL = """
import json
from django_inference import predictors
from tests.site.views import from_json, to_json
print(json.dumps(to_json(predictors["mlp"].predict(from_json({given})))))
"""


def test_threads_tasks_a_shell_and_a_command_get_the_same_answer_at_once(site: Site) -> None:
    given = inputs(6)
    # Both servers start at the same moment: one of them starts the host.
    threads = site.serve("gunicorn gthread", "--workers", "1")
    tasks = site.serve("uvicorn", "--workers", "1")
    threads.wait_listening()
    tasks.wait_listening()

    def in_shell() -> Any:
        printed = site.manage("shell", "-v", "0", "-c", SHELL.format(given=given))
        return json.loads(printed)

    def in_command() -> Any:
        return json.loads(site.manage("predict", "mlp", json.dumps(given)))

    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(in_shell), pool.submit(in_command)]
        for _ in range(4):
            answers.append(pool.submit(lambda: threads.predict(given).json()["result"]))
            answers.append(
                pool.submit(lambda: tasks.predict(given, view="apredict").json()["result"])
            )
        assert [a.result() for a in answers] == [answer(given)] * 10
    assert site.loads() == [site.wait_ready().pid]
    assert len(site.launches) == 1


def test_a_worker_gives_back_the_memory_of_clients_that_have_left(site: Site) -> None:
    site.serve("gunicorn sync").wait_listening()
    worker = site.wait_ready().pid
    given = inputs(7)
    for _ in range(2):
        assert json.loads(site.manage("predict", "mlp", json.dumps(given))) == answer(given)
    maps = Path(f"/proc/{worker}/maps")
    eventually(
        lambda: "inference-arena" not in maps.read_text(), "the arenas of the commands are gone"
    )
