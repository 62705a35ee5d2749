"""What every checkpoint needs: nobody else writes it, and one version of a model has made it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from django_inference.exceptions import CheckpointError


class Held:
    """The right to write a file, for one process; let go of when that ends, however it does.

    Args:
        path: of the file. The lock lies beside it.

    Raises:
        CheckpointError: another run has it.
        FileNotFoundError: there is no folder for it.
    """

    def __init__(self, path: Path) -> None:
        # The lock would make one, however the name is misspelt.
        path.parent.stat()
        # Whoever closes a generator may be another thread than the one that began it.
        self._lock = FileLock(f"{path}.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise CheckpointError(f"{path} is in use by another run.") from None

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()


class Pinned:
    """The version of a model at the beginning of a run, which has to answer to its end.

    A backend that does not know who answers, as during a trial of a new version, is not held
    to anything.

    Args:
        backend: that predicts; not one with a fallback, which answers for another model.

    Raises:
        InferenceError: the model cannot be loaded.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        # Some know their version only once it is here.
        backend.signature(backend.deadline(None))
        self._serving = self._now()
        version = "" if self._serving is None else self._serving.version
        self.about = {"predictor": backend.alias, "version": version}

    def compare(self, said: dict[str, Any], path: Path) -> None:
        """Go on with a file only if the same model has made it.

        Raises:
            CheckpointError: another one has.
        """
        for key, mine in self.about.items():
            theirs = said.get(key, "")
            if mine != theirs and mine and theirs:
                raise CheckpointError(
                    f"{path} is of the {key} {theirs!r}, and this is {mine!r}. "
                    "Remove the file to begin anew."
                )

    def check(self, path: Path) -> None:
        """Look whether the same version answers still.

        Raises:
            CheckpointError: another one does.
        """
        if self._serving is None or self._serving.still():
            return
        self._serving = self._now()
        if self._serving is not None and self._serving.version != self.about["version"]:
            raise CheckpointError(
                f"{path} is of the version {self.about['version']!r}, and "
                f"{self._serving.version!r} answers since. Remove the file to begin anew."
            )

    def _now(self) -> Any:
        return self._backend.serving(self._backend.deadline(None))


def written(path: Path, content: bytes) -> None:
    """Put a file on the disk, or another one in its place: all of it or nothing.

    Raises:
        OSError: it cannot be written.
    """
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
