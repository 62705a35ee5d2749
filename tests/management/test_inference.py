from __future__ import annotations

import io
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from django_inference import predictors
from tests.hosts import Host, eventually

ROW = [1.0, 2.0, 3.0, 4.0]
ANSWER = [[0.0, 7.0]]


@pytest.fixture
def mlp(settings: Settings, django_host: Host, onnx_mlp: Path, tmp_path: Path) -> Path:
    """A predictor `mlp` on the test's own host; its file may be spoilt."""
    path = Path(shutil.copy(onnx_mlp, tmp_path / "mlp.onnx"))
    settings.INFERENCE = {"mlp": {"MODEL": path, "OPTIONS": {"timeout": 30}}}
    return path


def inference(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("inference", *map(str, arguments), stdout=out)
    return out.getvalue()


def pids() -> list[int]:
    return [replica.pid for replica in predictors["mlp"].status().replicas]


@pytest.mark.usefixtures("mlp")
def test_status_starts_nothing_and_fails_until_everything_is_ready(django_host: Host) -> None:
    with pytest.raises(SystemExit) as caught:
        inference("status")
    assert caught.value.code == 1
    assert not django_host.folder.socket.exists()


@pytest.mark.usefixtures("mlp")
def test_load_waits_until_the_model_is_ready_and_status_shows_it() -> None:
    table = inference("load")
    assert "READY" in table
    (pid,) = pids()
    assert str(pid) in table
    assert inference("status").splitlines()[0].split()[:4] == [
        "predictor",
        "state",
        "version",
        "pid",
    ]
    (status,) = json.loads(inference("status", "--format", "json"))
    assert (status["alias"], status["state"]) == ("mlp", "READY")
    assert status["replicas"][0]["pid"] == pid
    assert status["signature"]["inputs"][0] == {"name": "x", "dtype": "float32", "shape": [-1, 4]}


@pytest.mark.usefixtures("mlp")
def test_load_without_waiting_returns_at_once() -> None:
    assert inference("load", "mlp", "--no-wait") == ""
    eventually(lambda: predictors["mlp"].status().state == "READY")


def test_a_load_that_fails_names_the_predictor_and_shows_why(mlp: Path) -> None:
    mlp.write_bytes(b"this is no model")
    out = io.StringIO()
    with pytest.raises(CommandError, match="not ready: mlp"):
        call_command("inference", "load", stdout=out)
    assert "FAILED (again in" in out.getvalue()
    assert "mlp: " in out.getvalue()
    with pytest.raises(SystemExit):
        inference("status")


def test_a_load_does_what_it_can_and_names_the_rest(
    mlp: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    settings.INFERENCE |= {
        "broken": {"MODEL": tmp_path / "broken.onnx"},
        "wrong": {"MODEL": mlp, "RUNTIM": "onnx"},
    }
    out = io.StringIO()
    began = time.monotonic()
    with pytest.raises(CommandError) as caught:
        call_command(
            *("inference", "load", "mpl", "wrong", "broken", "mlp"),
            skip_checks=False,
            stdout=out,
            stderr=(err := io.StringIO()),
        )
    assert "E003" in err.getvalue()
    said = str(caught.value)
    assert "'mpl'" in said and "'mlp'" in said
    assert "'wrong'" in said and "RUNTIME" in said
    assert said.endswith("not ready: broken")
    states = {line.split()[0]: line.split()[1] for line in out.getvalue().splitlines()[1:3]}
    assert states == {"broken": "FAILED", "mlp": "READY"}
    # Not as long as the attempts go on.
    assert time.monotonic() - began < 60
    mlp.replace(tmp_path / "broken.onnx")
    assert "READY" in inference("load", "broken")


def test_a_run_with_zeros_that_fails_is_no_failed_load(
    settings: Settings, django_host: Host, tmp_path: Path
) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (int64[n, 1] x) => (float[n, 1] y) <int64 first = {1000}, float[3] table = {1, 2, 3}> {
        place = Sub(x, first)
        y = Gather(table, place)
    }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "looks-up.onnx")
    settings.INFERENCE = {"looks-up": {"MODEL": tmp_path / "looks-up.onnx"}}
    said = inference("load")
    assert "READY" in said
    # The zeros are what is wrong, not the model.
    assert "looks-up: " not in said


@pytest.mark.usefixtures("mlp")
def test_reload_puts_another_process_in_the_place_of_the_first() -> None:
    inference("load")
    before = pids()
    inference("reload", "mlp")
    assert pids() != before
    (status,) = json.loads(inference("status", "--format", "json"))
    assert (status["state"], status["next_version"]) == ("READY", "")


def test_a_reload_that_fails_says_so_and_leaves_the_model_in_place(mlp: Path) -> None:
    inference("load")
    before = pids()
    mlp.write_bytes(b"this is no model")
    with pytest.raises(CommandError, match="not ready: mlp"):
        inference("reload")
    assert pids() == before
    assert predictors["mlp"].predict({"x": [ROW]})["y"].tolist() == ANSWER


@pytest.mark.usefixtures("mlp")
def test_unload_ends_the_process_and_the_next_call_loads_again() -> None:
    inference("load")
    inference("unload", "mlp")
    assert predictors["mlp"].status().state == "UNLOADED"
    assert predictors["mlp"].predict({"x": [ROW]})["y"].tolist() == ANSWER


@pytest.mark.usefixtures("mlp")
def test_predict_reads_json_numpy_and_the_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named.json").write_text(json.dumps({"x": [ROW]}))
    (tmp_path / "items.json").write_text(json.dumps([ROW, ROW]))
    np.save(tmp_path / "one.npy", np.array([ROW], dtype="float32"))
    np.savez(tmp_path / "named.npz", x=np.array([ROW], dtype="float32"))
    for name in ("named.json", "one.npy", "named.npz"):
        assert json.loads(inference("predict", "mlp", "--input", tmp_path / name)) == {"y": ANSWER}
    items = json.loads(inference("predict", "mlp", "--input", tmp_path / "items.json"))
    assert items == [{"y": ANSWER[0]}] * 2
    stdin = io.TextIOWrapper(io.BytesIO(json.dumps({"x": [ROW]}).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert json.loads(inference("predict", "mlp", "--input", "-")) == {"y": ANSWER}


def test_any_other_file_is_one_item_of_bytes(
    settings: Settings, django_host: Host, tmp_path: Path
) -> None:
    settings.INFERENCE = {
        "length": {"RUNTIME": "tests.sample_runtimes.lengths", "OPTIONS": {"timeout": 30}}
    }
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert json.loads(inference("predict", "length", "--input", tmp_path / "photo.jpg")) == [3]


@pytest.mark.usefixtures("mlp")
@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (None, "absent.json", "No such file"),
        (b"{", "broken.json", "Expecting property name"),
        (b"7", "number.json", "expected an object of named tensors or an array of items"),
        (b"not numpy", "broken.npy", "broken.npy"),
        (b'{"z": [[1]]}', "wrong.json", "the inputs are x float32"),
    ],
)
def test_an_input_that_cannot_be_used_is_named(
    content: bytes | None, name: str, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError) as caught:
        inference("predict", "mlp", "--input", tmp_path / name)
    assert said in str(caught.value)


@pytest.mark.usefixtures("mlp")
def test_an_unknown_predictor_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(CommandError, match="Did you mean 'mlp'"):
        inference("status", "mpl")
