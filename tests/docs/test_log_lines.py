"""The runbook knows every line that the log may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.blocks import ROOT

SOURCE = ROOT / "src" / "django_inference"
RUNBOOK = (ROOT / "docs" / "how-to" / "on-call.md").read_text()
LEVELS = ("info", "warning", "error", "exception")


def logged() -> Iterator[str]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="logger"), attr=level),
                    args=[ast.Constant(value=str(line)), *_],
                ) if level in LEVELS:
                    yield line


def words(line: str) -> str:
    """What a person would look for: the fixed words that a line begins with."""
    fixed = re.split(r"%", line)[0]
    return re.sub(r" (\w+=)?$", "", fixed).strip()


LINES = sorted({words(line) for line in logged()} - {""})


def test_there_are_lines() -> None:
    assert "model loaded alias=" in LINES or "model loaded" in LINES


@pytest.mark.parametrize("line", LINES)
def test_the_runbook_explains_the_line(line: str) -> None:
    assert f"`{line}" in RUNBOOK
