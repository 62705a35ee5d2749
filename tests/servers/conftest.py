from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.running import Site

HERE = Path(__file__).parent

SiteOf = Callable[..., Site]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.servers)


@pytest.fixture
def site_of() -> Iterator[SiteOf]:
    """Makes sites; whatever they start has left when the test is over."""
    sites: list[Site] = []

    def make(*predictors: str, linger: float = 30.0, **variables: str) -> Site:
        sites.append(Site(*predictors, linger=linger, **variables))
        return sites[-1]

    yield make
    wrong = [complaint for site in sites for complaint in site.end()]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def site(site_of: SiteOf) -> Site:
    """A site with one model."""
    return site_of()
