"""The settings of every guide, in a project that `django-admin startproject` has just made."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, Block, blocks, pages

TUTORIAL = "docs/tutorial/first-model.md"
SETTINGS = "mysite/settings.py"


def is_guide(page: str) -> bool:
    return page.startswith(("README", "docs/how-to/", "docs/tutorial/"))


@cache
def python_blocks(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def settings_of(page: str) -> list[Block]:
    return [block for block in python_blocks(page) if block.file == SETTINGS]


PAGES = [page for page in pages() if is_guide(page) and settings_of(page)]


def lay_out(folder: Path, page: str) -> None:
    """Save the files of a page, after those that it builds upon."""
    first = [] if any(installs(block) for block in settings_of(page)) else settings_of(TUTORIAL)
    for block in [*first, *(block for block in python_blocks(page) if block.file)]:
        # The pages that it serves are its own; what is looked at here is Django's.
        if block.file != "mysite/urls.py":
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a" if block.is_appended else "w") as file:
                file.write(block.text)
    # What the page's own commands write.
    for name in re.findall(r'BASE_DIR / "([\w-]+\.json)"', (folder / SETTINGS).read_text()):
        (folder / name).write_text('[[{"x": [[0]]}, {"y": [0]}, 0]]')


def installs(block: Block) -> bool:
    """Whether it adds the app itself, so that the page needs no other project."""
    return '"django_inference"' in block.text


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str | None]]:
    """What went wrong with the settings of each page."""
    home = tmp_path_factory.mktemp("fresh")
    fresh = home / "fresh"
    fresh.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "mysite", str(fresh)],
        check=True,
        env=environment,
        timeout=60,
    )
    folders = {}
    for number, page in enumerate(PAGES):
        folder = home / str(number)
        shutil.copytree(fresh, folder)
        lay_out(folder, page)
        folders[str(folder)] = page
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fresh_projects.py")), *folders],
        stdout=subprocess.PIPE,
        check=True,
        env=environment,
        timeout=120,
    )
    yield {folders[name]: error for name, error in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("page", PAGES)
def test_the_settings_work_in_a_fresh_project(page: str, outcomes: dict[str, str | None]) -> None:
    assert outcomes[page] is None, outcomes[page]


def test_settings_are_added_to_those_of_the_project() -> None:
    """A block that a reader takes for the whole file would replace Django's own apps."""
    named = [block for page in pages() for block in python_blocks(page)]
    for block in named:
        if "INSTALLED_APPS" in block.text or "MIDDLEWARE" in block.text:
            assert block.file.startswith("mysite/"), block
            assert block.is_appended, block
            assert "INSTALLED_APPS =" not in block.text, block
            assert "MIDDLEWARE =" not in block.text, block
        assert block.file != "settings.py", block
