"""The code blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

_FILE = re.compile(r"# ([\w./-]+\.\w+)(, at the end)?\n")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: its path in the project.
        line: of the page, where its text begins.
        language: the first word behind the fence.
        text: what is in it.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The file that its first line names as a comment; empty for none."""
        named = _FILE.match(self.text)
        return named[1] if named else ""

    @property
    def is_appended(self) -> bool:
        """Whether it goes to the end of a file that is there already."""
        named = _FILE.match(self.text)
        return bool(named and named[2])


@dataclass(frozen=True)
class Command:
    """A line of a `console` block that begins with `$`, and what is printed below it."""

    line: int
    text: str
    output: str


def pages() -> list[str]:
    """The README and every page of the documentation."""
    found = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    return ["README.md", *sorted(str(path) for path in found if path.parts[1] != "_build")]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text())
    found = []
    for token in tokens:
        # Indented text becomes code by accident, and nothing says in which language.
        assert token.type != "code_block", f"{page}: indented code: {token.content!r}"
        if token.type == "fence":
            assert token.map is not None
            language = token.info.split()[0] if token.info.strip() else ""
            found.append(Block(page, token.map[0] + 2, language, token.content))
    return found


def commands(block: Block) -> Iterator[Command]:
    """The commands of a `console` block."""
    lines = block.text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[:1] == [0], f"{block}: a console block begins with a command"
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        text = lines[start][2:]
        output = lines[start + 1 : end]
        while text.endswith("\\"):
            text = text[:-1].rstrip() + " " + output.pop(0).lstrip("> ")
        yield Command(block.line + start, text, "\n".join(output))
