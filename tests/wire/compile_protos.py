"""`make protos`: compile the `.proto` files of the package.

There are two results beside them: `descriptors.binpb`, which the package reads, and one `.pyi`
a file, which mypy reads.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"
PROTOS = SOURCES / "django_inference" / "wire" / "protos"
DESCRIPTORS = "descriptors.binpb"


def compile_into(folder: Path) -> list[Path]:
    """Write what the compiler makes into a folder; return the files."""
    names = sorted(str(path.relative_to(SOURCES)) for path in PROTOS.glob("*.proto"))
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={SOURCES}"),
            *("--include_imports", f"--descriptor_set_out={folder / DESCRIPTORS}"),
            f"--pyi_out={folder}",
            *names,
        ],
        cwd=SOURCES,
        check=True,
    )
    return [folder / DESCRIPTORS, *sorted(folder.rglob("*.pyi"))]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for path in compile_into(Path(made)):
            shutil.copyfile(path, PROTOS / path.name)
