"""`make test`, with programs that only end as they are told in place of the real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOL = '#!/bin/sh\necho "ran ${0##*/}"\nexit ${%s:-0}\n'
PYTEST = """#!/bin/sh
case "$*" in
  *last-failed*) echo "ran again"; exit ${AGAIN:-1};;
  *"not ("*) echo "ran first"; exit ${FIRST:-0};;
  *--ignore*) echo "ran third"; exit ${THIRD:-0};;
  *) echo "ran second"; exit ${SECOND:-0};;
esac
"""
EVERY = ["ruff", "ruff", "mypy", "lint-imports", "first", "second", "third", "coverage"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        pytest.skip("there is no make.")
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "pyproject.toml").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    tools = {"ruff": "LINT", "mypy": "OK", "lint-imports": "OK", "coverage": "REPORT"}
    scripts = {name: TOOL % variable for name, variable in tools.items()} | {"python": PYTEST}
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in (".venv", ".peers/clients", ".peers/mlserver", ".peers/triton"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / ".installed").touch()
    return tmp_path


@pytest.mark.parametrize("options", [[], ["-j4"]])
@pytest.mark.parametrize(
    ("ends", "ran", "last"),
    [
        ({}, EVERY, "passed: lint tests-together tests-docs tests-alone"),
        ({"FIRST": 1}, [*EVERY[:5], "again", *EVERY[5:]], "FAILED: tests-together"),
        ({"FIRST": 1, "AGAIN": 0}, [*EVERY[:5], "again", *EVERY[5:]], "passed: lint"),
        ({"FIRST": 2}, EVERY, "FAILED: tests-together"),
        ({"SECOND": 2, "THIRD": 4}, EVERY, "FAILED: tests-docs tests-alone"),
        ({"LINT": 1}, [EVERY[0], *EVERY[4:]], "FAILED: lint"),
        ({"REPORT": 1}, EVERY, "FAILED: coverage"),
    ],
)
def test_every_part_runs_whichever_fails(
    folder: Path, options: list[str], ends: dict[str, int], ran: list[str], last: str
) -> None:
    done = subprocess.run(
        ["make", *options, "SERVICES=", "test"],
        cwd=folder,
        # As in a shell of its own, though these tests may have been started by make.
        env={"PATH": os.environ["PATH"]} | {name: str(end) for name, end in ends.items()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert [line.removeprefix("ran ") for line in lines if line.startswith("ran ")] == ran
    said = [line for line in lines if line.startswith("== ")][-1]
    assert said.startswith(f"== {last}")
    assert (done.returncode == 0) == last.startswith("passed")
