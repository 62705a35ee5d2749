"""What the runtimes share: finding what to load, on how many cores, and what was not found."""

from __future__ import annotations

import os
from errno import ENOENT
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact


def import_object(dotted: str) -> Any:
    """Import what a dotted path names: `package.module.name`.

    Raises:
        ImportError: it cannot be imported, whatever the reason; the cause is kept.
    """
    module, _, name = dotted.rpartition(".")
    if not module:
        raise ImportError(f"{dotted!r} is no dotted path such as 'package.module.name'.")
    try:
        found = import_module(module)
    except Exception as error:
        raise ImportError(
            f"{dotted} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise ImportError(f"{dotted} cannot be imported: {error}") from error


def required(artifact: Artifact | None) -> Artifact:
    """Return the artifact.

    Raises:
        ValueError: there is none.
    """
    if artifact is None:
        raise ValueError("this runtime loads files, so MODEL must name them.")
    return artifact


def model_file(artifact: Artifact, suffixes: tuple[str, ...]) -> Path:
    """Return the file to load: the artifact itself, or the one in its folder that fits.

    A folder is taken so that files beside the model, such as ONNX's external data, count
    in the artifact's digest.

    Raises:
        FileNotFoundError: there is no artifact.
        ValueError: the folder holds no file with one of the suffixes, or several.
    """
    if not artifact.path.exists():
        raise FileNotFoundError(ENOENT, "there is no such file or folder", str(artifact))
    if not artifact.path.is_dir():
        return artifact.path
    found = sorted(file for file in artifact.path.iterdir() if file.name.endswith(suffixes))
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    raise ValueError(
        f"the folder {artifact} must hold one file that ends in {', '.join(suffixes)}; "
        f"it holds {names}."
    )


def usable_cores() -> int:
    """The number of cores that this process may use."""
    # What the model host, or the user, gives each process of several.
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given):
        return int(given)
    # macOS and Windows cannot bind a process to cores.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
