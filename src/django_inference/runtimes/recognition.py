"""What a file is by its content, where that is not what its predictor needs.

Nothing here imports a framework: `manage.py check` asks as well as every load.
"""

from __future__ import annotations

import itertools
import os
import re
import zipfile
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

#: Bytes that are looked at.
_HEAD = 1024
#: The names of a file that a pickle of ultralytics mentions come early in it.
_PICKLE_HEAD = 64 * 1024
#: Files of a folder that are looked at.
_MOST_FILES = 200
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.I | re.S)
_XML = re.compile(rb"\s*<\?xml\b.*<(Error|Code)\b", re.S)
#: `ir_version` and `producer_name`, the first two fields that every exporter writes.
_ONNX = re.compile(rb"\x08[\x03-\x14]\x12")


class Kind(NamedTuple):
    """A format, and the runtimes that read it.

    Attributes:
        name: of the format.
        runtimes: short names.
        advice: what to do; the first of `runtimes` when left out.
    """

    name: str
    runtimes: tuple[str, ...]
    advice: str = ""


_ULTRALYTICS = Kind(
    "a model of the package ultralytics",
    ("ultralytics",),
    "set RUNTIME to 'ultralytics', or export it to ONNX and set RUNTIME to 'yolo'",
)
_KERAS = Kind("a model of Keras", ("tensorflow",))


def mistaken(path: str | os.PathLike[str], runtime: str, known: Container[str]) -> str:
    """What is wrong with an artifact, so far as its first bytes tell.

    Args:
        path: a file, or a folder with the files of one model.
        runtime: short name of the runtime that is to load it; empty for code of the user's,
            which may read any format.
        known: the short names of all runtimes.

    Returns:
        A sentence, or nothing where nothing is wrong or known.
    """
    path = Path(path)
    is_built_in = runtime not in ("", "callable")
    try:
        if path.is_dir():
            # A folder for code of the user's may be any, however large.
            return _pointer_in(path) if is_built_in else ""
        head = _head(path)
    except OSError:
        return ""
    if why := _pointer(head) or (_no_model(head) if is_built_in else ""):
        return f"{path} {why}"
    kind = _kind(path, head) if is_built_in else None
    if kind is None or runtime in kind.runtimes:
        return ""
    right = next((name for name in kind.runtimes if name in known), "")
    advice = f"set RUNTIME to {right!r}" if right else "no runtime of this package reads it"
    return f"{path} is {kind.name}: {kind.advice or advice}."


def _pointer(head: bytes) -> str:
    if head.startswith(_LFS):
        return "is a Git LFS pointer, not the file it stands for: run `git lfs pull`."
    if b"/annex/objects/" in head[:200]:
        return "is a pointer of git-annex, not the file it stands for: run `git annex get`."
    return ""


def _no_model(head: bytes) -> str:
    if not head:
        return "is empty: copy or download the model again."
    if _PAGE.match(head):
        return "is a web page (HTML), not a model: download the file that the page links to."
    if _XML.match(head):
        return "is an error message of a file server (XML), not a model: download it again."
    return ""


def _pointer_in(folder: Path) -> str:
    for file in itertools.islice(_files(folder), _MOST_FILES):
        try:
            head = _head(file) if file.stat().st_size < _HEAD else b""
        except OSError:
            continue
        if why := _pointer(head):
            return f"{file} {why}"
    return ""


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder, and of the folders in it, such as `variables/`."""
    for pattern in ("*", "*/*"):
        yield from (path for path in folder.glob(pattern) if path.is_file())


def _kind(path: Path, head: bytes) -> Kind | None:
    if head[4:8] == b"TFL3":
        return Kind("a model of TensorFlow Lite", ("litert",))
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Kind("an HDF5 file, as Keras writes them", ("tensorflow", "tensorflow1"))
    if head.startswith(b"GGUF"):
        return Kind("a GGUF file, as llama.cpp reads them", ())
    if head.startswith(b"CBM1"):
        return Kind("a model of CatBoost", ("catboost",))
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if _ONNX.match(head):
        return Kind("an ONNX model", ("onnx", "yolo", "ultralytics"))
    return None


def _kind_of_archive(path: Path) -> Kind | None:
    try:
        with zipfile.ZipFile(path) as archive:
            by_end = {name.rpartition("/")[2]: name for name in archive.namelist()}
            if "model.weights.h5" in by_end:
                return _KERAS
            if "constants.pkl" in by_end:
                return Kind("a TorchScript archive", ("torch",))
            if "schema.json" in by_end:
                return Kind("a file of skops", ("sklearn",))
            if "data.pkl" not in by_end:
                return None
            with archive.open(by_end["data.pkl"]) as pickled:
                is_of_ultralytics = b"ultralytics" in pickled.read(_PICKLE_HEAD)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return None
    return _ULTRALYTICS if is_of_ultralytics else Kind("a file of torch.save()", ("torch",))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
