"""The examples of the documentation do what it says, and its lists leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

import django_inference.jobs
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from django_inference.jobs.states import JobState
from django_inference.rest import jobs
from django_inference.rest.jobs import pages
from tests.docs.blocks import ROOT, blocks
from tests.rest.jobs.engines import work

REFERENCE = (ROOT / "docs/reference/jobs-over-http.md").read_text()


def example(containing: str) -> dict[str, Any]:
    """What an example defines."""
    page = "docs/how-to/jobs-over-http.md"
    (block,) = [one for one in blocks(page) if containing in one.text]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block.text, str(block), "exec"), names)
    return names


@pytest.mark.django_db
def test_who_else_may_see_a_job(ada: Client, settings: Settings) -> None:
    view = example("class SupportView")["SupportView"]
    url = path("jobs/<uuid:id>/", view.as_view(alias="detector"), name="job")
    names = [path(f"{name}/<uuid:id>/", view.as_view(), name=name) for name in ("events", "result")]
    ada.post("/api/detector/jobs/", {"item": 1}, "application/json")
    settings.ROOT_URLCONF = (url, *names)
    place = f"/jobs/{Job.objects.get().pk}/"
    staff, eve = Client(), Client()
    staff.force_login(User.objects.create_user("staff", is_staff=True))
    eve.force_login(User.objects.create_user("eve"))
    found = [client.get(place).status_code for client in (ada, staff, eve, Client())]
    assert found == [200, 200, 404, 404]


@pytest.mark.django_db
def test_pages_of_ones_own(ada: Client, dummy: DummyBackend, settings: Settings) -> None:
    settings.INFERENCE = {"digits": settings.INFERENCE["detector"]}
    from django_inference import predictors

    backend: Any = predictors["digits"].backend
    backend.returns({"y": [7]})
    urls = example("class PhotoJobs")["urlpatterns"]
    settings.ROOT_URLCONF = (path("own/", include(urls)),)
    files = [SimpleUploadedFile("a.png", b"a"), SimpleUploadedFile("b.png", b"b")]
    response = ada.post("/own/photos/", {"file": files}, follow=True)
    assert response.status_code == 200
    work()
    assert ada.get("/own/photos/jobs/").content.decode().count("It says 7.") == 2
    assert ada.get(f"/own/photos/jobs/{Job.objects.earliest().pk}/").status_code == 200


def attributes(kind: type) -> set[str]:
    """What a class of this package sets or defines for others to replace."""
    own = {name for name in vars(kind) if not name.startswith("_")}
    return own & ({*vars(kind).get("__annotations__", ())} | {n for n in own if "get_" in n})


#: What Django and Django REST framework call, and what follows from other hooks.
INNER = {"get_api", "get_idempotency_key", "get_jobs", "get_job", "get_renderers", "get_title"}


@pytest.mark.parametrize(
    "kind",
    [getattr(room, name) for room in (jobs, pages) for name in room.__all__],
    ids=lambda kind: str(kind.__name__),
)
def test_every_view_and_what_can_be_set_of_it(kind: type) -> None:
    wanted = attributes(kind) - INNER - {"asks"}
    missing = {name for name in wanted if not re.search(rf"\b{name}\b", REFERENCE)}
    assert not missing, f"{kind.__name__}: {missing}"


@pytest.mark.django_db
def test_every_field_of_a_job(ada: Client) -> None:
    said = ada.post("/api/detector/jobs/", {"item": 1}, "application/json").json()
    assert all(f"`{name}`" in REFERENCE for name in said)
    assert all(f"`{state}`" in REFERENCE for state in JobState.values)


def test_every_template() -> None:
    folder = Path(django_inference.jobs.__file__).parent / "templates/django_inference/jobs"
    names = [file.name for file in folder.iterdir()]
    assert len(names) == 10
    assert all(f"`{name}`" in REFERENCE for name in names)
