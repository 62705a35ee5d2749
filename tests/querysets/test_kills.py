"""A table that is being filled by a process that is killed, on each database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import eventually
from tests.tasks.databases import database

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

#: Rows, and rows of a batch, in short and with `--chaos`.
SHORT, LONG = (500, 20), (100_000, 500)
#: Makes numbered rows; or prints how many are right, and how many there are.
MAKE = """
from tests.querysets.gallery.models import Photo
Photo.objects.bulk_create([Photo(number=number) for number in range({count})], batch_size=1000)
"""
COUNT = """
from django.db.models import F
from tests.querysets.gallery.models import Photo
print(Photo.objects.filter(doubled=F("number") * 2).count(), Photo.objects.count())
"""


class Table:
    """Numbered rows in a database of the test's own."""

    def __init__(self, database: str, journal: Path) -> None:
        self.journal = journal
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.querysets.settings",
            "DATABASE": database,
            "JOURNAL": str(journal),
        }

    def run(self, *arguments: str, hold_at: int = -1) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            env=self._environment | {"HOLD_AT": str(hold_at)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, *arguments: str) -> str:
        with self.run(*arguments) as process:
            said = process.communicate(timeout=600)[0]
        assert process.returncode == 0, said
        return said

    def has_just_run(self, number: int) -> bool:
        """Whether it is among the last ones that the model was given."""
        if not self.journal.exists():
            return False
        with self.journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1000))
            return str(number).encode() in file.read().splitlines()


@pytest.fixture
def table(where: str, tmp_path: Path) -> Iterator[Table]:
    with database(where) as told:
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
        yield Table(told or json.dumps(sqlite), tmp_path / "journal")


@pytest.mark.parametrize(
    ("where", "keeps"),
    [
        ("sqlite", "the rows that are empty"),
        ("sqlite", "a position"),
        ("postgresql", "a position"),
        ("mariadb", "the rows that are empty"),
    ],
)
def test_each_row_is_predicted_once(
    table: Table, keeps: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count, batch = LONG if request.config.getoption("--chaos") else SHORT
    table.do("migrate", "--run-syncdb", "--verbosity=0")
    table.do("shell", "--verbosity=0", "-c", MAKE.format(count=count))
    fill = ["inference_fill", "gallery.Photo.doubled", "--predictor=twice", "--input=number"]
    fill.append(f"--batch-size={batch}")
    if keeps == "a position":
        fill += ["--all", f"--checkpoint={tmp_path / 'position'}"]
    for number in (count // 4, count // 2):
        process = table.run(*fill, hold_at=number)
        try:
            eventually(lambda: process.poll() is not None or table.has_just_run(number), 600)  # noqa: B023
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    table.do(*fill)
    assert table.do("shell", "--verbosity=0", "-c", COUNT).split() == [str(count)] * 2
    run = [int(line) for line in table.journal.read_bytes().splitlines()]
    assert set(run) == set(range(count))
    # The batch that was in flight at each kill.
    assert len(run) <= count + 2 * batch
