from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.conftest import SiteOf, site_of
from tests.tasks.databases import database
from tests.tasks.office import Office, office

__all__ = ["site_of"]

HERE = Path(__file__).parent

OfficeIn = Callable[..., Office]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and config.getoption("--chaos"):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture
def office_in(site_of: SiteOf) -> Iterator[OfficeIn]:
    """Makes an office whose jobs are kept in the database of that name."""
    with ExitStack() as stack:

        def make(name: str, **variables: str) -> Office:
            site = site_of(
                "shaken",
                DJANGO_SETTINGS_MODULE="tests.tasks.settings",
                TASKS_DATABASE=stack.enter_context(database(name)),
                **variables,
            )
            # Whoever is killed has a host that complains.
            site.expects_errors = True
            return stack.enter_context(office(site))

        yield make
