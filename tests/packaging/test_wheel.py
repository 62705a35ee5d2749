"""The built wheel, installed where nothing else is, serves a model."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]

SETTINGS = """
SECRET_KEY = "only for this test"
INSTALLED_APPS = ["django_inference"]
MIDDLEWARE = ["django_inference.middleware.InferenceMiddleware"]
INFERENCE = {"default": {"MODEL": "mlp.onnx"}}
INFERENCE_HOST = {"RUNTIME_DIR": "run", "LINGER": 60}
"""

PREDICT = """
import django, sys
django.setup()
from django_inference import predictor
result = predictor.predict({"x": [[1.0, 2.0, 3.0, 4.0]]}, timeout=60)
print(result["y"].shape, "onnxruntime" in sys.modules)
"""


def run(python: Path, *arguments: str, cwd: Path) -> str:
    # Nothing of the checkout may help: no PYTHONPATH, no settings, no coverage of it.
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "site_settings"}
    for name, value in os.environ.items():
        if name.startswith(("PIP_", "SSL_")) or name == "HOME":
            environment[name] = value
    done = subprocess.run(
        [str(python), *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    constraints = ROOT / "requirements" / "constraints.txt"
    pip = ("-m", "pip", "install", "--quiet", "--constraint", str(constraints))
    run(interpreter, *pip, f"{wheel}[onnx]", cwd=folder)
    return interpreter


@pytest.fixture
def site(tmp_path: Path, python: Path, onnx_mlp: Path) -> Iterator[Path]:
    shutil.copy(onnx_mlp, tmp_path)
    (tmp_path / "site_settings.py").write_text(SETTINGS)
    yield tmp_path
    run(python, "-m", "django", "inference_host", "--stop", "--pythonpath", ".", cwd=tmp_path)


def test_the_wheel_holds_the_package_and_its_type_marker(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "django_inference/py.typed" in names
    assert "django_inference/management/commands/inference.py" in names
    assert not [name for name in names if not name.startswith("django_inference")]


def test_five_lines_of_settings_serve_a_model(python: Path, site: Path) -> None:
    check = run(python, "-m", "django", "check", "--pythonpath", ".", cwd=site)
    assert "no issues" in check
    program = f"import sys; sys.path.insert(0, '.')\n{PREDICT}"
    assert run(python, "-c", program, cwd=site).split() == ["(1,", "2)", "False"]
    status = run(python, "-m", "django", "inference", "--pythonpath", ".", "status", cwd=site)
    assert "READY" in status
