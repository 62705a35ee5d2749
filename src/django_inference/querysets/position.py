"""How far a table has been filled, on disk: whoever is interrupted goes on from there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django_inference.backends.base import BaseBackend
from django_inference.backends.mapping.pinned import Held, Pinned, written
from django_inference.exceptions import CheckpointError

_FORMAT = "django-inference queryset 1"


class Position:
    """The last row that is done.

    Args:
        path: of the file.
        backend: that predicts.
        about: what else a file has to agree with.

    Attributes:
        last: the primary key of that row, as text; None before the first one.
        rows: that have been written.
        failed: that could not be predicted, read or written.

    Raises:
        CheckpointError: the file is something else, of another model, or in use.
        InferenceError: the model cannot be loaded.
    """

    def __init__(
        self, path: str | os.PathLike[str], backend: BaseBackend, about: dict[str, str]
    ) -> None:
        self._path = Path(path).absolute()
        self.last: str | None = None
        self.rows = self.failed = 0
        self._held = Held(self._path)
        try:
            self._pinned = Pinned(backend)
            self._pinned.about |= about
            if self._path.exists():
                self._read()
        except BaseException:
            self._held.release()
            raise

    def check(self) -> None:
        """Look whether the same version of the model answers still.

        Raises:
            CheckpointError: another one does.
        """
        self._pinned.check(self._path)

    def move(self, last: str, rows: int, failed: int) -> None:
        """Remember the last row of a batch that has been committed."""
        self.last, self.rows, self.failed = last, rows, failed
        content = {
            "format": _FORMAT,
            **self._pinned.about,
            "last": last,
            "rows": rows,
            "failed": failed,
        }
        written(self._path, json.dumps(content, indent=1).encode())

    def close(self) -> None:
        """Let others have the file."""
        self._held.release()

    def _read(self) -> None:
        try:
            said: Any = json.loads(self._path.read_bytes())
            is_ours = said["format"] == _FORMAT
        except (ValueError, TypeError, KeyError):
            is_ours = False
        if not is_ours:
            raise CheckpointError(f"{self._path} is no checkpoint of predict_queryset().")
        self._pinned.compare(said, self._path)
        self.last, self.rows, self.failed = said["last"], said["rows"], said["failed"]
