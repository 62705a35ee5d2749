from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


def installed(package: str, ending: str) -> Path:
    """The file of an installed package whose path ends so: where the real weights are."""
    for file in files(package) or ():
        if file.as_posix().endswith(ending):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{package} is installed without a file {ending}")


@pytest.fixture(scope="session")
def basic_pitch_onnx() -> Path:
    return installed("basic-pitch", "icassp_2022/nmp.onnx")


@pytest.fixture(scope="session")
def basic_pitch_saved_model() -> Path:
    return installed("basic-pitch", "icassp_2022/nmp/saved_model.pb").parent


@pytest.fixture(scope="session")
def basic_pitch_tflite() -> Path:
    return installed("basic-pitch", "icassp_2022/nmp.tflite")


@pytest.fixture(scope="session")
def magika_onnx() -> Path:
    return installed("magika", "standard_v3_3/model.onnx")


@pytest.fixture(scope="session")
def tone() -> Callable[[float], Any]:
    """A sine of that many hertz, as long and as sampled as basic-pitch takes it."""

    def sine(hertz: float) -> Any:
        seconds = np.arange(43844) / 22050
        return (0.5 * np.sin(2 * np.pi * hertz * seconds)).astype(np.float32)[:, None]

    return sine


@pytest.fixture(scope="session")
def midi() -> Callable[[Any], int]:
    """The key that sounds longest in one row of basic-pitch's output `note`."""
    return lambda note: 21 + int(note.mean(axis=0).argmax())


@pytest.fixture(scope="session")
def digits() -> SimpleNamespace:
    """Photographed digits: 1,000 to train with, the rest to test with."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return SimpleNamespace(x=x[:1000], y=y[:1000], test_x=x[1000:], test_y=y[1000:])


@pytest.fixture(scope="session")
def classifier(digits: SimpleNamespace) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(digits.x, digits.y)


@pytest.fixture
def in_new_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program in a fresh interpreter; `env` replaces its environment."""

    def run(
        program: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run
