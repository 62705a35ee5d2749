"""The demo's own checks notice what they are there for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from demo_run.checks import TYPES, answers
from demo_run.requests import Reply
from demo_run.server import MARK, Server, free_port

FACE = {"probability": 0.9991, "box": [182.0, 64.0, 83.0, 107.0]}
RIGHT: dict[str, Any] = {
    "faces": {"result": {"faces": [FACE]}},
    "notes": {"result": {"notes": [{"midi": 64}, {"midi": 60}, {"midi": 67}]}},
    "types": {"results": [{"label": label} for label in TYPES]},
}
WRONG: list[tuple[str, Any]] = [
    ("faces", {"result": {"faces": []}}),
    ("faces", {"result": {"faces": [FACE, FACE]}}),
    ("faces", {"result": {"faces": [FACE | {"probability": 0.9}]}}),
    ("faces", {"result": {"faces": [FACE | {"box": [300.0, 64.0, 83.0, 107.0]}]}}),
    ("notes", {"result": {"notes": [{"midi": 60}, {"midi": 64}]}}),
    ("types", {"results": [{"label": "txt"} for _ in TYPES]}),
]


def reply(data: Any, *, worker: int = 1, status: int = 200) -> Reply:
    return Reply(status, worker, {}, json.dumps(data), 0.1)


@pytest.mark.parametrize("alias", RIGHT)
def test_right_answers_of_every_web_worker_are_no_problem(alias: str) -> None:
    replies = [reply(RIGHT[alias], worker=worker) for worker in (1, 2)]

    assert list(answers(alias, replies, {1, 2})) == []


@pytest.mark.parametrize(("alias", "data"), WRONG)
def test_a_wrong_answer_is_a_problem(alias: str, data: Any) -> None:
    assert len(list(answers(alias, [reply(RIGHT[alias]), reply(data)], {1}))) == 1


def test_a_web_worker_that_never_answered_is_a_problem() -> None:
    [problem] = answers("faces", [reply(RIGHT["faces"])], {1, 2})

    assert "[2] never answered" in problem


def test_an_error_is_a_problem() -> None:
    [problem] = answers("faces", [reply({"detail": "busy"}, status=503)], {1})

    assert "HTTP 503" in problem


@pytest.mark.servers
def test_a_process_that_stays_is_a_problem_and_is_killed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The names of sockets may not be long.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("d")))
    server = Server()
    environment = {**os.environ, MARK: str(server.folder / "host")}
    command = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None and stubborn.stdout.readline()
        found = server.stop(timeout=5.0)

    assert [problem.split(" ")[:3] for problem in found] == [["still", "there:", str(stubborn.pid)]]
    assert not psutil.pid_exists(stubborn.pid)
    assert not server.folder.exists()


def test_a_port_that_is_taken_is_not_used() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert free_port(port) != port
    assert free_port(port) == port
