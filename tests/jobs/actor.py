"""A process of its own, for the tests to kill: `python -m tests.jobs.actor WORD [ARGUMENT…]`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def double(items: list[dict[str, Any]]) -> list[Any]:
    """The model. An item may have its process killed while it runs."""
    for item in items:
        if "die unless there is" in item and not Path(item["die unless there is"]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
    return [2 * item["value"] for item in items]


def main(word: str, *arguments: str) -> None:
    import django

    django.setup()
    from django.db import transaction

    from django_inference import predictors
    from django_inference.jobs.running import run_job

    if word == "submit":
        predictors["model"].submit({"value": 21}, one=True)
    elif word == "die in a transaction":
        with transaction.atomic():
            predictors["model"].submit({"value": 21}, one=True)
            os.kill(os.getpid(), signal.SIGKILL)
    elif word == "run":
        run_job(arguments[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
