"""Answers that are found in a cache, and calls that share one run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.cache import caches
from django.core.cache.backends.filebased import FileBasedCache
from pytest_django import Settings

from django_inference import InvalidPredictor, Predictor
from django_inference.backends import answers
from django_inference.backends.answers import keys_of
from django_inference.backends.base import BaseBackend
from django_inference.exceptions import (
    InvalidInput,
    ModelCrashed,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.specs import NORMAL, CacheCounts, State, Status
from tests.backends.conftest import Declare
from tests.cache_servers import memcached_server, redis_server
from tests.hosts import eventually

ROOT = Path(__file__).parents[2]
SERVERS = {"redis": "redis.RedisCache", "memcached": "memcached.PyMemcacheCache"}
KINDS = ("locmem", "file", "redis", "memcached")


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def memcached() -> Iterator[str]:
    with memcached_server() as address:
        yield address


@pytest.fixture
def cache(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> str:
    """The alias of an empty cache, of the kind that a test asks for."""
    kind = getattr(request, "param", "locmem")
    backends = "django.core.cache.backends"
    # Another name for each test: what is in memory, or on a server, outlives it.
    declared: dict[str, Any] = {"KEY_PREFIX": tmp_path.name}
    if kind == "locmem":
        declared |= {"BACKEND": f"{backends}.locmem.LocMemCache", "LOCATION": str(tmp_path)}
    elif kind == "file":
        declared |= {"BACKEND": f"{backends}.filebased.FileBasedCache", "LOCATION": tmp_path}
    else:
        location = request.getfixturevalue(kind)
        declared |= {"BACKEND": f"{backends}.{SERVERS[kind]}", "LOCATION": location}
    settings.CACHES = {"default": settings.CACHES["default"], "answers": declared}
    return "answers"


class Model:
    """Doubles numbers, and remembers what it was asked. Any other item says what to do."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.strange: Any = None
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, items: list[Any]) -> list[Any]:
        self.asked += items
        self.gate.wait(30)
        return [self._answer(item) for item in items]

    def _answer(self, item: Any) -> Any:
        match item:
            case {"refuse": message}:
                raise InvalidInput(message)
            case {"raise": message}:
                raise RuntimeError(message)
            case {"return": value}:
                return value
            case bytes():
                return item
            case {"strange": _}:
                return self.strange
        return item * 2


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def predictor(declare: Declare, model: Model, cache: str) -> Predictor:
    predictor = declare(hooks={"predict": model.predict}, OPTIONS={"cache": cache})
    predictor.preload(wait=True)
    return predictor


def counts(predictor: Predictor) -> tuple[int, int, int]:
    found = predictor.status().cache
    assert found is not None
    return found.hits, found.misses, found.joined


def together(calls: int, call: Callable[[], Any]) -> list[Any]:
    """What so many threads get that call at once: results and errors."""
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(call())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def waiting(predictor: Predictor) -> int:
    """How many calls are under way: the one that is made, and those that wait for it."""
    assert predictor.backend.cached is not None
    flights: list[Any] = [*predictor.backend.cached._flights._under_way.values()]
    return sum(1 + len(f._condition._waiters) + len(f._done_callbacks) for f in flights)


@contextlib.contextmanager
def opened_for(calls: int, predictor: Predictor, model: Model) -> Iterator[None]:
    """Have the model answer when so many calls are under way."""
    model.gate.clear()

    def open_gate() -> None:
        try:
            eventually(lambda: waiting(predictor) == calls)
        finally:
            model.gate.set()

    opener = threading.Thread(target=open_gate)
    opener.start()
    yield
    opener.join()


@pytest.mark.parametrize("cache", KINDS, indirect=True)
async def test_what_was_answered_once_is_not_asked_again(
    predictor: Predictor, model: Model
) -> None:
    array = np.arange(4, dtype=np.float32)
    assert predictor.predict_one(21) == 42
    assert predictor.predict([21, 21]) == await predictor.apredict([21, 21]) == [42, 42]
    assert await predictor.apredict_one(21) == 42
    first, second = predictor.predict_one(array), predictor.predict_one(array)
    assert first.tolist() == second.tolist() == [0, 2, 4, 6]
    assert first.dtype == second.dtype == np.float32
    assert len(model.asked) == 2
    assert counts(predictor) == (6, 2, 0)


@pytest.mark.parametrize("cache", KINDS, indirect=True)
def test_only_the_items_that_are_not_known_are_run(predictor: Predictor, model: Model) -> None:
    assert predictor.predict([1, 2]) == [2, 4]
    assert predictor.predict([3, 2, 1, 4]) == [6, 4, 2, 8]
    assert list(predictor.map([4, 5])) == [8, 10]
    assert model.asked == [1, 2, 3, 4, 5]
    assert predictor.predict([]) == []


@pytest.mark.parametrize("cache", KINDS, indirect=True)
def test_an_answer_is_forgotten_after_its_time(declare: Declare, model: Model, cache: str) -> None:
    predictor = declare(
        hooks={"predict": model.predict}, OPTIONS={"cache": cache, "cache_timeout": 1}
    )
    assert predictor.predict_one(1) == 2
    eventually(lambda: predictor.predict_one(1) == 2 and len(model.asked) == 2)


@pytest.mark.parametrize("cache", KINDS, indirect=True)
def test_an_answer_without_a_time_stays(declare: Declare, model: Model, cache: str) -> None:
    options = {"cache": cache, "cache_timeout": None}
    predictor = declare(hooks={"predict": model.predict}, OPTIONS=options)
    assert predictor.predict_one(1) == predictor.predict_one(1) == 2
    assert model.asked == [1]


class Elsewhere(BaseBackend):
    """A backend of a project's own, which knows nothing of versions."""

    asked: list[Any] = []

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        self.asked.append(payload)
        return [item * 2 for item in payload]

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        return self.call(payload, deadline, priority)

    def signature(self, deadline: float) -> None:
        return None

    def status(self) -> Status:
        return Status(alias=self.alias, state=State.READY)

    def preload(self) -> None:
        pass

    def reload(self) -> None:
        pass

    def unload(self) -> None:
        pass


async def test_a_backend_without_versions_goes_by_its_settings(
    declare: Declare, cache: str
) -> None:
    entry = {"BACKEND": f"{__name__}.Elsewhere", "OPTIONS": {"cache": cache}}
    predictor = declare(**entry)
    assert predictor.predict_one(1) == await predictor.apredict_one(1) == 2
    assert counts(predictor) == (1, 1, 0)
    # Another model at the same place.
    assert declare(**entry, MODEL="https://models/two.onnx").predict_one(1) == 2
    assert Elsewhere.asked == [[1], [1]]


def test_named_tensors_are_one_answer_and_no_item(declare: Declare, cache: str) -> None:
    predictor = declare(RUNTIME="tests.sample_runtimes.Arrays", OPTIONS={"cache": cache})
    batch = {"x": np.ones((2, 4), np.float32)}
    assert predictor.predict(batch)["y"].shape == predictor.predict(batch)["y"].shape == (2, 4)
    assert predictor.predict(batch["x"])["y"].shape == (2, 4)
    with pytest.raises(InvalidInput):
        predictor.predict([batch])
    assert counts(predictor) == (1, 3, 0)


def test_what_is_found_is_the_callers_own(predictor: Predictor) -> None:
    array = np.arange(3.0)
    for place in range(3):
        again = predictor.predict([array, array])
        assert [found.tolist() for found in again] == [[0, 2, 4]] * 2
        again[place % 2] += 1


def test_the_first_answer_is_of_the_same_types_as_the_next(predictor: Predictor) -> None:
    value = ("a", np.float32(0.5), {"b": (1,)})
    first, second = (predictor.predict_one({"return": value}) for _ in range(2))
    assert first == second == ["a", 0.5, {"b": [1]}]
    assert [type(part) for part in first] == [type(part) for part in second]


def test_what_cannot_be_sent_is_refused_and_not_kept(predictor: Predictor, model: Model) -> None:
    model.strange = object()
    for _ in range(2):
        with pytest.raises(PredictionFailed, match="cannot be sent"):
            predictor.predict_one({"strange": 1})
        with pytest.raises(InvalidInput, match="cannot be sent"):
            predictor.predict_one({"return": 1, "with": object()})
    assert len(model.asked) == 2


@pytest.mark.parametrize("cache", KINDS, indirect=True)
def test_what_is_too_long_is_not_kept(declare: Declare, model: Model, cache: str) -> None:
    options = {"cache": cache, "cache_max_bytes": 1000}
    predictor = declare(hooks={"predict": model.predict}, OPTIONS=options)
    for _ in range(2):
        assert predictor.predict([bytes(100), bytes(2000)]) == [bytes(100), bytes(2000)]
    assert [len(item) for item in model.asked] == [100, 2000, 2000]


def test_errors_are_not_kept(predictor: Predictor, model: Model) -> None:
    for _ in range(2):
        with pytest.raises(PredictionFailed, match="no"):
            predictor.predict([1, {"raise": "no"}])
    assert predictor.predict_one(1) == 2
    assert model.asked.count({"raise": "no"}) >= 2


def test_without_the_option_nothing_stands_before_the_backend(
    declare: Declare, model: Model
) -> None:
    predictor = declare(hooks={"predict": model.predict})
    assert predictor.predict_one(1) == predictor.predict_one(1) == 2
    assert model.asked == [1, 1]
    assert predictor.status().cache is None
    assert predictor.backend._answer == predictor.backend.call
    assert predictor.backend._aanswer == predictor.backend.acall


def test_a_hundred_equal_calls_of_threads_are_one_run(predictor: Predictor, model: Model) -> None:
    with opened_for(100, predictor, model):
        assert together(100, lambda: predictor.predict([1, 2])) == [[2, 4]] * 100
    assert model.asked == [1, 2]
    assert counts(predictor) == (0, 2, 198)


async def test_a_hundred_equal_calls_of_tasks_and_threads_are_one_run(
    predictor: Predictor, model: Model
) -> None:
    model.gate.clear()
    tasks = [asyncio.ensure_future(predictor.apredict_one(1)) for _ in range(50)]
    threads = asyncio.ensure_future(
        asyncio.to_thread(together, 50, lambda: predictor.predict_one(1))
    )
    await asyncio.to_thread(eventually, lambda: waiting(predictor) == 100)
    model.gate.set()
    assert await asyncio.gather(*tasks) + await threads == [2] * 100
    assert model.asked == [1]
    assert counts(predictor) == (0, 1, 99)


async def test_whoever_is_cancelled_takes_nobody_along(predictor: Predictor, model: Model) -> None:
    model.gate.clear()
    first, *others = [asyncio.ensure_future(predictor.apredict_one(1)) for _ in range(20)]
    await asyncio.to_thread(eventually, lambda: waiting(predictor) == 20)
    # The one that makes the call, and one of those that wait for it.
    first.cancel()
    others.pop().cancel()
    await asyncio.to_thread(eventually, lambda: waiting(predictor) == 18)
    model.gate.set()
    assert await asyncio.gather(*others) == [2] * 18
    with pytest.raises(asyncio.CancelledError):
        await first
    assert 1 <= len(model.asked) <= 2
    assert waiting(predictor) == 0


async def test_a_call_that_holds_the_event_loop_waits_for_no_task_of_it(
    predictor: Predictor, model: Model
) -> None:
    model.gate.clear()
    task = asyncio.ensure_future(predictor.apredict_one(1))
    await asyncio.to_thread(eventually, lambda: model.asked)
    opener = threading.Timer(0.1, model.gate.set)
    opener.start()
    # Not from a thread: nobody should, but it works without a cache.
    assert predictor.predict_one(1) == 2
    assert await task == 2
    opener.join()
    assert model.asked == [1, 1]


def test_who_has_more_time_does_not_fail_with_who_has_less(
    predictor: Predictor, model: Model
) -> None:
    model.gate.clear()
    outcomes: list[Any] = []
    hasty = threading.Thread(
        target=lambda: outcomes.append(together(1, lambda: predictor.predict_one(1, timeout=0.3)))
    )
    hasty.start()
    eventually(lambda: waiting(predictor) == 1)
    patient = threading.Thread(target=lambda: outcomes.append(predictor.predict_one(1)))
    patient.start()
    hasty.join()
    model.gate.set()
    patient.join()
    ((error,), answer) = outcomes
    assert isinstance(error, PredictionTimeout) and answer == 2


async def test_who_has_less_time_gives_up_alone(predictor: Predictor, model: Model) -> None:
    model.gate.clear()
    patient = asyncio.ensure_future(predictor.apredict_one(1))
    await asyncio.to_thread(eventually, lambda: model.asked)
    with pytest.raises(PredictionTimeout):
        await predictor.apredict_one(1, timeout=0.1)
    with pytest.raises(PredictionTimeout):
        await asyncio.to_thread(predictor.predict_one, 1, timeout=0.1)
    model.gate.set()
    assert await patient == 2


def test_an_error_reaches_everybody_who_waits_for_it(predictor: Predictor, model: Model) -> None:
    with opened_for(20, predictor, model):
        errors = together(20, lambda: predictor.predict_one({"refuse": "too dark"}))
    assert {(type(error), str(error)) for error in errors} == {
        (InvalidInput, "Predictor 'default': too dark")
    }
    # Each raises his own, since each adds to its traceback.
    assert len(set(map(id, errors))) == 20
    assert predictor.predict_one(1) == 2


def bomb(path: Path) -> bytes:
    """A pickle that makes a file when somebody reads it."""

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (path,)

    return pickle.dumps(Bomb())


def plant(cache: str, key: str, value: bytes) -> None:
    """Put bytes where the cache has its value, as somebody would who can write to it."""
    store: Any = caches[cache]
    where = store.make_key(key)
    if isinstance(store, FileBasedCache):
        path: str = store._key_to_file(key)  # type: ignore[attr-defined]
        Path(path).write_bytes(struct.pack(">d", inf) + value)
    elif hasattr(store._cache, "get_client"):
        store._cache.get_client(write=True).set(where, value)
    elif isinstance(store._cache, dict):
        store.set(key, value)
    else:
        # 1 is what pymemcache marks pickles with.
        client = store._class(store.client_servers)
        client.set(where, value, flags=1, noreply=False)
        client.close()


@pytest.mark.parametrize("cache", KINDS, indirect=True)
def test_nothing_is_unpickled_and_rubbish_is_a_miss(
    predictor: Predictor, model: Model, cache: str, tmp_path: Path, caplog: Any
) -> None:
    version = predictor.status().version
    for item, rubbish in enumerate((bomb(tmp_path / "bang"), b"", b"\xc1" * 40, b"x" * 3)):
        (key,) = keys_of(version, [item])
        plant(cache, key, rubbish)
        assert predictor.predict_one(item) == predictor.predict_one(item) == item * 2
    assert not (tmp_path / "bang").exists()
    assert model.asked == [0, 1, 2, 3]
    told = [record for record in caplog.records if "unreadable answer" in record.message]
    assert len(told) == 1
    assert "alias=default cache=answers" in told[0].message


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_cache_that_is_down_costs_no_answer(
    kind: str,
    settings: Settings,
    declare: Declare,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    monkeypatch.setattr(answers, "REST", 0.0)
    server = redis_server if kind == "redis" else memcached_server
    with server() as location:
        backend = f"django.core.cache.backends.{SERVERS[kind]}"
        settings.CACHES = {"answers": {"BACKEND": backend, "LOCATION": location}}
        predictor = declare(hooks={"predict": model.predict}, OPTIONS={"cache": "answers"})
        assert predictor.predict_one(1) == predictor.predict_one(1) == 2
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert predictor.predict_one(1) == await predictor.apredict_one(1) == 2
    assert len(model.asked) == 7
    told = [r.message for r in caplog.records if "prediction cache fails" in r.message]
    assert len(told) == 1
    assert "alias=default cache=answers" in told[0]
    port = int(location.removesuffix("/0").rpartition(":")[2])
    with server(at=port):
        eventually(lambda: predictor.predict_one(1) == 2 and counts(predictor)[0] > 1)


def test_a_cache_that_has_failed_is_left_alone_for_a_while(
    declare: Declare, model: Model, settings: Settings, caplog: Any
) -> None:
    settings.CACHES = {
        "answers": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            # Nobody listens there.
            "LOCATION": "redis://127.0.0.1:1",
        }
    }
    predictor = declare(hooks={"predict": model.predict}, OPTIONS={"cache": "answers"})
    predictor.predict_one(1)
    kept = predictor.backend.cached
    assert kept is not None
    assert kept._answers._rests_until > time.monotonic() + answers.REST / 2
    assert sum("prediction cache fails" in record.message for record in caplog.records) == 1


def test_another_version_never_answers_with_the_answers_of_the_last(
    declare: Declare, cache: str, tmp_path: Path
) -> None:
    artifact = tmp_path / "model.txt"
    artifact.write_text("one")
    seen: list[str] = []

    def load(given: Any) -> None:
        seen.append(given.path.read_text())

    def predict(items: list[Any]) -> list[Any]:
        return [seen[-1]] * len(items)

    predictor = declare(
        hooks={"predict": predict, "load": load}, MODEL=artifact, OPTIONS={"cache": cache}
    )
    assert predictor.predict_one(1) == predictor.predict_one(1) == "one"
    artifact.write_text("two!")
    # Nothing was loaded: it is the same version that answers.
    assert predictor.predict_one(1) == "one"
    before = predictor.status().version
    predictor.reload()
    eventually(lambda: predictor.status().version != before)
    assert predictor.predict_one(1) == "two!"
    assert counts(predictor) == (2, 2, 0)


def test_an_answer_is_not_kept_if_another_version_has_taken_over_meanwhile(
    declare: Declare, cache: str, tmp_path: Path
) -> None:
    artifact = tmp_path / "model.txt"
    artifact.write_text("one")
    gate = threading.Event()
    asked: list[Any] = []

    def predict(items: list[Any]) -> list[Any]:
        asked.extend(items)
        gate.wait(30)
        return items

    predictor = declare(hooks={"predict": predict}, MODEL=artifact, OPTIONS={"cache": cache})
    before = predictor.status().version
    caller = threading.Thread(target=lambda: predictor.predict_one(1, timeout=30))
    caller.start()
    eventually(lambda: asked)
    before = predictor.status().version
    artifact.write_text("two!")
    predictor.reload()
    eventually(lambda: predictor.status().version != before)
    gate.set()
    caller.join()
    for version in (before, predictor.status().version):
        (key,) = keys_of(version, [1])
        assert caches[cache].get(key) is None


def test_a_child_does_not_wait_for_the_calls_of_its_parent() -> None:
    program = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from django_inference.backends.counting import Counts
from django_inference.backends.flights import Flights
flights, counts = Flights(), Counts(lambda told: None)
counts.add(hits=3)
assert flights.board("a") is None
assert flights.board("a") is not None
# Somebody else holds the locks at the moment of the fork.
held, forked = threading.Event(), threading.Event()
def hold():
    with flights._lock, counts._lock:
        held.set()
        forked.wait(30)
holder = threading.Thread(target=hold)
holder.start()
held.wait(30)
pid = os.fork()
if pid == 0:
    ok = flights.board("a") is None
    counts.flush()
    counts.add(hits=1)
    os._exit(0 if ok and counts.here().hits == 1 else 1)
forked.set()
holder.join()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert flights.board("a") is not None
flights.land("a")
assert flights.board("a") is None
assert counts.here().hits == 3
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_what_could_not_be_reported_is_reported_with_the_next() -> None:
    from django_inference.backends.counting import Counts

    told: list[CacheCounts] = []
    fails = [True]

    def report(counts: CacheCounts) -> None:
        if fails:
            raise ModelCrashed(str(fails.pop()))
        told.append(counts)

    counted = Counts(report)
    counted.add(hits=1)
    counted.flush()
    counted.add(misses=2, joined=3)
    counted.flush()
    counted.flush()
    assert told == [CacheCounts(hits=1, misses=2, joined=3)]


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ("defualt", "CACHES has no 'defualt'. Did you mean 'default'?"),
        ("db", "DatabaseCache, which unpickles what it reads"),
        ("gone", "CACHES['gone'] cannot be used: "),
    ],
)
def test_a_cache_that_cannot_be_used_is_refused(
    declare: Declare, settings: Settings, cache: str, said: str
) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "db": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "answers"},
        "gone": {"BACKEND": "nowhere.Cache"},
    }
    with pytest.raises(InvalidPredictor) as caught:
        declare(hooks={}, OPTIONS={"cache": cache})
    assert said in str(caught.value)
    assert str(caught.value).startswith("INFERENCE['default']['OPTIONS']['cache']: ")


def test_another_cache_takes_effect_with_the_settings(
    declare: Declare, settings: Settings, model: Model, tmp_path: Path
) -> None:
    backend = "django.core.cache.backends.locmem.LocMemCache"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": f"{tmp_path}-1"}}
    predictor = declare(hooks={"predict": model.predict}, OPTIONS={"cache": "default"})
    predictor.predict_one(1)
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": f"{tmp_path}-2"}}
    from django_inference import predictors

    assert predictors["default"].predict_one(1) == 2
    assert model.asked == [1, 1]
