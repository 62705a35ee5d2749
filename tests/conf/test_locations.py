"""What the settings and the system checks say of a `MODEL` that is no path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.test import override_settings
from pytest_django import Settings

from django_inference import checks
from django_inference.backends.models import model_spec
from django_inference.conf import default_artifact_dir, host_settings, parse_predictor
from django_inference.specs import EngineOptions

LOCAL = "django_inference.backends.local.LocalBackend"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://x"},
    "fast": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "files": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "/x"},
    "table": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "x"},
    "memcached": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": "127.0.0.1:9",
    },
    "broken": {"BACKEND": "django.core.cache.backends.rediss.RedisCache"},
}


def problems_of(model: Any, runtime: str | None = "onnx", **entry: Any) -> list[str]:
    declared = {"BACKEND": LOCAL, "MODEL": model, "RUNTIME": runtime, **entry}
    with override_settings(
        INFERENCE={"detector": declared},
        CACHES=CACHES,
        MIDDLEWARE=["django_inference.middleware.InferenceMiddleware"],
    ):
        return [said_by(message) for message in run_checks(tags=[checks.TAG])]


def said_by(message: CheckMessage) -> str:
    number = (message.id or "").removeprefix("django_inference.")
    return f"{number} {message.msg} {message.hint or ''}".rstrip()


@pytest.mark.parametrize(
    "model",
    [
        *("storage:models/detector.onnx", "storage:staticfiles:models/3/"),
        *("cache:default/detector", "cache:memcached/detector"),
        *("https://example.com/m.onnx", "http://example.com/m.zip", "memory://m", "file:///m.onnx"),
        "zip://m.onnx::file:///c.zip",
    ],
)
def test_what_can_be_fetched_is_no_mistake(model: str) -> None:
    assert problems_of(model) == []
    assert parse_predictor("detector", {"MODEL": model}).model == model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("storage:", "E027 INFERENCE['detector']['MODEL']: 'storage:' names nothing"),
        ("cache:default", "E027 INFERENCE['detector']['MODEL']: 'cache:default' names no key"),
        ("s4://b/m.onnx", "E027 INFERENCE['detector']['MODEL']: no file system is known for 's4"),
        ("zip://m::gss://b", "no file system is known for 'gss://'. Did you mean 'gs'?"),
        ("xyzzy://b/m", "fsspec knows s3, gs, az"),
        ("storage:statifiles:m", "STORAGES has no 'statifiles'. Did you mean 'staticfiles'?"),
        ("cache:memcache/m", "CACHES has no 'memcache'. Did you mean 'memcached'?"),
        ("cache:broken/m", "E028 INFERENCE['detector']['MODEL']: CACHES['broken'] cannot be used"),
        ("cache:fast/m", "E030 INFERENCE['detector']['MODEL']: CACHES['fast'] is django.core"),
        ("cache:files/m", "FileBasedCache, which unpickles what it reads. Models are read from"),
        ("cache:table/m", "E030"),
        ("s3://b/m.onnx", "E029 INFERENCE['detector']['MODEL']: s3:// needs the module 's3fs'"),
        ("s3://b/m.onnx", "which is not installed. Install s3fs to access S3"),
        ("gs://b/m.onnx", "needs the module 'gcsfs'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(model: str, said: str) -> None:
    (found,) = problems_of(model)
    assert said in found


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    (found,) = problems_of("s3://b/m.onnx")
    assert found.startswith("E029")
    assert 'pip install "django-inference[fsspec]"' in found
    (found,) = problems_of("storeage://b/m.onnx")
    assert "Did you mean 'storage'?" in found


def test_what_another_interpreter_fetches_need_not_be_installed_in_this_one(
    settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "python"
    other.symlink_to(sys.executable)
    settings.INFERENCE_HOST = {"PYTHON": other}
    host = "django_inference.backends.host.HostBackend"
    assert problems_of("s3://b/m.onnx", BACKEND=host) == []


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("storge:models/m.onnx", "Did you mean 'storage:models…'?"),
        ("cach:default/m.onnx", "Did you mean 'cache:default…'?"),
        (Path("s3://bucket/m.onnx"), "A URL begins with 's3://' and is a str"),
    ],
)
def test_a_path_that_was_meant_to_be_none(model: Any, hint: str) -> None:
    (found,) = problems_of(model)
    assert found.startswith("W002")
    assert hint in found


def test_the_runtime_follows_from_the_name_where_that_is_a_file() -> None:
    for model in ("https://h/m.onnx?sig=1", "storage:m.onnx", "memory://a/m.onnx"):
        spec = model_spec(parse_predictor("m", {"MODEL": model}), EngineOptions())
        assert spec.runtime.endswith("OnnxRuntime")
    (found,) = problems_of("https://me:secret@h/models.zip?sig=secret", runtime=None)
    assert found.startswith("E026")
    assert "secret" not in found


def test_a_format_that_runs_code_must_be_trusted_wherever_it_comes_from() -> None:
    (found,) = problems_of("https://h/m.joblib?x=1", runtime="sklearn")
    assert found.startswith("E018")
    assert problems_of("https://h/m.joblib?x=1", runtime="sklearn", SHA256="0" * 64) == []


def test_the_folder_of_the_copies_is_in_the_users_cache(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_artifact_dir() == str(tmp_path / "django-inference")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert host_settings().artifact_dir == str(tmp_path / "home" / ".cache" / "django-inference")
    settings.INFERENCE_HOST = {"ARTIFACT_DIR": Path("copies"), "ARTIFACT_LIMIT": 10**12}
    assert host_settings().artifact_dir == str(settings.BASE_DIR / "copies")
    assert host_settings().artifact_limit == 10**12
