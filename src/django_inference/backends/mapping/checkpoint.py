"""What a long run has done so far, on disk: whoever is interrupted goes on from there.

A file of frames, each with its length and a checksum. The first one says whose results these are;
each of the others holds the results of one batch, and is on the disk before the next batch is
handed out. A frame that was cut off by a crash is dropped.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django_inference.backends.mapping.batches import Batch, Predicts
from django_inference.backends.mapping.pinned import Held, Pinned, written
from django_inference.exceptions import CheckpointError
from django_inference.packing import digest_of, pack, unpack

#: Of a frame: the number of its batch plus one, or 0 for the first frame; bytes; their checksum.
_HEAD = struct.Struct(">QQI")
_FORMAT = 1
#: Bytes that are read at a time while the checksums are looked at.
_PIECE = 1 << 20


class Place(NamedTuple):
    """Where a frame lies."""

    number: int
    start: int
    size: int


class Checkpoint:
    """The results of one run of `map`.

    Args:
        path: of the file; made where there is none.
        backend: that predicts.

    Attributes:
        size: items of a batch, as the run began.

    Raises:
        CheckpointError: the file is something else, of another model, or in use.
        InferenceError: the model cannot be loaded.
    """

    def __init__(self, path: str | os.PathLike[str], backend: Predicts) -> None:
        self._path = Path(path).absolute()
        self._guard = threading.Lock()
        self._held = Held(self._path)
        with contextlib.ExitStack() as undo:
            undo.callback(self._held.release)
            self._pinned = Pinned(backend)
            if not self._path.exists():
                about = self._pinned.about | {"format": _FORMAT}
                written(self._path, _frame(0, about | {"size": backend.options.max_batch_size}))
            self._file = undo.enter_context(self._path.open("r+b", buffering=0))
            self.size = self._header()
            #: By the number of a batch, where its newest frame begins; 0 where it has none.
            self._starts = array("Q")
            self._index()
            undo.pop_all()

    def recall(self, batch: Batch) -> None:
        """Give a batch the results that are known.

        Raises:
            CheckpointError: they are of other items.
        """
        start = self._starts[batch.number] if batch.number < len(self._starts) else 0
        if not start:
            return
        count, digest, places, results = self._read(start)
        # The list may have grown since; it may not have become another one.
        items = batch.items[:count]
        if len(items) < count or digest_of(items) != digest:
            first = batch.number * self.size
            raise CheckpointError(
                f"{self._path} is of other items: those from {first} to {first + count - 1} "
                "have changed, or come in another order. Remove the file to begin anew."
            )
        batch.results.update(zip(places, results, strict=True))
        batch.recalled = len(batch.results)

    def keep(self, batch: Batch) -> None:
        """Write the results of a batch, unless they were read from here.

        They become what a later run will read, whichever types the model has used.

        Raises:
            CheckpointError: another version of the model has made them, or they cannot be kept.
            OSError: they cannot be written.
        """
        if len(batch.results) == batch.recalled:
            return
        self._pinned.check(self._path)
        places = sorted(batch.results)
        results = [batch.results[place] for place in places]
        record = (len(batch.items), digest_of(batch.items), places, results)
        try:
            frame = _frame(batch.number + 1, record)
        except (TypeError, OverflowError) as error:
            raise CheckpointError(f"{self._path}: the results cannot be kept: {error}") from error
        batch.results = dict(zip(places, unpack(frame[_HEAD.size :])[3], strict=True))
        with self._guard:
            if self._file.closed:
                return
            start = self._file.seek(0, os.SEEK_END)
            view = memoryview(frame)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
            self._note(batch.number, start)

    def close(self) -> None:
        """Let others have the file."""
        with self._guard:
            self._file.close()
        self._held.release()

    def _header(self) -> int:
        """Items of a batch, if the file is of this model."""
        first = next(self._frames(), None)
        try:
            said = self._read(0) if first is not None and first.number == 0 else None
        except ValueError:
            said = None
        if not isinstance(said, dict) or said.get("format") != _FORMAT:
            raise CheckpointError(f"{self._path} is no checkpoint of map().")
        self._pinned.compare(said, self._path)
        return int(said["size"])

    def _index(self) -> None:
        end = 0
        for place in self._frames():
            end = place.start + _HEAD.size + place.size
            if place.number:
                self._note(place.number - 1, place.start)
        # What follows was being written when the last run was cut off.
        self._file.truncate(end)

    def _note(self, number: int, start: int) -> None:
        if number >= len(self._starts):
            self._starts.extend([0] * (number + 1 - len(self._starts)))
        self._starts[number] = start

    def _frames(self) -> Iterator[Place]:
        """The frames that are whole."""
        start, end = 0, os.fstat(self._file.fileno()).st_size
        while start + _HEAD.size <= end:
            self._file.seek(start)
            number, size, checksum = _HEAD.unpack(self._file.read(_HEAD.size))
            if start + _HEAD.size + size > end:
                return
            found, left = _checksum(number, b""), size
            while left:
                piece = self._file.read(min(left, _PIECE))
                found, left = zlib.crc32(piece, found), left - len(piece)
            if found != checksum:
                return
            yield Place(number, start, size)
            start += _HEAD.size + size

    def _read(self, start: int) -> Any:
        fd = self._file.fileno()
        _, size, _ = _HEAD.unpack(os.pread(fd, _HEAD.size, start))
        return unpack(os.pread(fd, size, start + _HEAD.size))


def _frame(number: int, content: Any) -> bytes:
    packed = pack(content)
    return _HEAD.pack(number, len(packed), _checksum(number, packed)) + packed


def _checksum(number: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(number.to_bytes(8, "big")))
