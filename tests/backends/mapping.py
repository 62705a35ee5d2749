"""What the tests of `map` share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Generator
from typing import Any

import pytest

from django_inference import Predictor

BATCH = {"max_batch_size": 4, "batching": "always"}

both = pytest.mark.parametrize("how", ["map", "amap"])


def doubled(items: list[Any]) -> list[Any]:
    if "bad" in items:
        raise ValueError("bad is bad")
    return [item * 2 for item in items]


def journalled(items: list[int]) -> list[int]:
    """Double the items, and note in `$JOURNAL` which ones were run; stop for long at `$HOLD_AT`."""
    with open(os.environ["JOURNAL"], "ab", buffering=0) as journal:
        journal.write(b"".join(b"%d\n" % item for item in items))
    if int(os.environ["HOLD_AT"]) in items:
        time.sleep(60)
    return [item * 2 for item in items]


def collect(
    predictor: Predictor, items: Any, how: str, **options: Any
) -> Generator[Any, None, None]:
    """The results of `map`, or of `amap`, one after the other."""
    if how == "map":
        yield from predictor.map(items, **options)
        return
    loop = asyncio.new_event_loop()
    results = predictor.amap(items, **options)
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(results))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(results.aclose())  # type: ignore[attr-defined]
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
