"""`HostBackend` in a Django project, with a host of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import override_settings
from django.utils.safestring import mark_safe

from django_inference import Predictor, predictors
from django_inference.exceptions import InvalidInput, ModelNotReady, PredictionFailed
from django_inference.specs import State
from tests.hosts import PATIENCE, Host, do, eventually

HOST = "django_inference.backends.host.HostBackend"
OPTIONS = {"timeout": PATIENCE, "batching": "always"}


@pytest.fixture(scope="module")
def shared(onnx_mlp: Path) -> Iterator[Host]:
    """A host, and settings that declare three models for it."""
    host = Host()
    declared = {
        "mlp": {"MODEL": onnx_mlp, "OPTIONS": OPTIONS},
        "actor": {
            "RUNTIME": "tests.sample_runtimes.Actor",
            "RUNTIME_OPTIONS": {"journal": str(host.journal)},
            "OPTIONS": OPTIONS | {"replicas": 2},
        },
        "upper": {"RUNTIME": "tests.sample_runtimes.upper", "OPTIONS": OPTIONS},
        "models": {"RUNTIME": "tests.sample_runtimes.names_of_models", "OPTIONS": OPTIONS},
    }
    with override_settings(
        INFERENCE=declared,
        INFERENCE_HOST={
            "RUNTIME_DIR": host.settings.runtime_dir,
            "GRACEFUL_TIMEOUT": host.settings.graceful_timeout,
        },
    ):
        yield host
        predictors.reset()
        host.clean_up()


@pytest.fixture
def actor(shared: Host) -> Predictor:
    return predictors["actor"]


def test_tensors_items_and_a_signature(shared: Host) -> None:
    mlp = predictors["mlp"]
    assert mlp.predict({"x": [[1, 0, 0, 0], [0, 1, 0, 0]]})["y"].tolist() == [[1, 0], [0.5, 2]]
    assert mlp.predict(np.eye(4, dtype=np.float32))["y"].shape == (4, 2)
    assert mlp.predict_one({"x": [0, 0, 1, 0]})["y"].tolist() == [0, 1]
    assert [spec.name for spec in mlp.signature.inputs] == ["x"]  # type: ignore[union-attr]
    rows = ({"x": row} for row in np.eye(4, dtype=np.float32))
    assert [result["y"].tolist() for result in mlp.map(rows)][2] == [0, 1]
    with pytest.raises(InvalidInput, match=r"x float32 \[-1, 4\]"):
        mlp.predict({"x": [[1, 2]]})


async def test_the_async_twins(shared: Host) -> None:
    upper = predictors["upper"]
    assert await upper.apredict(["a", "b"]) == ["A", "B"]
    assert await upper.apredict_one("c") == "C"
    assert [result async for result in upper.amap("abcdef" * 20)] == list("ABCDEF" * 20)
    assert await asyncio.gather(*(upper.apredict_one(letter) for letter in "xyz")) == list("XYZ")
    with pytest.raises(PredictionFailed, match="AttributeError"):
        await upper.apredict_one(1)


async def test_results_piece_by_piece(shared: Host, actor: Predictor) -> None:
    assert list(actor.stream([1, "two"])) == [1, "two"]
    assert [chunk async for chunk in actor.astream([3], timeout=float("inf"))] == [3]
    with pytest.raises(InvalidInput, match="CallableRuntime does not stream"):
        next(predictors["upper"].stream("a"))


async def test_a_call_may_wait_for_ever(shared: Host) -> None:
    upper = predictors["upper"]
    assert upper.predict_one("a", timeout=float("inf")) == "A"
    assert await upper.apredict_one("a", timeout=float("inf")) == "A"
    upper.preload(wait=True, timeout=float("inf"))


def test_what_django_makes_of_text_can_be_sent(shared: Host) -> None:
    assert predictors["upper"].predict([mark_safe("<b>"), mark_safe("ä")]) == ["<B>", "Ä"]


def test_a_runtime_of_the_projects_own_may_use_its_django_models(shared: Host) -> None:
    assert "auth.user" in predictors["models"].predict_one("auth")


def test_how_a_predictor_fares(shared: Host, actor: Predictor) -> None:
    actor.predict_one(1)
    status = eventually(lambda: (s := actor.status()).state is State.READY and s)
    assert status.backend == HOST
    assert status.alias == "actor"
    report = shared.report()
    assert report
    assert status.host_pid == report.pid
    assert len(status.replicas) == 2


def test_many_items_are_spread_over_the_replicas(shared: Host, actor: Predictor) -> None:
    eventually(lambda: [r.state for r in actor.status().replicas] == [State.READY] * 2)
    assert actor.backend.concurrency == 3
    pids = list(actor.map([do("sleep", 0.001)] * 200))
    assert set(pids) == {replica.pid for replica in actor.status().replicas}
    assert list(actor.map(range(500))) == list(range(500))


def test_reloading_and_unloading(shared: Host) -> None:
    upper = predictors["upper"]
    upper.preload(wait=True)
    first = upper.status().pid
    upper.reload()
    eventually(lambda: upper.status().pid not in (0, first))
    assert upper.predict_one("a") == "A"
    upper.unload()
    assert upper.status().state is State.UNLOADED
    assert upper.predict_one("a") == "A"


def test_a_process_that_begins_anew_finds_the_model_loaded(shared: Host) -> None:
    predictors["mlp"].predict(np.eye(4))
    pid = predictors["mlp"].status().pid
    predictors.reset()
    assert predictors["mlp"].predict(np.eye(4))["y"].shape == (4, 2)
    assert predictors["mlp"].status().pid == pid


def test_threads_that_meet_a_fresh_predictor(shared: Host) -> None:
    predictors.reset()
    answers: list[Any] = []
    barrier = threading.Barrier(20)

    def call(index: int) -> None:
        barrier.wait()
        answers.append((index, predictors["upper"].predict_one(f"a{index}")))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(index, f"A{index}") for index in range(20)]


def test_looking_starts_nothing(django_host: Host, settings: Any) -> None:
    settings.INFERENCE = {"default": {"RUNTIME": "tests.sample_runtimes.echo"}}
    predictor = predictors["default"]
    status = predictor.status()
    assert (status.state, status.host_pid, status.replicas) == (State.UNLOADED, 0, ())
    predictor.unload()
    assert not django_host.processes()


def test_preloading_starts_the_host_and_does_not_wait(django_host: Host, settings: Any) -> None:
    settings.INFERENCE = {
        "default": {
            "RUNTIME": "tests.sample_runtimes.Actor",
            "RUNTIME_OPTIONS": {"load_seconds": 0.3},
        }
    }
    predictor = predictors["default"]
    predictor.preload()
    assert predictor.status().state is State.LOADING
    predictor.preload(wait=True, timeout=PATIENCE)
    assert predictor.status().state is State.READY


def test_without_a_host_and_without_autostart(settings: Any, django_host: Host) -> None:
    settings.INFERENCE_HOST = settings.INFERENCE_HOST | {"AUTOSTART": False}
    settings.INFERENCE = {"default": {"RUNTIME": "tests.sample_runtimes.echo"}}
    predictor = predictors["default"]
    for call in (
        lambda: predictor.predict_one(1),
        lambda: predictor.preload(),
        lambda: predictor.reload(),
        lambda: predictor.signature,
    ):
        with pytest.raises(ModelNotReady, match="no model host listens") as caught:
            call()
        assert caught.value.alias == "default"
        assert caught.value.retry_after
    assert predictor.status().state is State.UNLOADED


def test_a_process_that_has_not_predicted_yet_has_not_imported_numpy(django_host: Host) -> None:
    program = """
    import sys, django
    from django.conf import settings
    settings.configure(
        INSTALLED_APPS=["django_inference"],
        INFERENCE={"default": {"RUNTIME": "tests.sample_runtimes.echo"}},
        INFERENCE_HOST={"RUNTIME_DIR": sys.argv[1]},
    )
    django.setup()
    from django_inference import predictors
    predictors.preload()
    predictors["default"].status()
    assert "numpy" not in sys.modules
    assert predictors["default"].predict_one(7) == 7
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), django_host.settings.runtime_dir],
        timeout=100,
        check=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize("timeout", [1e7, 1e12, float("inf")])
def test_a_timeout_may_be_longer_than_the_system_can_count(shared: Host, timeout: float) -> None:
    # A fresh client has to connect as well.
    predictors.reset()
    assert predictors["upper"].predict_one("a", timeout=timeout) == "A"
