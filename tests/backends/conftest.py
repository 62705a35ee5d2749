from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from django_inference import Predictor, predictors

LOCAL = "django_inference.backends.local.LocalBackend"
DUMMY = "django_inference.backends.dummy.DummyBackend"

Declare = Callable[..., Predictor]


@pytest.fixture
def declare(settings: Settings) -> Iterator[Declare]:
    """Declares the predictor `default` and returns it; keyword arguments are its keys.

    With `hooks`, it runs `sample_runtimes.Items` (or the runtime named) with these functions.
    """

    def declare(*, hooks: dict[str, Any] | None = None, **entry: Any) -> Predictor:
        if hooks is not None:
            entry.setdefault("RUNTIME", "tests.sample_runtimes.Items")
            entry["RUNTIME_OPTIONS"] = hooks
            # What is counted is the runs, without those of a proof.
            if entry.get("BACKEND", LOCAL) == LOCAL:
                entry["OPTIONS"] = {"batching": "always"} | entry.get("OPTIONS", {})
        entry.setdefault("BACKEND", LOCAL)
        settings.INFERENCE = {"default": entry}
        return predictors["default"]

    yield declare
    predictors.reset()
