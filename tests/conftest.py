"""Fixtures for every folder of tests."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest
from pytest_django import Settings

from django_inference import predictors
from tests.hosts import Host, eventually, is_gone

#: Inherited by every process that the tests start, and by theirs.
MARK = "INFERENCE_TESTS"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz",
        type=int,
        default=int(os.environ.get("INFERENCE_FUZZ", "1")),
        metavar="TIMES",
        help="try so many times as many made-up inputs and frames (or set INFERENCE_FUZZ)",
    )
    parser.addoption(
        "--chaos",
        action="store_true",
        default=os.environ.get("INFERENCE_CHAOS", "") == "1",
        help="run tests/chaos at full length: minutes, not seconds (or set INFERENCE_CHAOS=1)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Without a deadline, since the machine that runs the tests may be busy with others.
    hypothesis.settings.register_profile(
        "tests",
        deadline=None,
        max_examples=100 * config.getoption("--fuzz"),
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Whatever the tests have started is gone when they end."""
    os.environ[MARK] = mark = uuid.uuid4().hex
    yield
    ours = {os.getpid(), os.getppid()}

    def left() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid not in ours and process.environ().get(MARK) == mark:
                    found.append(process)
        return [process for process in found if not is_gone(process)]

    try:
        eventually(lambda: not left(), 20.0)
    finally:
        for process in left():
            process.kill()


@pytest.fixture
def new_host() -> Iterator[Callable[..., Host]]:
    """Makes a model host of the test's own; its arguments are those of `HostSettings`."""
    made: list[Host] = []

    def make(**settings: object) -> Host:
        made.append(Host(**settings))
        return made[-1]

    yield make
    for host in made:
        host.clean_up()


@pytest.fixture
def host(new_host: Callable[..., Host]) -> Host:
    """A model host of the test's own, started by the first who calls it."""
    return new_host()


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    """A model host that the tests of one file share; they name their models differently."""
    host = Host()
    yield host
    host.clean_up()


@pytest.fixture
def django_host(settings: Settings, host: Host) -> Iterator[Host]:
    """The test's own model host, as the one that the Django settings name."""
    settings.INFERENCE_HOST = {
        "RUNTIME_DIR": host.settings.runtime_dir,
        "GRACEFUL_TIMEOUT": host.settings.graceful_timeout,
    }
    yield host
    predictors.reset()


@pytest.fixture(scope="session")
def onnx_mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model: y = relu(x @ w), x is float32 [n, 4], y is float32 [n, 2]."""
    onnx = pytest.importorskip("onnx")
    numpy = pytest.importorskip("numpy")
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy.array([[1, -1], [0.5, 2], [0, 1], [-1, 0.25]], dtype="float32")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = tmp_path_factory.mktemp("onnx") / "mlp.onnx"
    onnx.save(model, path)
    return path
