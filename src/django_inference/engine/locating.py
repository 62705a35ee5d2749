"""A model's files on this machine's disk, for who loads it in the same process."""

from __future__ import annotations

import time

from django_inference.artifacts.fetch import fetch
from django_inference.artifacts.home import Gone, Hold
from django_inference.artifacts.location import is_remote
from django_inference.artifacts.records import Copy, StoreSettings, localized
from django_inference.specs import ModelSpec, Progress

#: How often a copy is fetched that goes before it could be held.
ATTEMPTS = 3


class Locating:
    """Fetches what lies elsewhere, on the calling thread, and holds the copy.

    Args:
        spec: of the model.
        store: where copies go; None for a model on this disk.
    """

    def __init__(self, spec: ModelSpec, store: StoreSettings | None) -> None:
        self.is_remote = spec.artifact is not None and is_remote(spec.artifact)
        self.content = ""
        self.stage = "fetching" if self.is_remote else "loading"
        self._spec = spec
        self._store = store
        self._hold: Hold | None = None
        self._done = self._total = 0
        self._began = time.monotonic()

    @property
    def progress(self) -> Progress:
        """How far the load is."""
        seconds = time.monotonic() - self._began
        return Progress(stage=self.stage, done=self._done, total=self._total, seconds=seconds)

    def enter(self, stage: str) -> None:
        """Say what the load does now."""
        self.stage, self._began = stage, time.monotonic()
        self._done = self._total = 0

    def located(self) -> ModelSpec:
        """Return the same model, to be loaded from this disk.

        Raises:
            ArtifactError: it cannot be had.
            OSError: the disk is full, or cannot be written.
        """
        if not self.is_remote:
            return self._spec
        copy = self._held()
        self.content = copy.digest
        return localized(self._spec, copy)

    def close(self) -> None:
        """Let the copy be removed when room is needed."""
        if self._hold is not None:
            self._hold.close()

    def _held(self) -> Copy:
        assert self._spec.artifact is not None and self._store is not None
        for _ in range(ATTEMPTS):
            copy = fetch(
                self._spec.artifact, self._store, sha256=self._spec.sha256, told=self._tell
            )
            try:
                self._hold = copy.hold()
            except Gone:
                continue
            return copy
        raise FileNotFoundError(f"the copy of {self._spec.alias!r} was removed at once.")

    def _tell(self, done: int, total: int) -> None:
        self._done, self._total = done, total
