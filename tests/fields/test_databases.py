"""The folder once more on other databases: their JSON, their locks, their transactions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.test_databases import Environment, environment

__all__ = ["environment"]

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_fields_on(kind: str, environment: Environment) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(HERE), "-q", "--color=no", "--create-db"),
            *("-p", "no:cacheprovider", "-p", "no:xdist"),
        ],
        cwd=HERE.parents[1],
        env=environment(kind),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert "skipped" not in done.stdout
