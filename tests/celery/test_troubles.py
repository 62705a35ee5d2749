"""What a web tier is told when its queue does not work, and by `manage.py check` before that."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.checks import CheckMessage
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.parcels import FOLDER, Parcel, Parcels
from django_inference.backends.queued import respond
from django_inference.checks import check_backends
from django_inference.exceptions import EngineUnavailable, PredictionTimeout, RemoteError
from django_inference.jobs.engines.celery import CeleryEngine
from django_inference.jobs.models import Job
from django_inference.packing import pack
from tests.celery import client
from tests.celery.brokers import Broker
from tests.celery.site.declared import CELERY, SLOW

#: Nobody listens there.
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    predictors.reset()


def declare(settings: Settings, **options: Any) -> None:
    settings.INFERENCE = {
        "far": {"RUNTIME": SLOW, "BACKEND": CELERY, "OPTIONS": {"app": client.PATH} | options}
    }
    predictors.reset()


@pytest.mark.parametrize("broker", [NOWHERE, "amqp://127.0.0.1:1//"])
def test_without_its_broker_a_call_fails_soon(settings: Settings, broker: str) -> None:
    client.use(broker, NOWHERE)
    declare(settings, timeout=60.0)
    began = time.monotonic()
    with pytest.raises(RemoteError, match="Celery's broker does not take the call") as raised:
        predictors["far"].predict([{"value": 1}])
    assert time.monotonic() - began < 30
    assert raised.value.retry_after_seconds == 1
    assert predictors["far"].status().state == "FAILED"


@pytest.mark.parametrize("broker", [NOWHERE, "amqp://127.0.0.1:1//"])
def test_without_its_broker_an_engine_says_so(settings: Settings, broker: str) -> None:
    client.use(broker, "")
    declare(settings)
    engine = CeleryEngine(app=client.PATH)
    with pytest.raises(EngineUnavailable, match="Celery's broker does not take it"):
        engine.enqueue(Job(predictor="far"))
    # Best effort: there is nobody to tell.
    engine.revoke(Job(predictor="far", engine_id="1"))


def test_without_a_worker_the_deadline_passes_and_no_file_is_left(
    settings: Settings, redis: Broker, tmp_path: Path
) -> None:
    client.use(redis.url, redis.url)
    settings.MEDIA_ROOT = tmp_path
    declare(settings, queue="nobody", inline_limit=1000)
    with pytest.raises(PredictionTimeout, match="no Celery worker has answered from the queue"):
        predictors["far"].predict([{"value": 1, "long": "x" * 500_000}], timeout=2.0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    # What is in the queue is short, and thrown away by who comes too late.
    with client.app.connection_for_read() as connection, connection.SimpleQueue("nobody") as queue:
        message = queue.get(timeout=10)
        assert len(message.body) < 2000
        assert message.headers["expires"] is not None
        message.ack()
    assert predictors["far"].status().state == "UNLOADED"


def test_without_its_result_backend_the_deadline_says_why(
    settings: Settings, redis: Broker
) -> None:
    client.use(redis.url, NOWHERE)
    declare(settings, queue="nobody")
    with pytest.raises(RemoteError, match="Celery's result backend fails: ConnectionError"):
        predictors["far"].predict([{"value": 1}], timeout=2.0)


def test_an_answer_that_comes_too_late_leaves_no_file(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    settings.INFERENCE = {"far": {"BACKEND": "django_inference.backends.dummy.DummyBackend"}}
    predictors.reset()
    dummy: Any = predictors["far"].backend
    dummy.returns(np.zeros(1000))
    question = {
        "inputs": {"packed": base64.b64encode(pack([1])).decode()},
        "name": "1f",
        "until": time.time() - 1,
        "priority": 1,
        "storage": "default",
        "limit": 100,
    }
    said = respond(question, lambda: (dummy, dummy))
    assert said["failure"][:2] == ["PredictionTimeout", "the answer came too late."]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    said = respond(question | {"until": time.time() + 60}, lambda: (dummy, dummy))
    assert said["result"] == {"file": f"{FOLDER}1f.out"}
    # Once more, as after a kill between the file and the answer: it takes the other's place.
    assert respond(question | {"until": time.time() + 60}, lambda: (dummy, dummy)) == said
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("name", ["settings.py", f"{FOLDER}../../secret", "/etc/passwd", FOLDER])
def test_a_broker_names_no_file_of_the_sites_own(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    settings.MEDIA_ROOT = tmp_path
    (tmp_path / "settings.py").write_bytes(pack("secret"))
    parcels = Parcels("default", 10)
    with pytest.raises(ValueError, match="a parcel in the file"):
        parcels.open(Parcel(file=name))
    parcels.remove(Parcel(file=name))
    assert (tmp_path / "settings.py").exists()


@pytest.mark.parametrize("packed", ["*", base64.b64encode(b"\xc1").decode()])
def test_a_spoilt_message_is_refused(packed: str) -> None:
    with pytest.raises(ValueError):
        Parcels("default", 10).open(Parcel(packed=packed))


def ids(found: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("django_inference.") for message in found]


def test_check_finds_nothing_wrong_with_what_works(settings: Settings) -> None:
    client.use(NOWHERE, NOWHERE)
    # A web tier needs neither the artifact nor the framework.
    settings.INFERENCE = {
        "far": {
            "MODEL": "/models/of/the/workers.onnx",
            "BACKEND": CELERY,
            "OPTIONS": {"app": client.PATH, "backend_options": {"replicas": 2}},
        }
    }
    assert ids(check_backends()) == []


@pytest.mark.parametrize(
    ("options", "expected", "said"),
    [
        ({"app": "tests.celery.client.ap"}, "E076", "no Celery app"),
        ({"storage": "defualt"}, "E078", "no alias 'defualt'"),
        ({"backend": "django_inference.backends.host.Host"}, "E079", "has no 'Host'"),
        ({"backend": CELERY}, "E079", "would have to ask the workers"),
        ({"backend_options": {"replica": 1}}, "E079", "has no key 'replica'"),
        ({"queues": "a"}, "E007", "has no key 'queues'"),
    ],
)
def test_check_finds_mistakes(
    settings: Settings, options: dict[str, Any], expected: str, said: str
) -> None:
    client.use(NOWHERE, NOWHERE)
    declare(settings, **options)
    found = check_backends()
    assert ids(found) == [expected]
    assert said in found[0].msg


@pytest.mark.parametrize("results", ["", "rpc://"])
def test_check_wants_a_result_backend_that_every_process_can_read(
    settings: Settings, results: str
) -> None:
    client.use(NOWHERE, results)
    declare(settings)
    assert ids(check_backends()) == ["E077"]


def test_check_misses_celery_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(settings)
    # None is how Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "celery", None)
    assert ids(check_backends()) == ["E075"]
    assert ids(CeleryEngine.check()) == ["E075"]


def test_check_of_the_engine(settings: Settings) -> None:
    client.use(NOWHERE, "")
    assert CeleryEngine.check(app=client.PATH) == []
    assert ids(CeleryEngine.check(app="tests.celery.client.ap")) == ["E076"]
    assert ids(CeleryEngine.check(app=client.PATH, queue="a")) == ["E066"]


ALONE = f"""
import sys, django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django_inference"],
    INFERENCE={{"far": {{"RUNTIME": "{SLOW}", "BACKEND": "{CELERY}"}}}},
)
django.setup()
from django_inference import predictors
predictors.preload()
print(sorted({{"celery", "kombu", "numpy"}} & {{*sys.modules}}))
from django_inference.checks import check_backends
print(*(message.id for message in check_backends()))
try:
    predictors["far"].predict([1])
except Exception as error:
    print(error)
"""


def test_celery_is_spared_until_a_call_and_a_site_without_an_app_is_told() -> None:
    said = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, timeout=60
    )
    imported, found, refused = said.stdout.splitlines()
    assert imported == "[]"
    assert found == "django_inference.E076"
    assert refused == "INFERENCE['far']['OPTIONS']['app']: this process has made no Celery app."
