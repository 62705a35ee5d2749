from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_inference.artifacts.records import StoreSettings
from django_inference.artifacts.store import Store
from tests.artifacts.servers import WebServer, serving


@pytest.fixture
def settings_of_store(tmp_path: Path) -> StoreSettings:
    return StoreSettings(str(tmp_path / "artifacts"))


@pytest.fixture
def store(settings_of_store: StoreSettings) -> Store:
    return Store(settings_of_store)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "web").mkdir()
    with serving(tmp_path / "web") as server:
        yield server
