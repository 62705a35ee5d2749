"""Every code block of the documentation does what the page says.

A page is followed from top to bottom, as a reader would: a block that names a file is saved,
a `console` block is typed, and any other Python is run in one session of that project. The
pages but the README and the tutorial start from the project that the tutorial has built.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT, Block, blocks, commands, pages
from tests.docs.project import Project

TUTORIAL = "docs/tutorial/first-model.md"
FROM_NOTHING = ("README.md", TUTORIAL)

CELERY = "docs/how-to/celery.md"
DURABLE = "docs/how-to/durable-jobs.md"
FETCH = "docs/how-to/fetch-models.md"
HTTP = "docs/how-to/serve-over-http.md"
SHAPE = "docs/how-to/shape-your-api.md"
DETECT = "docs/how-to/detect-objects.md"
OPEN_INFERENCE = "docs/how-to/open-inference.md"
TENSORFLOW = "docs/how-to/tensorflow-serving.md"
PRODUCTION = "docs/how-to/run-in-production.md"
SERVE = "docs/how-to/run-a-model-server.md"
TASKS = "docs/how-to/django-tasks.md"

#: What is not run but only parsed: by language, or by page and language, and why.
ONLY_PARSED = {
    "ini": "units of systemd, programs of supervisord, configuration of uWSGI: none runs here",
    "yaml": "objects of Kubernetes",
    "json": "an answer, shown",
    (CELERY, "shell"): "starts workers with a broker, as tests/celery does",
    (DURABLE, "shell"): "a service that stays, as tests/jobs/test_kills.py runs it",
    (FETCH, "shell"): "pushes into a Redis, as tests/management/test_push.py does",
    (HTTP, "python"): "run by tests/rest/test_how_to.py",
    (HTTP, "shell"): "asks models that the page takes for given",
    (SHAPE, "python"): "run by tests/rest/test_how_to.py",
    (SHAPE, "shell"): "installs into the environment of a reader",
    (DETECT, "python"): "run by tests/runtimes/vision/test_how_to.py",
    (DETECT, "shell"): "asks a model that the page takes for given",
    (OPEN_INFERENCE, "shell"): "needs a client that tests/servers/test_open_inference.py runs",
    (TENSORFLOW, "shell"): "needs stubs that tests/grpc/test_tensorflow_stubs.py runs",
    (SERVE, "shell"): "listens for other machines, with certificates that the page takes for given",
    (TASKS, "shell"): "workers that stay, as tests/tasks runs them",
    (PRODUCTION, "shell"): "starts containers of an image that the page takes for given",
}

#: What Sphinx is told to put there: the build of the pages checks it.
FOR_SPHINX = ("{raw}", "{toctree}")

#: Commands of a developer in a clone of the project: looked up, not run from within a test.
OF_A_CLONE = ("make ",)


def is_run(block: Block) -> bool:
    if block.language == "console":
        return not all(command.text.startswith(OF_A_CLONE) for command in commands(block))
    if block.language in FOR_SPHINX:
        return False
    return not {block.language, (block.page, block.language)} & ONLY_PARSED.keys()


@cache
def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks(page)]


def to_run(page: str) -> list[Block]:
    return [block for block in all_blocks() if block.page == page and is_run(block)]


@pytest.fixture(scope="session")
def after_the_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader has who followed the tutorial: its files, and a trained model."""
    folder = tmp_path_factory.mktemp("tutorial") / "work"
    project = Project()
    wanted = ["django-admin startproject mysite .", "python train.py"]
    try:
        for block in to_run(TUTORIAL):
            if block.file:
                project.do(block)
            elif block.language == "console":
                for command in commands(block):
                    if wanted and command.text == wanted[0]:
                        project.run(wanted.pop(0))
        assert not wanted
        shutil.copytree(project.folder, folder)
    finally:
        project.close()
    return folder


@pytest.fixture
def project(request: pytest.FixtureRequest, page: str) -> Iterator[Project]:
    like = None if page in FROM_NOTHING else request.getfixturevalue("after_the_tutorial")
    project = Project(like)
    yield project
    project.close()


# A page without a web server starts the model host and many a command, and takes as long.
@pytest.mark.servers
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page in pages() if to_run(page)])
def test_a_page_does_what_it_says(page: str, project: Project) -> None:
    for block in to_run(page):
        project.do(block)
    assert "no issues" in project.run("python manage.py check")


@pytest.mark.parametrize("block", all_blocks(), ids=str)
def test_every_block_says_its_language_and_can_be_parsed(block: Block) -> None:
    match block.language:
        case "python":
            compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        case "pycon":
            assert block.text.startswith(">>> ")
        case "console":
            for command in commands(block):
                parse_shell(command.text)
        case "shell":
            parse_shell(block.text)
        case "ini":
            configparser.RawConfigParser(strict=False).read_string(block.text)
        case "json":
            json.loads(block.text)
        case "yaml":
            assert all(part["kind"] for part in yaml.safe_load_all(block.text))
        case other:
            assert other in FOR_SPHINX, f"nobody knows how to check {other!r}"


def parse_shell(text: str) -> None:
    subprocess.run(["bash", "-n", "-c", text], check=True, timeout=10)


def test_every_make_command_names_a_target() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [
        command.text.removeprefix("make ")
        for block in all_blocks()
        if block.language == "console" and not is_run(block)
        for command in commands(block)
    ]
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_what_is_only_parsed_is_there() -> None:
    """A row of the list that fits no block would hide the next one that it does fit."""
    seen = {block.language for block in all_blocks()}
    seen_on = {(block.page, block.language) for block in all_blocks()}
    assert ONLY_PARSED.keys() <= seen | seen_on


@pytest.mark.servers
@pytest.mark.parametrize("page", ["README.md"])
def test_the_quick_start_answers_djangos_test_client(page: str, project: Project) -> None:
    for block in to_run(page):
        if block.file or "startproject" in block.text or "python train" in block.text:
            project.do(block)
    for line in (
        "from django.test import Client",
        "client = Client(SERVER_NAME='localhost')",
        "ask = lambda body: client.post('/api/reviews/', body, content_type='application/json')",
        "assert ask({'item': 'Great'}).json() == {'result': {'y': 'positive'}}",
        "assert ask({'item': 7}).status_code == 400",
        "page = client.get('/api/reviews/', HTTP_ACCEPT='text/html').content.decode()",
        "assert '&quot;item&quot;: &quot;text&quot;' in page",
    ):
        project.ask(Block(page, 0, "python", line))
    assert "READY" in project.run("python manage.py inference status")
