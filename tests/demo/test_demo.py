from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SITE = Path(__file__).resolve().parents[2] / "examples" / "site"
DEMO = SITE / "demo.py"

pytestmark = [pytest.mark.heavy, pytest.mark.servers, pytest.mark.timeout(400)]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The demo makes its own folder in here; its sockets need a short path.
    return tmp_path_factory.mktemp("d")


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return {**environment, "TMPDIR": str(folder), "COLUMNS": "120"}


@pytest.fixture(autouse=True)
def nothing_is_left(folder: Path) -> Iterator[None]:
    yield
    left = [p for p in psutil.process_iter() if _belongs_to(p, folder)]
    for process in left:
        process.kill()
    assert [process.pid for process in left] == []
    assert list(folder.glob("demo-*")) == []


def test_the_demo_answers_rightly_and_leaves_no_process_behind(
    environment: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO), "--check"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "C4 (MIDI 60), E4 (MIDI 64), G4 (MIDI 67)" in done.stdout
    assert "Everything is as it should be." in done.stdout


def test_ctrl_c_while_the_models_are_loaded_leaves_no_process_behind(
    environment: dict[str, str],
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-u", str(DEMO)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    try:
        for line in demo.stdout:
            if "the models are loaded meanwhile" in line:
                break
        time.sleep(1.0)
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate(timeout=90)
    finally:
        demo.kill()

    assert demo.returncode == 0, rest
    assert "No process is left." in rest


def _belongs_to(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get("TMPDIR") == str(folder)
    except (psutil.Error, OSError):
        return False
