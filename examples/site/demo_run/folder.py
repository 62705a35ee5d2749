"""The sample folder, submitted as a visitor would, and watched until the last answer is there."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from demo_run.requests import Reply, post_form, request


@dataclass
class Photos:
    """What became of the folder.

    Attributes:
        submitted_in: seconds that the form took.
        arrivals: seconds after it at which each answer was seen.
        text: the page of the jobs in the end.
        seen_by_others: the status that another visitor gets for one of the jobs.
    """

    submitted_in: float
    arrivals: list[float] = field(default_factory=list)
    text: str = ""
    seen_by_others: int = 0

    @property
    def finished(self) -> int:
        """Jobs that have ended."""
        return len(self.arrivals)


def submit_folder(port: int, timeout: float = 120.0) -> Photos:
    """Submit the sample folder, and look at its page until every photo is answered.

    Raises:
        ConnectionError: the form was refused.
    """
    sent, cookies = post_form(port, "/folder/", sample="1")
    if sent.status != 302:
        raise ConnectionError(f"/folder/ answered {sent.status}: {sent.text[:200]}")
    photos = Photos(sent.seconds)
    began = time.monotonic()
    while (now := time.monotonic() - began) < timeout:
        page = request(port, "GET", "/folder/jobs/", Cookie=cookies)
        photos.text = page.text
        finished, total = _counted(page)
        photos.arrivals += [now] * (finished - photos.finished)
        if finished == total:
            break
        time.sleep(0.1)
    job = re.search(r'href="([0-9a-f-]{36}/)"', photos.text)
    photos.seen_by_others = request(port, "GET", f"/folder/jobs/{job[1] if job else ''}").status
    return photos


def _counted(page: Reply) -> tuple[int, int]:
    found = re.search(r"(\d+) of (\d+) finished", page.text)
    return (int(found[1]), int(found[2])) if found else (0, -1)
