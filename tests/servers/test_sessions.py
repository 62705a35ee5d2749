"""A model of TensorFlow 1, whose sessions used to be lost between the threads of a server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs
from tests.servers.running import ROOT
from tests.servers.web import PATIENCE, Server, eventually

THREADS = 8


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session")
    program = (sys.executable, "-m", "tests.servers.model", "session", str(folder))
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True, timeout=2 * PATIENCE)
    return folder


def ask(server: Server, alias: str, numbers: range) -> set[int]:
    """Call the plain and the async view in turns; return the threads that the plain one ran on."""

    def call(number: int) -> dict[str, Any]:
        view = "apredict" if number % 2 else "predict"
        response = server.predict(inputs(number), alias, view=view)
        assert response.status_code == 200, response.text
        said: dict[str, Any] = response.json()
        assert said["result"] == answer(inputs(number)), number
        return said

    with ThreadPoolExecutor(THREADS) as pool:
        return {said["thread"] for said in pool.map(call, numbers) if "thread" in said}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("session", "gunicorn gthread"),
        ("session_here", "gunicorn gthread"),
        ("session_here", "uvicorn"),
    ],
)
def test_a_thousand_calls_of_many_threads_and_a_reload_are_answered_right(
    site_of: SiteOf, checkpoint: Path, alias: str, name: str
) -> None:
    site = site_of(alias)
    model = shutil.copytree(checkpoint, site.folder / "session")
    server = site.serve(name, "--workers", "1").wait_listening()

    def status() -> dict[str, Any]:
        said: dict[str, Any] = server.client.get(f"/status/{alias}/").json()
        return said

    # Nobody has asked for a prediction: the middleware has asked for the model.
    eventually(lambda: status()["state"] == "READY", "the model is loaded", 2 * PATIENCE)
    before = status()
    threads = ask(server, alias, range(0, 300))

    (model / "checkpoint").touch()
    assert server.client.get(f"/reload/{alias}/").status_code == 200
    threads |= ask(server, alias, range(300, 700))
    eventually(
        lambda: status()["version"] != before["version"], "the model is loaded again", 2 * PATIENCE
    )
    threads |= ask(server, alias, range(700, 1000))

    assert len(threads) >= THREADS
    assert status()["state"] == "READY"
    here = {server.process.pid, *(child.pid for child in server.process.children(recursive=True))}
    assert (before["pid"] in here) == (alias == "session_here")
