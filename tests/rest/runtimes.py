"""Runtimes of one's own, as a project would write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from django_inference import InvalidInput, Runtime


class Lengths(Runtime):
    """Takes bytes, answers with what numpy and Python have and JSON has not."""

    def preprocess(self, item: Any) -> bytes:
        if not isinstance(item, bytes):
            raise InvalidInput(f"expected bytes, not {type(item).__name__}.")
        return item

    def predict(self, items: list[bytes]) -> list[Any]:
        return [
            {
                "length": np.int32(len(item)),
                "mean": np.frombuffer(item, np.uint8).mean(dtype=np.float32)
                if item
                else np.float32("nan"),
                "head": item[:2],
                "seen": set(item[:3]),
            }
            for item in items
        ]


def shout(texts: list[str]) -> list[str]:
    if "bad" in texts:
        raise ValueError("bad is in /srv/secret")
    return [text.upper() for text in texts]
