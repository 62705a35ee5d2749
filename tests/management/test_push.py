"""`manage.py inference push`, and what is loaded from there; a real Redis."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_inference import predictors
from tests.cache_servers import redis_server

ROW = np.array([[1, 2, 3, 4]], dtype="float32")
ANSWER = [[0.0, 7.0]]
LOCAL = "django_inference.backends.local.LocalBackend"


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(autouse=True)
def models(settings: Settings, redis: str, tmp_path: Path) -> Iterator[None]:
    settings.CACHES = {
        "models": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis}
    }
    settings.INFERENCE_HOST = {"ARTIFACT_DIR": tmp_path / "artifacts"}
    yield
    predictors.reset()
    caches["models"].clear()
    caches["models"].close()


@pytest.fixture
def mlp(onnx_mlp: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(onnx_mlp, tmp_path / "mlp.onnx"))


def inference(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("inference", *map(str, arguments), stdout=out)
    return out.getvalue()


def test_a_file_is_pushed_and_loaded_from_there(settings: Settings, mlp: Path) -> None:
    said = inference("push", mlp, "--to", "cache:models/mlp")
    assert said == "pushed mlp.onnx to cache:models/mlp: 1 file, 0.0 MB, 1 chunks\n"
    mlp.unlink()
    settings.INFERENCE = {"mlp": {"MODEL": "cache:models/mlp", "RUNTIME": "onnx", "BACKEND": LOCAL}}
    assert predictors["mlp"].predict({"x": ROW})["y"].tolist() == ANSWER


def test_a_predictor_is_pushed_by_its_name(settings: Settings, mlp: Path) -> None:
    settings.INFERENCE = {
        "mlp": {"MODEL": mlp, "BACKEND": LOCAL},
        "there": {"MODEL": "cache:models/mlp", "RUNTIME": "onnx", "BACKEND": LOCAL},
        "code": {"RUNTIME": "tests.sample_runtimes.lengths", "BACKEND": LOCAL},
    }
    inference("push", "mlp", "--to", "cache:models/mlp")
    # From one key to another: it is fetched first.
    inference("push", "there", "--to", "cache:models/copy", "--chunk-size", 1000, "--expire", 60)
    raw = cast(Any, caches["models"])._cache.get_client()
    assert 0 < raw.ttl(caches["models"].make_key("copy")) <= 60
    with pytest.raises(CommandError, match="loads its model from there"):
        inference("push", "there", "--to", "cache:models/mlp")
    with pytest.raises(CommandError, match="'code' has no MODEL"):
        inference("push", "code", "--to", "cache:models/mlp")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mpl", "--to", "cache:models/m"), "no predictor and no file 'mpl'. Did you mean 'mlp'?"),
        (("mlp", "--to", "models/m"), "--to: expected 'cache:ALIAS/key', given 'models/m'"),
        (("mlp", "--to", "storage:m"), "--to: expected 'cache:ALIAS/key'"),
        (("mlp", "--to", "cache:models"), "--to: 'cache:models' names no key"),
        (("mlp", "--to", "cache:nowhere/m"), "CACHES has no 'nowhere'"),
        (("mlp", "--to", "cache:models/m", "--chunk-size", 10), "--chunk-size: expected 1000"),
        (("mlp", "--to", "cache:models/m", "--expire", 0), "--expire: expected a number"),
    ],
)
def test_what_cannot_be_pushed_is_described(
    arguments: tuple[Any, ...], said: str, settings: Settings, mlp: Path
) -> None:
    settings.INFERENCE = {"mlp": {"MODEL": mlp, "BACKEND": LOCAL}}
    with pytest.raises(CommandError) as caught:
        inference("push", *arguments)
    assert said in str(caught.value)
