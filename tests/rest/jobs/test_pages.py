"""The pages without a browser; `test_browser.py` looks at them with one."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from tests.rest.jobs.conftest import DUMMY, logged_in
from tests.rest.jobs.engines import work

pytestmark = pytest.mark.django_db

PAGE = "/pages/detector/"
CAT = {"box": [4, 4, 20, 20], "class": 0, "label": "cat", "confidence": 0.875}
FOUND = {"boxes": [CAT]}


def picture(colour: str = "white") -> bytes:
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def send(client: Client, *contents: bytes, **extra: Any) -> Any:
    files = [SimpleUploadedFile(f"{n}.png", content) for n, content in enumerate(contents)]
    return client.post(PAGE, {"file": files}, follow=True, **extra)


def the_page(client: Client) -> str:
    """The address of the only job."""
    return f"{PAGE}jobs/{Job.objects.get().pk}/"


def test_a_file_becomes_a_job_whose_page_shows_its_result(ada: Client, dummy: DummyBackend) -> None:
    dummy.returns(FOUND)
    form = ada.get(PAGE).content.decode()
    assert 'type="file"' in form and "csrfmiddlewaretoken" in form
    response = send(ada, picture())
    assert response.redirect_chain[0][0] == f"./jobs/{Job.objects.get().pk}/"
    page = response.content.decode()
    assert "Waiting" in page and "Cancel" in page
    work()
    page = ada.get(the_page(ada)).content.decode()
    assert "Succeeded" in page and "Cancel" not in page
    assert 'src="picture.jpg"' in page and "<td>cat</td><td>0.88</td>" in page
    drawn = ada.get(f"{the_page(ada)}picture.jpg")
    assert drawn.headers["Content-Type"] == "image/jpeg"
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(drawn.content))
    assert image.size == (40, 30)
    # Red where the box is, white beside it.
    assert image.getpixel((4, 12))[1] < 100 and min(image.getpixel((35, 25))) > 200
    assert ada.get(f"{the_page(ada)}result.json").json()["result"] == FOUND


def test_several_files_become_several_jobs_on_one_page(ada: Client) -> None:
    response = send(ada, b"one", b"two", b"three")
    assert response.redirect_chain[-1][0] == "./jobs/"
    assert "0 of 3 finished" in response.content.decode()
    assert Job.objects.count() == 3
    first = Job.objects.get(inputs_packed__isnull=False, pk=Job.objects.earliest().pk)
    assert first.inputs == b"one"
    work()
    page = ada.get(f"{PAGE}jobs/").content.decode()
    assert "3 of 3 finished" in page and "dHdv" in page


def test_without_htmx_the_page_comes_again_by_itself_until_the_end(ada: Client) -> None:
    send(ada, b"x")
    for place in (the_page(ada), f"{PAGE}jobs/"):
        page = ada.get(place).content.decode()
        assert '<meta http-equiv="refresh" content="1">' in page and "<script" not in page
    work()
    for place in (the_page(ada), f"{PAGE}jobs/"):
        assert "http-equiv" not in ada.get(place).content.decode()
    # It would take the chosen files from whoever is about to send some.
    assert "http-equiv" not in ada.get(PAGE).content.decode()


def test_with_htmx_only_what_is_new_is_sent(ada: Client, settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_htmx"]
    htmx: Any = {"headers": {"HX-Request": "true"}}
    send(ada, b"x")
    for place in (the_page(ada), f"{PAGE}jobs/"):
        Job.objects.update(state="queued", result_packed=None, attempts=0)
        page = ada.get(place).content.decode()
        assert "htmx-2.min.js" in page
        assert '<noscript><meta http-equiv="refresh"' in page
        [question] = re.findall(r'hx-get="([^"]+)"', page)
        assert ada.get(f"{place}{question}", **htmx).status_code == 204
        Job.objects.update(state="running")
        fragment = ada.get(f"{place}{question}", **htmx)
        text = fragment.content.decode()
        assert text.strip().startswith("<section") and "<html" not in text
        assert "Running" in text
        [later] = re.findall(r'hx-get="([^"]+)"', text)
        Job.objects.update(state="queued")
        work()
        fragment = ada.get(f"{place}{later}", **htmx)
        assert "Succeeded" in fragment.content.decode()
        assert "hx-get" not in fragment.content.decode(), "it asks no more"


def test_a_job_is_cancelled_by_its_page(ada: Client) -> None:
    send(ada, b"x")
    page = ada.post(the_page(ada), follow=True).content.decode()
    assert "Cancelled" in page and "The job was cancelled." in page
    assert Job.objects.get().state == "cancelled"


def test_a_job_that_failed_is_tried_again_by_its_page(ada: Client, dummy: DummyBackend) -> None:
    dummy.returns(ValueError("odd"))
    send(ada, b"x")
    work()
    assert "Try again" in ada.get(the_page(ada)).content.decode()
    dummy.returns("well")
    page = ada.post(the_page(ada), {"action": "retry"}, follow=True).content.decode()
    assert "Waiting" in page and "Cancel" in page
    work()
    page = ada.get(the_page(ada)).content.decode()
    assert "&quot;well&quot;" in page and "Try again" not in page


def test_what_went_wrong_is_told_without_the_servers_secrets(
    ada: Client, dummy: DummyBackend
) -> None:
    dummy.returns(ValueError("/srv/secret"))
    send(ada, b"x")
    work()
    for place in (the_page(ada), f"{PAGE}jobs/"):
        page = ada.get(place).content.decode()
        assert "The model failed on this input." in page and "secret" not in page


def test_an_answer_cannot_write_into_the_page(ada: Client, dummy: DummyBackend) -> None:
    evil = "<script>alert(1)</script>"
    dummy.returns({"boxes": [{**CAT, "label": evil}], "t": evil})
    send(ada, picture())
    work()
    for place in (the_page(ada), f"{PAGE}jobs/"):
        page = ada.get(place).content.decode()
        assert "<script" not in page and "&lt;script&gt;" in page


def test_what_was_sent_comes_back_as_a_picture_or_not_at_all(ada: Client) -> None:
    send(ada, b"<html><script>alert(1)</script>")
    assert ada.get(f"{the_page(ada)}picture.jpg").status_code == 404
    Job.objects.all().delete()
    send(ada, picture())
    response = ada.get(f"{the_page(ada)}picture.jpg")
    assert response.content[:3] == b"\xff\xd8\xff" and response.content != picture()


# Refusals.


def test_anothers_pages_are_none(ada: Client) -> None:
    send(ada, picture())
    work()
    there = the_page(ada)
    for client in (logged_in("eve"), Client()):
        for place in (there, f"{there}picture.jpg", f"{there}result.json"):
            assert client.get(place).status_code == 404
        assert client.post(there).status_code == 404
        assert "0 of 0 finished" in client.get(f"{PAGE}jobs/").content.decode()
    assert Job.objects.get().state == "succeeded"


def test_a_visitor_without_an_account_has_pages_of_their_own(dummy: DummyBackend) -> None:
    visitor = Client()
    assert send(visitor, b"x").status_code == 200
    assert visitor.get(the_page(visitor)).status_code == 200
    assert Client().get(the_page(visitor)).status_code == 404


@pytest.mark.parametrize("middleware", [True, False], ids=["middleware", "no middleware"])
def test_a_form_needs_its_token(ada: Client, settings: Settings, middleware: bool) -> None:
    if not middleware:
        settings.MIDDLEWARE = [one for one in settings.MIDDLEWARE if "Csrf" not in one]
    client = logged_in("eve", enforce_csrf_checks=True)
    assert send(client, b"x").status_code == 403
    assert not Job.objects.exists()
    client.get(PAGE)
    token = client.cookies["csrftoken"].value
    assert send(client, b"x", headers={"X-CSRFToken": token}).status_code == 200
    assert client.post(the_page(client)).status_code == 403
    assert Job.objects.get().state != "cancelled"


def test_the_form_says_what_is_wrong(ada: Client, settings: Settings) -> None:
    response = send(ada)
    assert response.status_code == 400
    assert "Choose a file first." in response.content.decode()
    response = send(ada, *[b"x"] * 101)
    assert response.status_code == 400


def test_the_policies_of_the_predictor_hold(ada: Client, settings: Settings) -> None:
    cache.clear()
    staff = {"permission_classes": ["rest_framework.permissions.IsAdminUser"]}
    settings.INFERENCE = {
        "detector": {"BACKEND": DUMMY, "REST": {"throttle": {"requests": "1/min"}}},
        "members": {"BACKEND": DUMMY, "REST": staff},
        "hidden": {"BACKEND": DUMMY, "REST": {"enabled": False}},
        "small": {"BACKEND": DUMMY, "REST": {"max_body_bytes": 5}},
    }
    assert ada.get("/pages/members/").status_code == 403
    assert ada.get("/pages/hidden/").status_code == 404
    assert ada.get("/pages/undeclared/").status_code == 404
    upload = {"file": SimpleUploadedFile("a", b"more than five bytes")}
    response = ada.post("/pages/small/", upload)
    assert response.status_code == 413
    assert "The body has" in response.content.decode()
    assert send(ada, b"x").status_code == 200
    response = send(ada, b"x")
    assert response.status_code == 429 and int(response.headers["Retry-After"]) > 0
    assert "throttled" in response.content.decode()
    # Looking is free.
    assert ada.get(the_page(ada)).status_code == 200
    assert predictors["detector"].alias == "detector"
