from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from django_inference.engine.lifecycle import Backoff, version_of
from django_inference.specs import EngineOptions, Golden, ModelSpec, PythonEnvironment, Supervision


def test_waits_double_up_to_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.failed() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_long_night_of_failures_does_not_overflow() -> None:
    backoff = Backoff(first=0.1, longest=10)
    assert {backoff.failed() for _ in range(5000)} >= {10}


def test_a_success_starts_over() -> None:
    backoff = Backoff(first=0.5)
    assert [backoff.failed(), backoff.failed()] == [0.5, 1.0]
    backoff.succeeded()
    assert backoff.failed() == 0.5


def test_the_version_follows_what_changes_an_answer(tmp_path: Path) -> None:
    artifact = tmp_path / "model.bin"
    artifact.write_bytes(b"one")
    os.utime(artifact, ns=(1, 1))
    spec = ModelSpec(alias="a", runtime="r", runtime_options={"k": 1}, artifact=str(artifact))
    version = version_of(spec)
    assert len(version) == 12
    changes: tuple[dict[str, Any], ...] = (
        {"runtime": "s"},
        {"runtime_options": {"k": 2}},
        {"artifact": None},
        {"sha256": "0" * 64},
        {"trusted": True},
        {"options": EngineOptions(max_batch_size=1)},
        {"golden": (Golden(1, 2),)},
    )
    for change in changes:
        assert version_of(msgspec.structs.replace(spec, **change)) != version, change
    changes = (
        {"alias": "b"},
        {"supervision": Supervision(replicas=4, canary=0.5, watch=True)},
        {"environment": PythonEnvironment(settings_module="s", path=())},
    )
    for change in changes:
        assert version_of(msgspec.structs.replace(spec, **change)) == version, change


def test_the_version_follows_the_files(tmp_path: Path) -> None:
    artifact = tmp_path / "model"
    spec = ModelSpec(alias="a", runtime="r", artifact=str(artifact))
    seen = {version_of(spec)}
    artifact.mkdir()
    seen.add(version_of(spec))
    (artifact / "weights").write_bytes(b"one")
    seen.add(version_of(spec))
    os.utime(artifact / "weights", ns=(5, 5))
    seen.add(version_of(spec))
    (artifact / "weights").rename(artifact / "renamed")
    seen.add(version_of(spec))
    assert len(seen) == 5


def test_the_version_follows_the_source_of_a_runtime(tmp_path: Path) -> None:
    source = tmp_path / "runtime.py"
    source.write_text("one")
    spec = ModelSpec(
        alias="a",
        runtime="r",
        environment=PythonEnvironment(settings_module="s", path=(), source=str(source)),
    )
    seen = {version_of(spec)}
    source.write_text("other")
    seen.add(version_of(spec))
    source.unlink()
    seen.add(version_of(spec))
    assert len(seen) == 3


def test_options_of_any_type_have_a_digest() -> None:
    first = ModelSpec(alias="a", runtime="r", runtime_options={"f": print, "g": {1, 2}})
    second = ModelSpec(alias="a", runtime="r", runtime_options={"g": {1, 2}, "f": print})
    assert first.digest() == second.digest()
