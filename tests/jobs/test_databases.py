"""The folder once more on each database, with what takes several connections or processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1000)]

HERE = Path(__file__).parent
PORTS = {"postgresql": 5432, "mariadb": 3306}

Environment = Callable[[str], dict[str, str]]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """Of a process with a database of its own, which is gone after the test."""
    name = f"inference_jobs_{uuid.uuid4().hex}"
    used: list[str] = []

    def environment(kind: str) -> dict[str, str]:
        if kind in PORTS:
            try:
                socket.create_connection(("127.0.0.1", PORTS[kind]), 5).close()
            except OSError:
                pytest.skip(f"no {kind} listens on this machine")
        used.append(kind)
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.jobs.settings",
            "JOBS_DATABASE": kind,
            "JOBS_DATABASE_NAME": str(tmp_path / name) if kind == "sqlite" else name,
            "JOBS_MEDIA": str(tmp_path / "media"),
        }

    yield environment
    # pytest-django has removed it, unless it was killed.
    for kind in used:
        _drop(kind, name)


def _drop(kind: str, name: str) -> None:
    if kind == "postgresql":
        import psycopg

        with psycopg.connect(host="127.0.0.1", user="postgres", autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    elif kind == "mariadb":
        import pymysql

        connection: Any = pymysql.connect(host="127.0.0.1", user="root")
        with connection, connection.cursor() as cursor:
            cursor.execute(
                f"SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{name}'"
            )
            if cursor.fetchone()[0]:
                cursor.execute(f"DROP DATABASE {name}")


#: With `--chaos` each database has all; else each what it may have ideas of its own about.
CHOSEN = {
    "sqlite": ("test_kills.py", "test_races.py"),
    "postgresql": ("test_outbox.py", "test_payloads.py", "test_races.py", "test_submission.py"),
    "mariadb": ("test_outbox.py", "test_payloads.py", "test_races.py", "test_submission.py"),
}


@pytest.mark.parametrize("kind", CHOSEN)
def test_jobs_on(kind: str, environment: Environment, request: pytest.FixtureRequest) -> None:
    is_whole = request.config.getoption("--chaos")
    chosen = [str(HERE)] if is_whole else [str(HERE / name) for name in CHOSEN[kind]]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", *chosen, "-q", "--color=no", "--create-db"),
            *("-p", "no:cacheprovider", "-p", "no:xdist"),
        ],
        cwd=HERE.parents[1],
        env=environment(kind),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert "skipped" not in done.stdout
