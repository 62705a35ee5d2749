"""What must not go wrong when everything does. Short by default; `--chaos` is the real thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.conftest import site_of

__all__ = ["site_of"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            if config.getoption("--chaos"):
                item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether the test may take minutes."""
    return bool(request.config.getoption("--chaos"))
