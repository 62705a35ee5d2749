from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from django_inference import InvalidPredictor, Predictor, predictor, predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.registry import Predictors, UnknownPredictor
from django_inference.specs import State

DUMMY = {"BACKEND": "django_inference.backends.dummy.DummyBackend"}


@pytest.fixture(autouse=True)
def declared(settings: Settings) -> Iterator[None]:
    settings.INFERENCE = {"default": DUMMY, "detector": DUMMY}
    yield
    predictors.reset()


@pytest.fixture
def fresh() -> Predictors:
    """A registry of the test's own, so that nothing registered in it is left behind."""
    return Predictors()


def dummy(predictor: Predictor) -> DummyBackend:
    return cast(DummyBackend, predictor.backend)


# Looking up.


def test_the_predictors_are_those_in_the_settings() -> None:
    assert "detector" in predictors
    assert "classifier" not in predictors
    assert 3 not in predictors
    assert list(predictors) == ["default", "detector"]
    assert len(predictors) == 2
    assert [predictor.alias for predictor in predictors.values()] == ["default", "detector"]
    assert predictors.get("classifier") is None


def test_a_predictor_is_made_once() -> None:
    assert predictors["detector"] is predictors["detector"]
    assert predictors["detector"] is not predictors["default"]
    assert repr(predictors["detector"]) == "<Predictor 'detector' on DummyBackend>"


def test_looking_whether_it_is_there_makes_nothing(fresh: Predictors) -> None:
    assert "detector" in fresh
    assert len(fresh) == 2
    assert list(fresh)
    assert fresh._made == {}


def test_threads_that_look_at_once_get_the_same(fresh: Predictors) -> None:
    barrier = threading.Barrier(30)
    seen: list[Predictor] = []

    def look() -> None:
        barrier.wait()
        seen.append(fresh["detector"])

    threads = [threading.Thread(target=look) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 30
    assert len(set(map(id, seen))) == 1


def test_an_unknown_name_is_a_key_error_that_suggests_the_nearest() -> None:
    with pytest.raises(KeyError) as caught:
        predictors["detecter"]
    assert isinstance(caught.value, UnknownPredictor)
    assert isinstance(caught.value, ImproperlyConfigured)
    assert str(caught.value) == "There is no predictor 'detecter'. Did you mean 'detector'?"


def test_an_unknown_name_like_no_other_lists_them_all(settings: Settings) -> None:
    with pytest.raises(UnknownPredictor, match="INFERENCE declares: default, detector"):
        predictors["xyz"]
    settings.INFERENCE = {}
    with pytest.raises(UnknownPredictor, match="INFERENCE declares: nothing"):
        predictors["xyz"]


@pytest.mark.parametrize("backend", ["django_inference.backends.nothing", "os.path.join", "x"])
def test_a_backend_that_is_none(settings: Settings, backend: str) -> None:
    settings.INFERENCE = {"default": {"BACKEND": backend}}
    with pytest.raises(InvalidPredictor, match="default") as caught:
        predictors["default"]
    assert backend in str(caught.value)
    assert "default" in predictors


# Settings.


def test_settings_take_effect_when_they_are_overridden() -> None:
    before = predictors["detector"]
    with override_settings(INFERENCE={"detector": DUMMY | {"OPTIONS": {"result": "other"}}}):
        assert list(predictors) == ["detector"]
        assert predictors["detector"] is not before
        assert predictors["detector"].predict_one(1) == "other"
        with pytest.raises(UnknownPredictor):
            predictors["default"]
    assert predictors["default"].predict_one(1) is None
    assert predictors["detector"].predict_one(1) is None


def test_other_settings_leave_the_predictors_alone() -> None:
    before = predictors["detector"]
    with override_settings(DEBUG=True):
        assert predictors["detector"] is before
    with override_settings(INFERENCE_HOST={"LINGER": 5}):
        assert predictors["detector"] is not before


def test_the_backends_of_former_settings_are_closed(settings: Settings) -> None:
    closed: list[bool] = []
    settings.INFERENCE = {
        "default": {
            "BACKEND": "django_inference.backends.local.LocalBackend",
            "RUNTIME": "tests.sample_runtimes.Items",
            "RUNTIME_OPTIONS": {"close": lambda: closed.append(True)},
        }
    }
    former = predictors["default"]
    former.preload(wait=True)
    settings.INFERENCE = {}
    assert former.status().state is State.UNLOADED


def test_a_declaration_is_as_old_as_the_settings(settings: Settings) -> None:
    first, other = predictors["default"].backend, predictors["detector"].backend
    assert first.declared_at == other.declared_at
    settings.INFERENCE = {"default": DUMMY}
    assert predictors["default"].backend.declared_at > first.declared_at


# Registering.


def test_a_predictor_registered_at_run_time(fresh: Predictors) -> None:
    made = fresh.register("late", **DUMMY, OPTIONS={"result": 7})
    assert made is fresh["late"]
    assert made.predict_one(1) == 7
    assert "late" in fresh
    assert list(fresh) == ["default", "detector", "late"]
    assert len(fresh) == 3
    assert made.backend.declared_at >= fresh["default"].backend.declared_at


def test_a_name_that_is_taken_cannot_be_registered(fresh: Predictors) -> None:
    with pytest.raises(InvalidPredictor, match="'detector' is declared already"):
        fresh.register("detector", **DUMMY)
    fresh.register("late", **DUMMY)
    with pytest.raises(InvalidPredictor, match="'late' is declared already"):
        fresh.register("late", **DUMMY)


@pytest.mark.parametrize(
    "declaration", [{"BAKEND": "x"}, {"MODEL": 3}, {"BACKEND": "x"}, DUMMY | {"OPTIONS": {"x": 1}}]
)
def test_a_wrong_declaration_is_not_registered(
    fresh: Predictors, declaration: dict[str, Any]
) -> None:
    with pytest.raises(InvalidPredictor, match="late"):
        fresh.register("late", **declaration)
    assert "late" not in fresh
    fresh.register("late", **DUMMY)


def test_what_was_registered_can_be_forgotten(fresh: Predictors) -> None:
    fresh.register("late", **DUMMY)
    fresh.unregister("late")
    assert "late" not in fresh
    with pytest.raises(UnknownPredictor):
        fresh["late"]
    fresh.register("late", **DUMMY)
    for name in ("detector", "nothing"):
        with pytest.raises(UnknownPredictor, match="not registered at run time"):
            fresh.unregister(name)


def test_what_was_registered_outlives_a_change_of_settings(settings: Settings) -> None:
    predictors.register("late", **DUMMY)
    try:
        settings.INFERENCE = {}
        assert list(predictors) == ["late"]
        assert predictors["late"].predict_one(1) is None
    finally:
        predictors.unregister("late")


# The proxy.


def test_the_proxy_is_the_default_predictor(settings: Settings) -> None:
    assert predictor.alias == "default"
    dummy(predictor).returns("cat")
    assert predictor.predict_one(1) == "cat"


def test_the_proxy_is_a_predictor_before_there_are_settings(settings: Settings) -> None:
    settings.INFERENCE = {}
    assert isinstance(predictor, Predictor)
    assert repr(predictor) == "<Predictor 'default'>"


def test_the_proxy_follows_the_settings(settings: Settings) -> None:
    assert predictor.predict_one(1) is None
    settings.INFERENCE = {"default": DUMMY | {"OPTIONS": {"result": "new"}}}
    assert predictor.predict_one(1) == "new"
    settings.INFERENCE = {"other": DUMMY}
    with pytest.raises(UnknownPredictor, match="'default'"):
        predictor.predict_one(1)


# Preloading.


def test_every_predictor_is_asked_for(settings: Settings) -> None:
    settings.INFERENCE = {"a": DUMMY, "b": DUMMY, "c": DUMMY | {"OPTIONS": {"preload": False}}}
    predictors.preload()
    states = [predictors[alias].status().state for alias in "abc"]
    assert states == [State.READY, State.READY, State.UNLOADED]


def test_a_broken_predictor_does_not_keep_the_others_from_it(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.INFERENCE = {
        "options": DUMMY | {"OPTIONS": {"no such": 1}},
        "backend": {"BACKEND": "no.such.Backend"},
        "model": {"MODEL": "/no/model.xyz"},
        "good": DUMMY,
    }
    with caplog.at_level(logging.ERROR, "django_inference"):
        predictors.preload()
    assert predictors["good"].status().state is State.READY
    for alias in ("options", "backend", "model"):
        assert f"preload failed alias={alias}" in caplog.text


def test_settings_that_cannot_be_read_are_logged_by_preload(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    # It runs on a thread of a server that has other pages to serve.
    settings.INFERENCE = {"default": {"BAKEND": "x"}, "good": DUMMY}
    with caplog.at_level(logging.ERROR, "django_inference"):
        predictors.preload()
    assert "BAKEND" in caplog.text


# Forking.


def test_a_fork_in_the_middle_of_a_look_up() -> None:
    program = """
    import os, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from django.conf import settings
    settings.configure(INFERENCE={
        name: {"BACKEND": "django_inference.backends.dummy.DummyBackend"} for name in "abc"
    })
    from django_inference import predictors

    predictors["a"]
    # As if another thread were making a predictor: in the child there is no such thread.
    with predictors._guard():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if predictors["b"].predict_one(1) is None else 1)
    until = time.monotonic() + 30
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, 9)
        time.sleep(0.01)
    assert done[1] == 0, done
    predictors["c"]
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[1],
        env=os.environ,
    )
