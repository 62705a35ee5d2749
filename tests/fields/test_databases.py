"""Some of the folder once more on other databases: their JSON, their locks, their columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs.test_databases import Environment, environment

__all__ = ["environment"]

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
#: The tests whose SQL is not the same everywhere. Emptying all tables after each takes a while.
SPECIAL = "changed or stale or announced or failed or each_kind or does_not_take or migrations"


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_fields_on(kind: str, environment: Environment) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", str(HERE), "-q", "--color=no", "--create-db"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "-k", SPECIAL),
        ],
        cwd=HERE.parents[1],
        env=environment(kind) | {"DJANGO_SETTINGS_MODULE": "tests.fields.settings"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert "skipped" not in done.stdout
