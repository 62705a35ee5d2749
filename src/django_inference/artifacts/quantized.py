"""What a quantised model says of itself, in its file."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from django_inference.artifacts.notes import LARGEST, read_note, write_note
from django_inference.specs import Golden

if TYPE_CHECKING:
    from django_inference.artifacts.files import Artifact

#: Share of a file, and bytes of a small one, that its golden answers may take.
GOLDEN_SHARE, GOLDEN_BYTES = 0.04, 512


class Quantized(msgspec.Struct, frozen=True, kw_only=True):
    """What was written when the model was quantised.

    Attributes:
        to: `int8` or `fp16`.
        needs: sets of instructions of which an x86 processor must have one, as Linux names
            them, for the answers to be right; empty: the model is portable.
        runtime: dotted path of what gave the golden answers.
        runtime_options: its keyword arguments, as far as answers depend on them.
        golden: what the model was accepted against.
    """

    to: str
    needs: tuple[str, ...] = ()
    runtime: str = ""
    runtime_options: dict[str, Any] = {}
    golden: tuple[Golden, ...] = ()


def read_quantized(artifact: Artifact) -> Quantized | None:
    """Return what the file of an artifact, or one in its folder, says; None where it is silent.

    Raises:
        OSError: a file cannot be read.
        ValueError: what it says cannot be read.
    """
    for file in artifact.files():
        note = read_note(file)
        if note is not None:
            try:
                return msgspec.msgpack.decode(_inflated(note), type=Quantized)
            except (zlib.error, msgspec.MsgspecError) as error:
                raise ValueError(
                    f"what {file} says of how it was quantised cannot be read ({error}). "
                    "Quantise the original again."
                ) from error
    return None


def write_quantized(file: Path, said: Quantized) -> int:
    """Write it into the file of a model, with as many of the golden answers as it may hold.

    Returns:
        How many of them.

    Raises:
        OSError: it cannot be written.
    """
    golden = _fitting(said.golden, file.stat().st_size)
    said = msgspec.structs.replace(said, golden=golden)
    write_note(file, zlib.compress(_encoder.encode(said), 9))
    return len(golden)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same once they have travelled."""
    return _encoder.encode(one) == _encoder.encode(other)


def _fitting(golden: Sequence[Golden], size: int) -> tuple[Golden, ...]:
    """Return as many as may be kept in a file of so many bytes, the shortest first."""
    room = min(max(GOLDEN_BYTES, int(GOLDEN_SHARE * size)), LARGEST // 2)
    kept = []
    for each in sorted(golden, key=lambda each: len(_encoder.encode(each))):
        room -= len(zlib.compress(_encoder.encode(each), 9))
        if room < 0:
            break
        kept.append(each)
    return tuple(kept)


def _inflated(note: bytes) -> bytes:
    reader = zlib.decompressobj()
    data = reader.decompress(note, LARGEST)
    if not reader.eof:
        raise zlib.error("it is too large, or cut off")
    return data


def _plain(value: Any) -> Any:
    """Lists for arrays, and texts for what no file can hold."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


_encoder = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_plain)
