"""The inputs and the result of a job: in its row where they are short, else in a file.

Each is in one of three places. JSON, for people to read in the database, where the value comes
back from it exactly as it was; else packed bytes; and a file of a Django storage, with the same
bytes, where these are longer than `INLINE_LIMIT`. A queue carries none of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import secrets
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages
from django.utils import timezone

from django_inference.conf import jobs_settings

if TYPE_CHECKING:
    from django_inference.jobs.models import Job

logger = logging.getLogger("django_inference.jobs")

Role: TypeAlias = Literal["inputs", "result"]
INPUTS: Role = "inputs"
RESULT: Role = "result"

#: The folder in the storage; below it one for each day.
FOLDER = "inference_jobs"


class Payload(NamedTuple):
    """Where a value is: one of the three."""

    json: str | None = None
    packed: bytes | None = None
    file: str = ""

    def columns(self, role: Role) -> dict[str, Any]:
        """As the row holds it."""
        return {f"{role}_{name}": value for name, value in self._asdict().items()}

    def remove(self) -> None:
        """Take back a file that no row will name."""
        if self.file:
            remove_file(self.file)


def keep(value: Any, job_id: uuid.UUID) -> Payload:
    """Put a value where it belongs.

    Raises:
        TypeError: a value in it is of a type that cannot travel.
        OverflowError: an integer in it needs more than 64 bits.
        RecursionError: it contains itself.
        OSError: the storage does not take it.
    """
    limit = jobs_settings().inline_limit
    text = _as_json(value, limit)
    if text is not None:
        return Payload(json=text)
    # Not at the top: it needs numpy, which a web worker is spared that submits plain values.
    from django_inference.packing import pack

    packed = pack(value)
    if len(packed) <= limit:
        return Payload(packed=packed)
    # Nobody guesses the name, should the storage be one that the web server shows.
    day, secret = timezone.now().strftime("%Y-%m-%d"), secrets.token_hex(32)
    name = f"{FOLDER}/{day}/{job_id.hex}-{secret}"
    with _told():
        return Payload(file=file_storage().save(name, ContentFile(packed)))


def load(job: Job, role: Role) -> Any:
    """The value that `keep` was given; arrays are the caller's own.

    Raises:
        OSError: its file cannot be read.
        ValueError: what was kept is something else.
    """
    text: str | None = getattr(job, f"{role}_json")
    if text is not None:
        return json.loads(text)
    from django_inference.packing import unpack

    name: str = getattr(job, f"{role}_file")
    if not name:
        packed = getattr(job, f"{role}_packed")
        return None if packed is None else unpack(bytes(packed))
    with _told(), file_storage().open(name, "rb") as file:
        content = file.read()
    return unpack(content)


def file_storage() -> Storage:
    """Where files are kept."""
    return storages[jobs_settings().storage]


def remove_file(name: str) -> None:
    """Remove a file. One that cannot be removed is left to `prune`."""
    try:
        file_storage().delete(name)
    except Exception:
        logger.warning("file of a job not removed name=%s", name, exc_info=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What a storage raises is as manifold as storages are."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"the storage of jobs fails: {type(error).__name__}: {error}") from error


def _as_json(value: Any, limit: int) -> str | None:
    """The text that gives the very same value back; None where there is none that short."""
    if not _is_exact(value, limit):
        return None
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        return None
    return text if len(text) <= limit else None


def _is_exact(value: Any, limit: int) -> bool:
    """Whether JSON has words for all of it. A look at what is too long anyhow ends early."""
    left = limit + 2
    level = [value]
    while level:
        value = level.pop()
        kind = type(value)
        # A digit and a comma at the least.
        left -= 2
        if kind is str:
            left -= len(value)
        elif kind is list:
            left -= len(value)
            level += value if left > 0 else []
        elif kind is dict:
            if any(type(key) is not str for key in value):
                return False
            left -= len(value)
            level += value.values() if left > 0 else []
        elif kind is float:
            if not math.isfinite(value):
                return False
        elif kind is not int and kind is not bool and value is not None:
            return False
        if left < 0:
            return False
    return True
