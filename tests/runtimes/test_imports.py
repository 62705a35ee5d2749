"""A runtime's module is imported by web processes, which must stay small."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from django_inference import runtimes

PROGRAM = """
import sys
from importlib import import_module

import_module(sys.argv[1])
heavy = {
    "PIL", "ai_edge_litert", "cv2", "django", "h5py", "joblib", "keras", "lightgbm", "numpy",
    "onnxruntime", "pandas", "safetensors", "sklearn", "skops", "tensorflow", "tf_keras", "torch",
    "ultralytics", "xgboost",
}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "module",
    [
        "django_inference.runtimes",
        "django_inference.runtimes.base",
        "django_inference.runtimes.loading",
        *(dotted.rpartition(".")[0] for dotted in runtimes.BUILT_IN.values()),
    ],
)
def test_importing_a_runtime_imports_no_framework(
    module: str, in_new_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = in_new_process(PROGRAM, module)
    assert done.stdout == "[]\n", done.stderr


def test_choosing_a_runtime_by_its_artifact_imports_no_framework(
    in_new_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    program = PROGRAM.replace(
        "import_module(sys.argv[1])",
        "import_module('django_inference.runtimes').resolve(None, sys.argv[1])",
    )
    assert program != PROGRAM
    done = in_new_process(program, "/models/churn.skops")
    assert done.stdout == "[]\n", done.stderr
