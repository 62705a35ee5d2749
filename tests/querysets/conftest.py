from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from tests.backends.conftest import declare

__all__ = ["declare"]


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> None:
    """Uploads go to a folder of the test's own."""
    settings.MEDIA_ROOT = tmp_path / "media"
