"""A note inside the file of a model, which goes wherever the file goes.

Files of ONNX and of safetensors have a place for texts of their own. PyTorch's are ZIP archives,
which take another member; and LiteRT's hold one behind the model, where TensorFlow Lite's
metadata library puts files as well.
"""

from __future__ import annotations

import base64
import json
import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from django_inference.artifacts.protobuf import delimited, fields

KEY = "django_inference"
#: Bytes of a note, at the most.
LARGEST = 16 << 20

#: `ModelProto.metadata_props`, a list of `StringStringEntryProto`.
_METADATA = 14


def read_note(file: Path) -> bytes | None:
    """Return the note in a file; None where there is none, or the file is no model.

    Raises:
        OSError: it cannot be read.
        ValueError: the note is larger than a note can be.
    """
    form = _FORMS.get(file.suffix)
    return None if form is None else form.read(file)


def write_note(file: Path, note: bytes) -> None:
    """Put a note into a file, in place of one that it has.

    Raises:
        OSError: it cannot be written.
        ValueError: there is no place for one in such a file.
    """
    if file.suffix not in _FORMS:
        raise ValueError(f"a file {file.suffix} has no place for a note.")
    _FORMS[file.suffix].write(file, note)


def _read_onnx(file: Path) -> bytes | None:
    with file.open("rb") as opened:
        # An empty file cannot be mapped.
        if not file.stat().st_size:
            return None
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                notes = [
                    _entry(data[each.value])
                    for each in fields(data)
                    if each.number == _METADATA and isinstance(each.value, slice)
                ]
            except ValueError:
                return None
    found = [value for key, value in notes if key == KEY.encode()]
    return _decoded(found[-1]) if found else None


def _write_onnx(file: Path, note: bytes) -> None:
    data = file.read_bytes()
    text = base64.b64encode(note)
    entry = delimited(1, KEY.encode()) + delimited(2, text)
    # Fields of one message may come in any order.
    kept = [
        data[each.starts : each.ends]
        for each in fields(data)
        if each.number != _METADATA
        or not isinstance(each.value, slice)
        or _entry(data[each.value])[0] != KEY.encode()
    ]
    file.write_bytes(b"".join([*kept, delimited(_METADATA, entry)]))


def _entry(data: bytes) -> tuple[bytes, bytes]:
    found = {
        each.number: data[each.value] for each in fields(data) if isinstance(each.value, slice)
    }
    return found.get(1, b""), found.get(2, b"")


def _read_safetensors(file: Path) -> bytes | None:
    with file.open("rb") as opened:
        try:
            (size,) = struct.unpack("<Q", opened.read(8))
            # As long as safetensors itself reads.
            header = json.loads(opened.read(size)) if size <= 100_000_000 else {}
            note = header.get("__metadata__", {}).get(KEY)
        except (ValueError, AttributeError, struct.error):
            return None
    return None if note is None else _decoded(note)


def _write_safetensors(file: Path, note: bytes) -> None:
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.setdefault("__metadata__", {})[KEY] = base64.b64encode(note).decode()
    text = json.dumps(header).encode()
    # The tensors begin at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def _read_zip(file: Path) -> bytes | None:
    if not zipfile.is_zipfile(file):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.NameToInfo.get(_member(archive))
            if info is None:
                return None
            _check(info.file_size)
            return archive.read(info)
    except zipfile.BadZipFile:
        return None


def _write_zip(file: Path, note: bytes) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(_member(archive), note)


def _member(archive: zipfile.ZipFile) -> str:
    """PyTorch has all in one folder, those of its users in `extra`."""
    folder, slash, _ = next(iter(archive.namelist()), "").partition("/")
    return f"{folder}/extra/{KEY}" if slash else KEY


def _decoded(note: bytes | str) -> bytes:
    _check(len(note) * 3 // 4)
    return base64.b64decode(note, validate=True)


def _check(size: int) -> None:
    if size > LARGEST:
        raise ValueError(f"the note {KEY!r} in the file has {size} bytes, and may have {LARGEST}.")


class _Form(NamedTuple):
    read: Callable[[Path], bytes | None]
    write: Callable[[Path, bytes], None]


_ZIP = _Form(_read_zip, _write_zip)
_FORMS = {
    ".onnx": _Form(_read_onnx, _write_onnx),
    ".safetensors": _Form(_read_safetensors, _write_safetensors),
    **dict.fromkeys((".tflite", ".torchscript", ".ts", ".pt", ".pth"), _ZIP),
}
