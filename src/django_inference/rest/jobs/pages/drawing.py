"""A job and its result, as a template shows them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_inference.exceptions import InferenceError
from django_inference.jobs.models import Job
from django_inference.jobs.states import JobState
from django_inference.jobs.waiting import exception_of
from django_inference.plain import to_plain
from django_inference.rest.failures import said
from django_inference.rest.jobs.watching import fingerprint

#: Characters of a result that a page shows; the whole of it can be downloaded.
LONGEST = 10_000
#: Characters of a line in a list.
LINE = 120


@dataclass
class Shown:
    """One job on a page.

    Attributes:
        job: itself.
        result: as it is, where there is one.
        error: what a visitor is told.
        boxes: objects that were found on a picture.
        classes: what the whole of it shows.
        text: the result as JSON, perhaps cut short.
        is_cut: it was.
        summary: the result in a line.
        extra: what a view of one's own adds.
    """

    job: Job
    result: Any = None
    error: str = ""
    boxes: list[Any] = field(default_factory=list)
    classes: list[Any] = field(default_factory=list)
    text: str = ""
    is_cut: bool = False
    summary: str = ""
    extra: Any = None

    @property
    def percent(self) -> int:
        """How much of it is done."""
        return int(100 * self.job.progress)

    @property
    def is_drawn(self) -> bool:
        """The result is objects on a picture."""
        return bool(self.boxes or self.classes)


def show(job: Job) -> Shown:
    """Find out what there is to say of a job."""
    shown = Shown(job)
    error = exception_of(job)
    if error is not None:
        shown.error = said(error)["detail"]
    elif job.state == JobState.SUCCEEDED:
        try:
            shown.result = job.get_result()
        except InferenceError as lost:
            shown.error = said(lost)["detail"]
        else:
            _describe(shown)
    return shown


def digest_of(jobs: Iterable[Job]) -> str:
    """The same as long as there is nothing new to say of any of them."""
    said_of_all = "".join(f"{job.pk}{fingerprint(job)}" for job in jobs)
    return hashlib.blake2b(said_of_all.encode(), digest_size=9).hexdigest()


def _describe(shown: Shown) -> None:
    result = shown.result
    if isinstance(result, Mapping):
        shown.boxes = list(result.get("boxes") or ()) if _are_guesses(result, "boxes") else []
        shown.classes = list(result.get("classes") or ()) if _are_guesses(result, "classes") else []
    try:
        text = json.dumps(to_plain(result), ensure_ascii=False, indent=2)
    except (TypeError, ValueError) as error:
        text = str(error)
    shown.is_cut = len(text) > LONGEST
    shown.text = text[:LONGEST]
    if shown.is_drawn:
        labels = Counter(str(guess["label"]) for guess in (shown.boxes or shown.classes[:1]))
        shown.summary = ", ".join(
            label if count == 1 else f"{count} × {label}" for label, count in labels.most_common()
        )
    else:
        line = " ".join(shown.text[: 4 * LINE].split())
        shown.summary = line if len(line) <= LINE else f"{line[:LINE]}…"


def _are_guesses(result: Mapping[str, Any], key: str) -> bool:
    found = result.get(key)
    return isinstance(found, list) and all(
        isinstance(guess, Mapping) and {"label", "confidence"} <= guess.keys() for guess in found
    )
