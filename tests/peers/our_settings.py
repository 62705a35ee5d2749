"""Django settings of a model server of this project, for the tests of the remote backends.

`OUR_CERTIFICATES` is the folder of its certificates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from django_inference import Runtime, TensorRuntime
from django_inference.tensors import Signature, Tensors, TensorSpec

CERTIFICATES = Path(os.environ.get("OUR_CERTIFICATES", "."))
SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django_inference"]
LOCAL = "django_inference.backends.local.LocalBackend"


class Double(TensorRuntime):
    """y is twice x; the text is the label, said aloud."""

    signature = Signature(
        (TensorSpec("x", "float32", (-1, -1)), TensorSpec("label", "str", (-1,))),
        (TensorSpec("y", "float32", (-1, -1)), TensorSpec("text", "str", (-1,))),
    )

    def predict(self, inputs: Tensors) -> Tensors:
        """As the class says."""
        texts = [
            f"{label.decode() if isinstance(label, bytes) else label}!" for label in inputs["label"]
        ]
        return {"y": inputs["x"] * 2, "text": np.array(texts, dtype=object)}


class Words(Runtime):
    """Says what it was given, and of which type."""

    def predict(self, items: list[object]) -> list[object]:
        """As the class says."""
        return [{"type": type(item).__name__, "item": item} for item in items]

    def stream(self, item: str) -> Iterator[str]:
        """The words of a text, and then a complaint where it says so."""
        for word in item.split():
            if word == "fail":
                raise ValueError("the model does not like this")
            yield word


INFERENCE = {
    "words": {"RUNTIME": "tests.peers.our_settings.Words", "BACKEND": LOCAL},
    "labelled": {"RUNTIME": "tests.peers.our_settings.Double", "BACKEND": LOCAL},
}
KEY = "a-key-of-sixteen-characters-or-more"
INFERENCE_SERVE = {
    "AUTHENTICATION": "django_inference.serving.tokens.ApiKeys",
    "API_KEYS": {"site": {"KEY": KEY, "STAFF": True}},
    "CERTIFICATE": CERTIFICATES / "server.pem",
    "PRIVATE_KEY": CERTIFICATES / "server.key",
    "CLIENT_CA": CERTIFICATES / "ca.pem",
}


def token() -> str:
    """For `token_from`."""
    return KEY
