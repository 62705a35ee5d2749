from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from django_inference.host.protocol import Unload
from tests.hosts import Host

_serial = itertools.count()


@pytest.fixture
def alias() -> str:
    """A name of the test's own, where the tests of a file share a host."""
    return f"model-{next(_serial)}"


@pytest.fixture
def shared(module_host: Host, alias: str) -> Iterator[Host]:
    """The host of the file, with a journal of the test's own; the model is unloaded after it."""
    module_host.journal = module_host.home / f"journal-{alias}"
    yield module_host
    module_host.ask(Unload(alias), autostart=True)
