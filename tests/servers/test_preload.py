"""A site's models are loaded when its server starts, before anybody asks for a prediction."""

from __future__ import annotations

import pytest

from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs
from tests.servers.running import Site
from tests.servers.web import SERVERS


@pytest.mark.parametrize("name", SERVERS)
def test_models_are_loaded_once_when_a_server_starts_and_leave_after_it(
    site_of: SiteOf, name: str
) -> None:
    site = site_of(linger=0.5, SITE_DEBUG="1" if name == "runserver" else "0")
    server = site.serve(name)
    status = site.wait_ready()
    assert len(site.launches) == 1
    starter = site.launches[0]
    assert starter in server.pids()

    server.wait_listening()
    given = inputs(1)
    response = server.predict(given)
    assert response.json()["result"] == answer(given)
    assert site.loads() == [status.pid]
    if name == "runserver":
        # The autoreloader's parent only watches: its child is the site.
        assert starter != server.process.pid
        assert response.json()["pid"] == starter

    server.stop()
    site.wait_gone()
    assert site.loads() == [status.pid]
    assert len(site.launches) == 1


def test_without_the_middleware_the_first_call_loads_the_model(site_of: SiteOf) -> None:
    site = site_of(SITE_MIDDLEWARE="0")
    server = site.serve("gunicorn sync").wait_listening()
    assert site.launches == []
    given = inputs(2)
    assert server.predict(given).json()["result"] == answer(given)
    assert len(site.launches) == len(site.loads()) == 1


def test_a_model_that_is_not_to_be_preloaded_waits_for_its_first_call(site_of: SiteOf) -> None:
    site = site_of("mlp", "late")
    server = site.serve("gunicorn gthread")
    site.wait_ready("mlp")
    assert site.status("late") is None
    response = server.wait_listening().predict([{"value": 21}], "late")
    assert response.json()["result"] == [42]
    assert len(site.loads("late")) == 1


COMMANDS = [
    ("check",),
    ("migrate",),
    ("makemigrations", "--check", "--dry-run"),
    ("collectstatic", "--noinput"),
    ("shell", "-c", "print('a shell')"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_commands_start_no_host_and_load_no_model(site: Site, command: tuple[str, ...]) -> None:
    site.manage(*command)
    assert site.launches == []
    assert not site.host_folder.exists()
    assert site.processes() == []
