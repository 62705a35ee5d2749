"""`LocalBackend` with models that lie elsewhere, and the settings that say where copies go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from pytest_django import Settings

from django_inference import predictors
from django_inference.artifacts.home import Home
from django_inference.exceptions import ModelLoadFailed, ModelNotReady
from django_inference.specs import State
from tests.artifacts.servers import WebServer, serving
from tests.hosts import eventually

LOCAL = "django_inference.backends.local.LocalBackend"
ROW = np.array([[1, 2, 3, 4]], dtype="float32")
ANSWER = [[0.0, 7.0]]


@pytest.fixture(autouse=True)
def site(settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.STORAGES = {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "media"},
        }
    }
    settings.INFERENCE_HOST = {"ARTIFACT_DIR": tmp_path / "artifacts"}
    settings.INFERENCE = {
        "mlp": {"MODEL": "storage:mlp.onnx", "BACKEND": LOCAL, "OPTIONS": {"timeout": 30}}
    }
    yield
    predictors.reset()


@pytest.fixture
def stored(onnx_mlp: Path) -> None:
    storages["default"].save("mlp.onnx", ContentFile(onnx_mlp.read_bytes()))


@pytest.fixture
def web(onnx_mlp: Path, tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "mlp.onnx").write_bytes(onnx_mlp.read_bytes())
    with serving(tmp_path / "web") as server:
        yield server


def home_of_copy(tmp_path: Path) -> Home:
    (home,) = (tmp_path / "artifacts" / "copies").iterdir()
    return Home(home)


@pytest.mark.usefixtures("stored")
def test_a_model_in_a_storage_is_loaded_in_this_process(tmp_path: Path) -> None:
    mlp = predictors["mlp"]
    assert mlp.predict({"x": ROW})["y"].tolist() == ANSWER
    status = mlp.status()
    assert (status.state, status.progress) == (State.READY, None)
    assert status.version
    assert status.replicas[0].device == "cpu"
    assert status.replicas[0].framework.startswith("onnxruntime ")
    # It cannot be removed while it is loaded, and can be afterwards.
    trash = tmp_path / "artifacts" / "trash"
    assert not home_of_copy(tmp_path).remove(trash)
    mlp.unload()
    eventually(lambda: home_of_copy(tmp_path).remove(trash))


def test_a_model_that_is_not_there_is_named_and_asked_for_again(
    request: pytest.FixtureRequest,
) -> None:
    mlp = predictors["mlp"]
    with pytest.raises(ModelLoadFailed, match="storage:mlp.onnx: .*No such file"):
        mlp.predict({"x": ROW})
    status = mlp.status()
    assert (status.state, status.version) == (State.FAILED, "")
    assert status.error and "ArtifactError" in status.error.message
    # Not at once: there is a back-off.
    with pytest.raises(ModelLoadFailed):
        mlp.predict({"x": ROW})
    request.getfixturevalue("stored")

    def answers() -> bool:
        try:
            return bool(mlp.predict({"x": ROW})["y"].tolist() == ANSWER)
        except ModelLoadFailed:
            return False

    eventually(answers)


@pytest.mark.usefixtures("stored")
def test_a_reload_that_fails_leaves_the_model_in_place(tmp_path: Path) -> None:
    mlp = predictors["mlp"]
    mlp.predict({"x": ROW})
    (tmp_path / "media" / "mlp.onnx").unlink()
    mlp.reload()
    eventually(lambda: mlp.status().error)
    assert mlp.predict({"x": ROW})["y"].tolist() == ANSWER


def test_status_says_how_far_the_transfer_is(settings: Settings, web: WebServer) -> None:
    settings.INFERENCE = {"mlp": {"MODEL": web.url("mlp.onnx"), "BACKEND": LOCAL}}
    web.hold.clear()
    mlp = predictors["mlp"]
    mlp.preload()
    progress = eventually(lambda: (found := mlp.status().progress) and found.done and found)
    assert progress.stage == "fetching"
    assert 0 < progress.done < progress.total
    with pytest.raises(ModelNotReady):
        mlp.predict({"x": ROW}, timeout=0.05)
    web.hold.set()
    assert mlp.predict({"x": ROW}, timeout=30)["y"].tolist() == ANSWER


def test_a_pin_is_compared(settings: Settings, web: WebServer) -> None:
    settings.INFERENCE = {
        "mlp": {"MODEL": web.url("mlp.onnx"), "BACKEND": LOCAL, "SHA256": "0" * 64}
    }
    with pytest.raises(ModelLoadFailed, match="SHA256 pins 0000"):
        predictors["mlp"].predict({"x": ROW})


def test_two_predictors_of_one_source_make_one_transfer(settings: Settings, web: WebServer) -> None:
    one = {"MODEL": web.url("mlp.onnx"), "BACKEND": LOCAL, "OPTIONS": {"timeout": 30}}
    settings.INFERENCE = {"a": one, "b": one}
    answers = []

    def call(alias: str) -> None:
        answers.append(predictors[alias].predict({"x": ROW})["y"].tolist())

    threads = [threading.Thread(target=call, args=(alias,)) for alias in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [ANSWER, ANSWER]
    assert web.sent == (web.folder / "mlp.onnx").stat().st_size
