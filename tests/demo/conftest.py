from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from django_inference import Predictor, predictors

SITE = Path(__file__).resolve().parents[2] / "examples" / "site"
LOCAL = "django_inference.backends.local.LocalBackend"

# The site is no package of this project: it is run from its folder.
sys.path.append(str(SITE))


@pytest.fixture(scope="module")
def declared() -> Iterator[Callable[[str], Predictor]]:
    """Makes a predictor as the site's settings declare it, but in this process."""
    from demo_site.settings import INFERENCE

    made = []

    def declare(alias: str) -> Predictor:
        entry = {**cast(dict[str, Any], INFERENCE[alias]), "BACKEND": LOCAL}
        made.append(f"demo-{alias}")
        predictor = predictors.register(made[-1], **entry)
        predictor.preload(wait=True, timeout=90)
        return predictor

    yield declare
    for alias in made:
        predictors.unregister(alias)
