"""The pages as a person has them: in a real browser, with and without JavaScript."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pages.conftest import at_work
from tests.runtimes.conftest import installed
from tests.tasks.office import Office

pytestmark = pytest.mark.timeout(300)

#: Milliseconds for what takes a second on an idle machine.
PATIENCE = 90_000

Visitor = Callable[..., Any]


@pytest.fixture
def visitor(chromium: Any) -> Iterator[Visitor]:
    """Opens the window of somebody whom nobody has seen before."""
    windows = []

    def make(scripts: bool = True) -> Any:
        context = chromium.new_context(java_script_enabled=scripts, service_workers="block")
        context.set_default_timeout(PATIENCE)
        windows.append(context)
        return context.new_page()

    yield make
    for context in windows:
        context.close()


@pytest.fixture(scope="module")
def bus() -> Path:
    return installed("ultralytics", "assets/bus.jpg")


def submit(page: Any, address: str, *files: Any) -> None:
    page.goto(address)
    page.set_input_files("input[type=file]", [*files])
    page.click("text=Submit")


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
def test_a_photo_becomes_a_job_and_comes_back_drawn(
    visitor: Visitor, url: str, the_office: Office, bus: Path, tmp_path: Path, scripts: bool
) -> None:
    page = visitor(scripts)
    submit(page, f"{url}/predict/exported/", str(bus))
    page.wait_for_url("**/predict/exported/jobs/*/")
    assert page.inner_text(".job-state") in ("Waiting", "Queued")
    page.screenshot(path=tmp_path / "waiting.png")
    if scripts:
        page.evaluate("window.isTheSame = true")
    # It waits, since nobody works yet; then it is run, and the page shows it by itself.
    with at_work(the_office):
        page.wait_for_selector(".job-state.succeeded")
        page.wait_for_selector("img.job-picture")
    page.screenshot(path=tmp_path / "drawn.png", full_page=True)
    if scripts:
        assert page.evaluate("window.isTheSame"), "the page was not loaded again"
    rows = page.locator("tbody tr").all_inner_texts()
    found = json.loads(page.context.request.get(f"{page.url}result.json").text())["result"]["boxes"]
    assert len(found) == len(rows) == 4
    # The picture that the browser has is the one that was sent, with the boxes on it.
    image = pytest.importorskip("PIL.Image")
    drawn = image.open(io.BytesIO(page.context.request.get(f"{page.url}picture.jpg").body()))
    sent = image.open(bus)
    assert drawn.size == sent.size
    if scripts:
        natural = "[...document.querySelectorAll('img.job-picture')].map(i => i.naturalWidth)"
        page.wait_for_function("document.querySelector('img.job-picture').complete")
        assert page.evaluate(natural) == [sent.width]
    numpy = pytest.importorskip("numpy")
    difference = numpy.abs(numpy.asarray(drawn, int) - numpy.asarray(sent, int)).sum(axis=2)
    for box in found:
        left, top, right, bottom = (round(place) for place in box["box"])
        line = difference[(top + bottom) // 2 : bottom - 20, max(left - 1, 0) : left + 4]
        assert line.max() > 150, f"nothing is drawn at {box}"
    assert numpy.median(difference) < 20, "the rest is as it was"


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
def test_the_answers_to_many_files_arrive_one_by_one(
    visitor: Visitor, url: str, the_office: Office, scripts: bool, tmp_path: Path
) -> None:
    page = visitor(scripts)
    names = [f"{number}.answered" for number in range(2)]
    files = [
        {"name": name, "mimeType": "text/plain", "buffer": os.fsencode(tmp_path / name)}
        for name in names
    ]
    submit(page, f"{url}/predict/sizes/", *files)
    page.wait_for_url("**/predict/sizes/jobs/")
    with at_work(the_office):
        page.wait_for_selector("text=0 of 2 finished")
        for done in (1, 2):
            (tmp_path / f"{done}.ticket").touch()
            page.wait_for_selector(f"text={done} of 2 finished")
            assert page.locator(".job-state.succeeded").count() == done
    page.screenshot(path=tmp_path / "many.png", full_page=True)
    page.click(".job a >> nth=0")
    page.wait_for_selector("#job .job-state.succeeded")


@pytest.mark.parametrize("scripts", [True, False], ids=["JavaScript", "no JavaScript"])
def test_a_job_is_cancelled_by_its_button(visitor: Visitor, url: str, scripts: bool) -> None:
    page = visitor(scripts)
    submit(page, f"{url}/predict/sizes/", {"name": "x", "mimeType": "", "buffer": b"x"})
    page.wait_for_url("**/jobs/*/")
    page.click("text=Cancel")
    page.wait_for_selector(".job-state.cancelled")
    assert page.locator("text=The job was cancelled.").count() == 1
    assert page.locator("button").all_inner_texts() == ["Try again"]


def test_somebody_else_sees_nothing_of_it(visitor: Visitor, url: str, the_office: Office) -> None:
    page, other = visitor(), visitor()
    submit(page, f"{url}/predict/sizes/", {"name": "x", "mimeType": "", "buffer": b"x"})
    page.wait_for_url("**/jobs/*/")
    name = page.url.rstrip("/").split("/")[-1]
    # With a session of their own, and as somebody who was never here.
    submit(other, f"{url}/predict/sizes/", {"name": "y", "mimeType": "", "buffer": b"y"})
    other.wait_for_url("**/jobs/*/")
    api = f"{url}/api/sizes/jobs/{name}/"
    for window in (other, visitor()):
        for place in (page.url, f"{page.url}result.json", f"{page.url}picture.jpg", api):
            assert window.goto(place).status == 404
        assert window.context.request.delete(api).status == 404
        window.goto(f"{url}/predict/sizes/jobs/")
        assert name not in window.content()
    assert page.goto(api).status == 200


def test_a_browser_is_sent_events_until_the_end(
    visitor: Visitor, url: str, the_office: Office
) -> None:
    page = visitor()
    submit(page, f"{url}/predict/sizes/", {"name": "x", "mimeType": "", "buffer": b"x"})
    page.wait_for_url("**/jobs/*/")
    name = page.url.rstrip("/").split("/")[-1]
    listen = """address => {
        window.heard = [];
        const source = new EventSource(address);
        source.addEventListener("state", event => heard.push(JSON.parse(event.data).state));
        source.addEventListener("end", event => {
            heard.push(JSON.parse(event.data).state);
            source.close();
        });
    }"""
    page.evaluate(listen, f"/api/sizes/jobs/{name}/events/")
    page.wait_for_function("heard.length == 1")
    with at_work(the_office):
        page.wait_for_function("heard.includes('succeeded')")
    heard = page.evaluate("heard")
    assert heard[0] in ("waiting", "queued") and heard[-1] == "succeeded"
