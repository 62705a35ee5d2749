from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from django_inference.artifacts import Artifact
from django_inference.artifacts.records import StoreSettings
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.specs import EngineOptions
from tests.hosts import Host, eventually


@pytest.fixture
def store(tmp_path: Path) -> StoreSettings:
    return StoreSettings(str(tmp_path / "artifacts"))


def loaded(path: Path, store: StoreSettings | None, *, share: bool, **options: Any) -> OnnxRuntime:
    runtime = OnnxRuntime(**options)
    runtime.share_weights = share
    runtime.load(Artifact(path, store=store))
    return runtime


def mapped(pid: int) -> list[str]:
    """The files of weights that a process has mapped."""
    return [
        each.path for each in psutil.Process(pid).memory_maps() if each.path.endswith("weights.bin")
    ]


def test_the_answers_are_the_same(
    basic_pitch_onnx: Path, tone: Callable[[float], Any], store: StoreSettings
) -> None:
    own = loaded(basic_pitch_onnx, store, share=False)
    shared = loaded(basic_pitch_onnx, store, share=True)
    assert shared.signature == own.signature
    assert (shared.device, shared.framework) == (own.device, own.framework)
    assert own.signature is not None
    inputs = {own.signature.inputs[0].name: np.stack([tone(440.0), tone(262.0)])}
    expected, found = own.predict(inputs), shared.predict(inputs)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        # Another order of the sums in the convolutions.
        assert np.abs(found[name] - tensor).max() < 2e-3


def test_the_weights_are_mapped_from_one_file_as_long_as_they_are_used(
    magika_onnx: Path, store: StoreSettings
) -> None:
    before = mapped(os.getpid())
    first = loaded(magika_onnx, store, share=True)
    second = loaded(magika_onnx, store, share=True)
    now = mapped(os.getpid())
    assert len(now) > len(before)
    assert len({path for path in now if path not in before}) == 1
    first.close()
    second.close()
    assert mapped(os.getpid()) == before


def test_another_file_in_the_same_place_is_another_model(
    basic_pitch_onnx: Path, magika_onnx: Path, tmp_path: Path, store: StoreSettings
) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(basic_pitch_onnx, path)
    before = loaded(path, store, share=True).signature
    shutil.copy(magika_onnx, path)
    after = loaded(path, store, share=True).signature
    assert before != after == loaded(magika_onnx, store, share=False).signature


def test_what_cannot_be_shared_is_said(
    magika_onnx: Path, tmp_path: Path, store: StoreSettings
) -> None:
    with pytest.raises(ValueError, match="CPUExecutionProvider alone, not for .*CUDA"):
        loaded(magika_onnx, store, share=True, providers=["CUDAExecutionProvider"])
    other = tmp_path / "model.ort"
    shutil.copy(magika_onnx, other)
    with pytest.raises(ValueError, match="share_weights needs an .onnx file"):
        loaded(other, store, share=True)
    with pytest.raises(ValueError, match="no folder for what is made of"):
        loaded(magika_onnx, None, share=True)


def test_a_copy_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, store: StoreSettings
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(Exception, match="INVALID_PROTOBUF|Protobuf"):
        loaded(path, store, share=True)
    assert list(Path(store.folder, "derived").iterdir()) == []


def test_replicas_in_the_host_map_one_file(host: Host, magika_onnx: Path) -> None:
    spec = host.spec(
        runtime="django_inference.runtimes.onnx.OnnxRuntime",
        artifact=magika_onnx,
        replicas=2,
        options=EngineOptions(share_weights=True),
    )
    eventually(lambda: len(host.declare(spec).sockets) == 2)
    status = host.status()
    assert status is not None
    files = [set(mapped(replica.pid)) for replica in status.replicas]
    assert files[0] == files[1]
    assert len(files[0]) == 1
    assert [replica.weights for replica in status.replicas] == ["shared", "shared"]


@pytest.mark.parametrize(("share", "said"), [(True, "own"), (False, "")])
def test_who_cannot_share_says_so(host: Host, share: bool, said: str) -> None:
    spec = host.spec(options=EngineOptions(share_weights=share))
    host.client(spec).one("hello")
    status = host.status()
    assert status is not None
    assert status.replicas[0].weights == said
