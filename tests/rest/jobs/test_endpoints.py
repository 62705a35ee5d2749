from __future__ import annotations

import asyncio
import io
import json
import uuid
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client
from django.urls import include, path
from pytest_django import Settings

from django_inference import InvalidInput
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job
from django_inference.rest.jobs import watching
from django_inference.tensors import Signature, TensorSpec
from tests.rest.jobs.conftest import DUMMY, logged_in
from tests.rest.jobs.engines import work

pytestmark = pytest.mark.django_db

JOBS = "/api/detector/jobs/"


def submit(client: Client, body: Any = None, **extra: Any) -> Any:
    body = {"item": [1, 2]} if body is None else body
    return client.post(JOBS, body, "application/json", **extra)


def place(response: Any) -> str:
    assert response.status_code == 202, response.content
    return str(response.headers["Location"]).removeprefix("http://testserver")


# From the submission to the result.


def test_a_job_is_submitted_run_and_answered(ada: Client, dummy: DummyBackend) -> None:
    response = submit(ada)
    url = place(response)
    said = response.json()
    job = Job.objects.get()
    assert url == f"{JOBS}{job.pk}/"
    assert job.owner == User.objects.get()
    assert said == {
        "id": str(job.pk),
        "url": f"http://testserver{url}",
        "predictor": "detector",
        "version": "",
        "state": "waiting",
        "progress": {"done": 0, "total": 1},
        "attempts": 0,
        "created_at": said["created_at"],
        "started_at": None,
        "finished_at": None,
        "error": None,
        "result": None,
        "events": f"http://testserver{url}events/",
    }
    assert dummy.calls == []
    assert ada.get(f"{url}result/").status_code == 404
    work()
    said = ada.get(url).json()
    assert (said["state"], said["attempts"]) == ("succeeded", 1)
    assert said["finished_at"] > said["created_at"]
    assert ada.get(said["result"]).json() == {"result": [1, 2]}


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"item": "a"}, {"result": "a"}),
        ({"items": ["a", "b"]}, {"results": ["a", "b"]}),
        ({"items": ["a"]}, {"results": ["a"]}),
        ({"inputs": {"x": [[1.0], [2.0]]}}, {"outputs": {"x": [[1.0], [2.0]]}}),
        ({"item": {"b64": "YQ=="}}, {"result": {"b64": "YQ=="}}),
    ],
)
def test_the_result_is_what_the_prediction_would_have_answered(
    ada: Client, body: Any, answer: Any
) -> None:
    url = place(submit(ada, body))
    work()
    assert ada.get(f"{url}result/").json() == answer
    assert ada.post("/api/detector/", body, "application/json").json() == answer


def test_files_and_raw_bytes_are_read_as_by_a_prediction(ada: Client) -> None:
    files = [SimpleUploadedFile(name, name.encode()) for name in ("a", "b")]
    several = place(ada.post(JOBS, {"file": files}))
    one = place(ada.post(JOBS, b"raw", "image/jpeg"))
    work()
    results = [{"b64": "YQ=="}, {"b64": "Yg=="}]
    assert ada.get(f"{several}result/").json() == {"results": results}
    assert ada.get(f"{one}result/").json() == {"result": {"b64": "cmF3"}}
    assert ada.get(several).json()["progress"] == {"done": 2, "total": 2}


def test_a_result_comes_as_an_array_too(ada: Client) -> None:
    url = place(submit(ada, {"inputs": {"x": [[1.5], [2.5]]}}))
    work()
    response = ada.get(f"{url}result/", headers={"Accept": "application/octet-stream"})
    array = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert array.tolist() == [[1.5], [2.5]]
    tags = {response.headers["ETag"], ada.get(f"{url}result/").headers["ETag"]}
    assert len(tags) == 2, "two bodies, two tags"


def test_tensors_are_held_against_a_model_that_is_loaded_and_wait_for_one_that_is_not(
    ada: Client, dummy: DummyBackend
) -> None:
    wrong = {"inputs": {"x": [[1, 2, 3]]}}
    assert submit(ada, wrong).status_code == 202
    signature = Signature((TensorSpec("x", "float32", (-1, 2)),), ())
    dummy.returns(lambda inputs: inputs, signature=signature)
    dummy.preload()
    assert submit(ada, wrong).json() == {
        "inputs": {"x": ["Expected the shape [-1, 2], given [1, 3]."]}
    }
    url = place(submit(ada, {"inputs": {"x": [[1, 2]]}}))
    work()
    job = Job.objects.get(pk=url.split("/")[-2])
    assert job.inputs["x"].dtype == np.float32


def test_an_error_of_the_model_is_told_as_a_prediction_tells_it(
    ada: Client, dummy: DummyBackend
) -> None:
    dummy.returns(InvalidInput("item 0: this is no picture."))
    url = place(submit(ada))
    work()
    said = ada.get(url).json()
    assert said["state"] == "failed" and said["result"] is None
    assert said["error"] == {"detail": "item 0: this is no picture.", "code": "invalid_input"}
    response = ada.get(f"{url}result/")
    assert (response.status_code, response.json()["detail"]) == (400, said["error"]["detail"])


def test_an_error_does_not_tell_a_client_of_the_servers_paths(
    ada: Client, dummy: DummyBackend
) -> None:
    dummy.returns(ValueError("/srv/secret/model.py is wrong"))
    url = place(submit(ada))
    work()
    assert ada.get(url).json()["error"] == {
        "detail": "The model failed on this input.",
        "code": "prediction_failed",
    }
    assert b"secret" not in ada.get(f"{url}result/").content


def test_a_job_is_cancelled_and_stays_so(ada: Client, dummy: DummyBackend) -> None:
    url = place(submit(ada))
    assert ada.delete(url).json()["state"] == "cancelled"
    assert ada.delete(url).status_code == 200
    work()
    run_job(Job.objects.get().pk)
    assert dummy.calls == []
    said = ada.get(url).json()
    assert said["error"] == {"detail": "The job was cancelled.", "code": "job_cancelled"}
    assert ada.get(f"{url}result/").status_code == 409


def test_what_has_ended_cannot_be_cancelled(ada: Client) -> None:
    url = place(submit(ada))
    work()
    response = ada.delete(url)
    assert response.status_code == 409
    assert response.json() == {"detail": "The job has ended before: it has succeeded."}
    assert ada.get(f"{url}result/").status_code == 200


# The list.


def test_the_list_holds_ones_own_jobs_of_this_predictor_the_newest_first(ada: Client) -> None:
    urls = [place(submit(ada, {"item": number})) for number in range(3)]
    ada.post("/api/classifier/jobs/", {"item": 1}, "application/json")
    submit(logged_in("eve"))
    listed = ada.get(JOBS).json()
    assert [job["url"].removeprefix("http://testserver") for job in listed["results"]] == urls[::-1]
    assert (listed["next"], listed["previous"]) == (None, None)
    run_job(urls[1].split("/")[-2])
    done = ada.get(f"{JOBS}?state=succeeded").json()["results"]
    assert [job["url"].removeprefix("http://testserver") for job in done] == [urls[1]]
    refused = ada.get(f"{JOBS}?state=suceeded")
    assert refused.status_code == 400
    assert "did you mean 'succeeded'?" in refused.json()["state"][0]


def test_a_long_list_comes_in_pages(ada: Client) -> None:
    for number in range(60):
        submit(ada, {"item": number})
    first = ada.get(JOBS).json()
    second = ada.get(first["next"]).json()
    seen = [job["id"] for page in (first, second) for job in page["results"]]
    assert (len(first["results"]), len(set(seen))) == (50, 60)


# Whose it is.


def test_anothers_job_is_no_job(ada: Client) -> None:
    url = place(submit(ada))
    work()
    eve, nobody = logged_in("eve"), Client()
    guessed = f"{JOBS}{uuid.uuid4()}/"
    for client in (eve, nobody):
        for address in (url, f"{url}result/", f"{url}events/"):
            there, not_there = client.get(address), client.get(address.replace(url, guessed))
            assert there.status_code == not_there.status_code == 404
            assert there.content == not_there.content, "nobody learns that there is such a job"
        assert client.delete(url).status_code == 404
        assert client.get(JOBS).json()["results"] == []
    assert ada.get(f"{url}result/").status_code == 200
    # Nor under the name of another predictor.
    assert ada.get(url.replace("detector", "classifier")).status_code == 404


def test_a_visitor_has_their_jobs_as_long_as_their_session(dummy: DummyBackend) -> None:
    visitor, other = Client(), Client()
    url = place(submit(visitor))
    again = place(submit(visitor, {"item": 2}))
    work()
    assert visitor.get(f"{url}result/").json() == {"result": [1, 2]}
    assert other.get(url).status_code == 404
    assert len(visitor.get(JOBS).json()["results"]) == 2
    # Logging in does not lose them, and neither does it lend them to the next visitor.
    visitor.force_login(User.objects.create_user("ada"))
    assert visitor.get(again).status_code == 200
    visitor.logout()
    assert visitor.get(again).status_code == 404


def test_two_requests_of_a_session_at_once_keep_both_jobs(dummy: DummyBackend) -> None:
    visitor = Client()
    submit(visitor)
    twin = Client()
    twin.cookies.update(visitor.cookies)
    # As if both had read the session before either had written it.
    urls = [place(submit(client, {"item": 1})) for client in (visitor, twin)]
    assert [visitor.get(url).status_code for url in urls] == [200, 200]


def test_without_sessions_and_users_nothing_is_submitted(
    dummy: DummyBackend, settings: Settings
) -> None:
    settings.MIDDLEWARE = []
    response = submit(Client())
    assert response.status_code in (401, 403)
    assert "Log in first" in response.json()["detail"]
    assert not Job.objects.exists()


def test_a_file_of_a_job_has_no_address_but_its_owners(
    ada: Client, settings: Settings, tmp_path: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.INFERENCE_JOBS = {**settings.INFERENCE_JOBS, "INLINE_LIMIT": 10}
    url = place(submit(ada, {"item": "long " * 100}))
    work()
    job = Job.objects.get()
    names = (job.inputs_file, job.result_file)
    assert all(names) and all((tmp_path / name).is_file() for name in names)
    everything = b"".join(
        ada.get(address).content for address in (url, JOBS, f"{url}result/")
    ).decode()
    assert not any(name in everything for name in names)
    for name in names:
        assert Client().get(f"/media/{name}").status_code == 404
    assert logged_in("eve").get(f"{url}result/").status_code == 404
    assert ada.get(f"{url}result/").json() == {"result": "long " * 100}


def test_the_policies_of_the_predictor_hold(ada: Client, settings: Settings) -> None:
    staff = {"permission_classes": ["rest_framework.permissions.IsAdminUser"]}
    settings.INFERENCE = {
        "detector": {"BACKEND": DUMMY, "REST": staff},
        "hidden": {"BACKEND": DUMMY, "REST": {"enabled": False}},
        "small": {"BACKEND": DUMMY, "REST": {"max_body_bytes": 5}},
    }
    assert submit(ada).status_code == 403
    assert ada.get(JOBS).status_code == 403
    for alias in ("hidden", "undeclared"):
        response = ada.post(f"/api/{alias}/jobs/", {"item": 1}, "application/json")
        assert response.status_code == 404
    response = ada.post("/api/small/jobs/", {"item": 1}, "application/json")
    assert response.status_code == 413
    assert not Job.objects.exists()


def test_rows_are_counted(ada: Client, settings: Settings) -> None:
    cache.clear()
    settings.INFERENCE = {
        "detector": {"BACKEND": DUMMY, "REST": {"throttle": {"rows": "3/min"}}},
    }
    assert submit(ada, {"items": [1, 2]}).status_code == 202
    response = submit(ada, {"items": [1, 2]})
    assert response.status_code == 429 and int(response.headers["Retry-After"]) > 0
    assert Job.objects.count() == 1


# Idempotency.


def test_a_request_that_is_repeated_makes_one_job(ada: Client) -> None:
    key: Any = {"headers": {"Idempotency-Key": "order-7"}}
    first, second = submit(ada, **key), submit(ada, **key)
    assert place(first) == place(second)
    assert place(submit(logged_in("eve"), **key)) != place(first)
    other = submit(ada, {"item": 3}, **key)
    assert other.status_code == 400
    assert "was used with other inputs" in other.json()["detail"]
    refused = submit(ada, headers={"Idempotency-Key": "x" * 201})
    assert refused.json() == {"Idempotency-Key": ["Expected 1 to 200 ASCII characters."]}
    assert Job.objects.count() == 2


def test_two_visitors_with_one_key_have_two_jobs(dummy: DummyBackend) -> None:
    key: Any = {"headers": {"Idempotency-Key": "1"}}
    visitors = [Client(), Client()]
    urls = [place(submit(client, **key)) for client in visitors]
    assert urls[0] != urls[1]
    assert visitors[0].get(urls[1]).status_code == 404


# Waiting.


def test_a_client_that_has_the_state_gets_no_body(ada: Client) -> None:
    url = place(submit(ada))
    tag = ada.get(url).headers["ETag"]
    response = ada.get(url, headers={"If-None-Match": f'"x", {tag}'})
    assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", tag)
    work()
    response = ada.get(url, headers={"If-None-Match": tag})
    assert (response.status_code, response.json()["state"]) == (200, "succeeded")
    assert "private" in response.headers["Cache-Control"]
    assert "Cookie" in response.headers["Vary"]
    result = ada.get(f"{url}result/").headers["ETag"]
    assert ada.get(f"{url}result/", headers={"If-None-Match": result}).status_code == 304


def meanwhile(monkeypatch: pytest.MonkeyPatch, *happens: Any) -> list[float]:
    """Have things happen while a request looks away, one after the other."""
    pauses: list[float] = []
    left = list(happens)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if left:
            left.pop(0)()

    monkeypatch.setattr("django_inference.rest.jobs.watching.time.sleep", sleep)
    return pauses


def test_the_answer_waits_for_the_end(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    url = place(submit(ada))
    meanwhile(monkeypatch, lambda: None, work)
    response = ada.get(url, headers={"Prefer": "respond-async, wait=10"})
    assert response.json()["state"] == "succeeded"
    assert response.headers["Preference-Applied"] == "wait=10"
    # There is nothing to wait for.
    assert ada.get(url, headers={"Prefer": "wait=10"}).json()["state"] == "succeeded"


def test_the_answer_waits_for_a_change(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    url = place(submit(ada))
    tag = ada.get(url).headers["ETag"]

    def progress() -> None:
        Job.objects.update(state="running", progress_done=1, progress_total=4)

    meanwhile(monkeypatch, progress)
    response = ada.get(url, headers={"Prefer": "wait=10", "If-None-Match": tag})
    assert response.json()["progress"] == {"done": 1, "total": 4}


def test_the_answer_waits_no_longer_than_it_was_asked_to(ada: Client) -> None:
    url = place(submit(ada))
    response = ada.get(url, headers={"Prefer": "wait=1"})
    assert (response.status_code, response.json()["state"]) == (200, "waiting")
    tag = response.headers["ETag"]
    response = ada.get(url, headers={"Prefer": "wait=0", "If-None-Match": tag})
    assert (response.status_code, response.headers["Preference-Applied"]) == (304, "wait=0")


def test_a_job_that_is_removed_meanwhile_is_not_there(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = place(submit(ada))
    meanwhile(monkeypatch, lambda: Job.objects.all().delete())
    assert ada.get(url, headers={"Prefer": "wait=10"}).status_code == 404


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ("respond-async, wait=5", 5),
        ('Wait="7"; x=y', 7),
        ("wait=600", 30),
        ("", None),
        ("wait=soon", None),
        ("await=3", None),
        ("wait=-1", None),
    ],
)
def test_what_a_client_prefers(prefer: str, seconds: int | None) -> None:
    assert watching.preferred_wait(prefer, 30) == seconds


# Events.


def events(response: Any) -> list[tuple[str, str]]:
    assert response.headers["Content-Type"] == "text/event-stream"
    blocks = b"".join(response.streaming_content).decode().split("\n\n")
    found = [dict(line.split(": ", 1) for line in b.splitlines() if ": " in line) for b in blocks]
    return [(block["event"], block["data"]) for block in found if "event" in block]


def test_each_change_is_an_event(ada: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    url = place(submit(ada))

    def run() -> None:
        Job.objects.update(state="running", progress_done=1, progress_total=2)

    def end() -> None:
        Job.objects.update(state="waiting")
        work()

    meanwhile(monkeypatch, lambda: None, run, lambda: None, end)
    response = ada.get(f"{url}events/", headers={"Accept": "text/event-stream"})
    found = events(response)
    assert [kind for kind, _ in found] == ["state", "state", "end"]
    assert '"state": "waiting"' in found[0][1]
    assert '"progress": {"done": 1, "total": 2}' in found[1][1]
    assert json.loads(found[2][1]) == ada.get(url).json()


def test_a_browser_that_has_seen_the_end_is_told_to_stop(ada: Client) -> None:
    url = place(submit(ada))
    work()
    assert [kind for kind, _ in events(ada.get(f"{url}events/"))] == ["end"]
    tag = ada.get(url).headers["ETag"]
    assert ada.get(f"{url}events/", headers={"Last-Event-ID": tag}).status_code == 204


def test_events_end_with_a_job_that_is_removed(
    ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = place(submit(ada))
    meanwhile(monkeypatch, lambda: Job.objects.all().delete())
    assert events(ada.get(f"{url}events/"))[-1] == ("end", "null")


# For ASGI.


@pytest.fixture
def asgi(dummy: DummyBackend, settings: Settings) -> None:
    settings.ROOT_URLCONF = (path("api/", include("django_inference.rest.jobs.async_urls")),)


async def soon() -> None:
    """Run the jobs while somebody else waits for them."""
    await asyncio.sleep(0.2)
    await sync_to_async(work)()


def test_a_client_of_asgi_waits_likewise(asgi: None) -> None:
    async def ask() -> None:
        client = AsyncClient()
        url = place(await sync_to_async(submit)(client_of(client)))
        waiting = client.get(url, headers={"Prefer": "wait=30"})
        response, _ = await asyncio.gather(waiting, soon())
        assert response.json()["state"] == "succeeded"
        assert response.headers["Preference-Applied"] == "wait=30"
        tag = {"If-None-Match": response.headers["ETag"]}
        assert (await client.get(url, headers={"Prefer": "wait=0", **tag})).status_code == 304
        assert (await AsyncClient().get(url, headers={"Prefer": "wait=9"})).status_code == 404

    async_to_sync(ask)()


def test_a_client_of_asgi_is_sent_events(asgi: None) -> None:
    async def ask() -> None:
        client = AsyncClient()
        url = place(await sync_to_async(submit)(client_of(client)))
        response: Any = await client.get(f"{url}events/")

        async def read() -> str:
            return b"".join([chunk async for chunk in response.streaming_content]).decode()

        text, _ = await asyncio.gather(read(), soon())
        assert text.count("event: state") >= 1 and text.count("event: end") == 1
        assert text.endswith("\n\n")

    async_to_sync(ask)()


def client_of(client: AsyncClient) -> Client:
    """A client for threads with the same cookies."""
    found = Client()
    found.cookies = client.cookies
    return found
