"""What the processes of the host import, seen from inside a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: A supervisor that imported one of these would hold its memory for nothing.
HEAVY = ("django", "tensorflow", "torch", "onnxruntime", "sklearn", "grpc", "celery", "rich")


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("django_inference.host.__main__", (*HEAVY, "numpy")),
        ("django_inference.host.worker", (*HEAVY, "asyncio", "filelock")),
        ("django_inference.host.client", HEAVY),
        ("django_inference.engine.thread", HEAVY),
        ("django_inference.host.control", (*HEAVY, "numpy")),
    ],
)
def test_the_host_imports_no_django_and_no_framework(
    module: str, unwanted: tuple[str, ...]
) -> None:
    program = (
        f"import sys, {module}\n"
        f"print(*sorted({set(unwanted)!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []
