"""The pages, with backends that answer what the test says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from demo_site import settings as site
from demo_site.forms import LARGEST_UPLOAD
from demo_site.machine import web_worker_pids
from demo_site.samples import FOLDER, folder
from django_inference import (
    InferenceError,
    InvalidInput,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
    predictors,
)
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job

DUMMY = "django_inference.backends.dummy.DummyBackend"

FACE = {
    "probability": 0.9991,
    "box": [18.0, 6.0, 8.0, 10.0],
    "landmarks": {"nose": [22.0, 12.0], "left_eye": [20.0, 10.0]},
}
RESULTS: dict[str, Any] = {
    "faces": {"width": 60, "height": 40, "faces": [FACE]},
    "notes": {
        "seconds": 2.0,
        "notes": [{"midi": 60, "name": "C4", "start": 0.1, "end": 1.0, "probability": 0.7}],
    },
    "types": {
        "label": "python",
        "description": "Python source",
        "group": "code",
        "mime_type": "text/x-python",
        "is_text": True,
        "score": 0.97,
        "guesses": [{"label": "python", "score": 0.97}, {"label": "ruby", "score": 0.02}],
    },
}


@pytest.fixture(autouse=True)
def the_site(settings: Settings) -> Iterator[None]:
    """The demo's own settings, but for the backends."""
    for name in ("ROOT_URLCONF", "TEMPLATES", "REST_FRAMEWORK", "LANGUAGE_CODE"):
        setattr(settings, name, getattr(site, name))
    # A test says itself when a model is loaded.
    settings.MIDDLEWARE = [each for each in site.MIDDLEWARE if "InferenceMiddleware" not in each]
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "demo_site"]
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.INFERENCE = {alias: {"RUNTIME": "builtins.len", "BACKEND": DUMMY} for alias in RESULTS}
    for alias, result in RESULTS.items():
        answers(alias, result)
    yield
    predictors.reset()


def answers(alias: str, result: Any) -> DummyBackend:
    """Have a model be loaded and answer each item so."""
    backend = cast(DummyBackend, predictors[alias].backend)
    backend.returns(
        result if isinstance(result, Exception) else lambda items: [result] * len(items)
    )
    backend.preload()
    return backend


def upload(client: Client, alias: str, *contents: bytes) -> Any:
    files = [
        SimpleUploadedFile(f"{number}.bin", content, "image/png")
        for number, content in enumerate(contents)
    ]
    return client.post(f"/{alias}/", {"upload": files})


def test_the_home_page_names_every_model_and_this_process(client: Client) -> None:
    response = client.get("/")

    page = response.content.decode()
    assert response.status_code == 200
    assert all(f'href="/{alias}/"' in page for alias in RESULTS)
    assert f"pid {web_worker_pids()[0]}" in page


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/faces/?sample=astronaut", "99.9 %"),
        ("/notes/?sample=chord", ">C4</text>"),
        ("/types/?sample=files", "97.0 %"),
    ],
)
def test_a_sample_is_answered_and_drawn(client: Client, path: str, text: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert text in response.content.decode()
    assert "<svg" in response.content.decode()


@pytest.mark.parametrize("alias", RESULTS)
def test_an_upload_is_answered(client: Client, alias: str) -> None:
    backend = cast(DummyBackend, predictors[alias].backend)

    response = upload(client, alias, b"one", b"two")

    assert response.status_code == 200
    assert backend.calls[-1].inputs == [b"one", b"two"]
    assert response.content.decode().count("0.bin") >= 1


def test_the_frame_of_a_face_is_where_the_model_says(client: Client) -> None:
    page = upload(client, "faces", b"photo").content.decode()

    assert 'viewBox="0 0 60 40"' in page
    assert (
        'd="M18.0 8.0V6.0H20.0M24.0 6.0H26.0V8.0M26.0 14.0V16.0H24.0M20.0 16.0H18.0V14.0"' in page
    )
    assert 'cx="22.0" cy="12.0"' in page
    assert "data:image/png;base64,cGhvdG8=" in page


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_model_that_is_being_loaded_is_waited_for_by_the_page(
    client: Client, method: str
) -> None:
    predictors["faces"].unload()

    if method == "get":
        response = client.get("/faces/?sample=astronaut")
    else:
        response = upload(client, "faces", b"photo")

    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert '<meta http-equiv="refresh" content="2">' in response.content.decode()
    assert ("send it once more" in response.content.decode()) == (method == "post")
    # It asked for the model, so the next try is answered.
    assert client.get("/faces/?sample=astronaut").status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (ModelNotReady("restarting.", retry_after=3.2), 503, "3"),
        (ModelLoadFailed("the file is corrupt.", retry_after=8.0), 503, "8"),
        (Overloaded("the queue is full.", retry_after=1.0), 429, "1"),
        (PredictionTimeout("there was no answer in time."), 504, None),
        (PredictionFailed("ValueError: odd"), 500, None),
    ],
)
def test_errors_are_pages_with_their_status(
    client: Client, error: InferenceError, status: int, retry_after: str | None
) -> None:
    answers("notes", error)

    response = client.get("/notes/?sample=chord")

    assert response.status_code == status
    assert response.headers.get("Retry-After") == retry_after
    page = response.content.decode()
    assert f"HTTP {status}" in page
    assert ("http-equiv" in page) == isinstance(error, ModelNotReady)


def test_a_bad_upload_is_named_at_the_form(client: Client) -> None:
    answers("faces", InvalidInput("item 1: this is not a picture."))

    response = upload(client, "faces", b"photo", b"noise")

    assert response.status_code == 400
    assert 'role="alert">1.bin: this is not a picture.</p>' in response.content.decode()


def test_the_form_wants_a_file(client: Client) -> None:
    response = client.post("/faces/")

    assert response.status_code == 400
    assert "Choose a file first." in response.content.decode()


def test_an_empty_file_is_a_file(client: Client) -> None:
    assert upload(client, "types", b"").status_code == 200


def test_the_form_takes_no_more_than_it_says(client: Client) -> None:
    assert upload(client, "types", bytes(LARGEST_UPLOAD)).status_code == 200
    assert upload(client, "types", bytes(LARGEST_UPLOAD), b"1").status_code == 413
    assert upload(client, "types", *[b"1"] * 20).status_code == 200
    assert upload(client, "types", *[b"1"] * 21).status_code == 400


def test_a_form_without_its_token_is_refused() -> None:
    response = upload(Client(enforce_csrf_checks=True), "types", b"file")

    assert response.status_code == 403
    assert "The form has expired" in response.content.decode()


@pytest.mark.parametrize(
    "path", ["/nowhere/", "/faces/?sample=nobody", "/samples/faces/nobody", "/samples/x/y"]
)
def test_there_is_nothing_elsewhere(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_pages_load_nothing_from_elsewhere_and_run_no_script(client: Client) -> None:
    for path in ("/", "/faces/?sample=astronaut", "/notes/?sample=chord", "/types/?sample=files"):
        response = client.get(path)
        page = response.content.decode().replace("http://www.w3.org/2000/svg", "")
        page = page.replace("curl -F", "").replace("http://testserver/api/", "")
        assert "<script" not in page
        assert " style=" not in page
        assert "http" not in page.replace("http-equiv", "")
        assert "default-src 'none'" in response["Content-Security-Policy"]


@pytest.fixture
def jobs(settings: Settings, db: None) -> None:
    """The settings of the jobs, whose only worker is the test."""
    settings.INFERENCE_JOBS = {"ENGINE": "tests.rest.jobs.engines.ByHand"}
    settings.SESSION_ENGINE = site.SESSION_ENGINE
    settings.STATIC_URL = "/static/"
    settings.INSTALLED_APPS = site.INSTALLED_APPS


def test_the_sample_folder_is_submitted_at_once_and_its_faces_are_drawn_one_by_one(
    client: Client, jobs: None
) -> None:
    assert f"Submit {len(FOLDER)} sample photos" in client.get("/folder/").content.decode()
    backend = cast(DummyBackend, predictors["faces"].backend)
    backend.returns(RESULTS["faces"])

    page = client.post("/folder/", {"sample": "1"}, follow=True).content.decode()

    assert backend.calls == []
    assert f"0 of {len(FOLDER)} finished" in page and "htmx-2.min.js" in page
    for done in (1, 2):
        run_job(Job.objects.unfinished().earliest("created_at").pk)
        page = client.get("/folder/jobs/").content.decode()
        assert f"{done} of {len(FOLDER)} finished" in page
        assert page.count("One face") == page.count('viewBox="0 0 60 40"') == done
    finished = Job.objects.finished().earliest("created_at")
    page = client.get(f"/folder/jobs/{finished.pk}/").content.decode()
    assert "99.9 %" in page and "One face" in page
    assert finished.inputs == folder()[0]


def test_a_visitors_photos_are_not_anothers(client: Client, jobs: None) -> None:
    photo = SimpleUploadedFile("a.png", folder()[0], "image/png")
    place = client.post("/folder/", {"file": photo}).headers["Location"]
    there = f"/folder/{place.removeprefix('./')}"

    assert "script-src 'self'" in client.get(there)["Content-Security-Policy"]
    for name in ("", "picture.jpg", "result.json"):
        assert Client().get(there + name).status_code == 404
    assert client.get(f"{there}picture.jpg").headers["Content-Type"] == "image/jpeg"
    assert client.get(f"{there}result.json").status_code == 404, "there is none yet"


def test_what_a_visitor_sends_cannot_write_into_the_page(client: Client) -> None:
    name = '"><script>alert(1)</script>.png'
    file = SimpleUploadedFile(name, b"photo", '"><script>')

    page = client.post("/faces/", {"upload": file}).content.decode()

    assert "<script" not in page
