from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time

import pytest
from django.core.management import call_command

from tests.hosts import Host, eventually


def stop() -> str:
    out = io.StringIO()
    call_command("inference_host", "--stop", stdout=out)
    return out.getvalue()


def foreground(host: Host) -> subprocess.Popen[str]:
    program = (
        "import sys\n"
        "from django.conf import settings\n"
        f"settings.configure(INSTALLED_APPS=['django_inference'],\n"
        f"    INFERENCE_HOST={{'RUNTIME_DIR': {host.settings.runtime_dir!r}}})\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'inference_host'])\n"
    )
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("django_host")
def test_stopping_where_nothing_runs_is_no_mistake() -> None:
    assert "no model host runs" in stop()


def test_the_host_runs_in_the_foreground_until_it_is_told_to_leave(django_host: Host) -> None:
    with foreground(django_host) as process:
        assert process.stderr is not None
        eventually(django_host.folder.socket.exists)
        # Nobody is its client, but a host that is supervised does not leave by itself.
        time.sleep(0.2)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
        assert f"model host listens pid={process.pid}" in process.stderr.read()


def test_stop_ends_a_host_and_returns_when_it_has_left(django_host: Host) -> None:
    with foreground(django_host) as process:
        eventually(django_host.folder.socket.exists)
        assert "has left" in stop()
        assert process.wait(5) == 0


def test_a_second_host_refuses_to_run_beside_the_first(django_host: Host) -> None:
    with foreground(django_host) as first:
        eventually(django_host.folder.socket.exists)
        with foreground(django_host) as second:
            _, said = second.communicate(timeout=30)
        assert second.returncode != 0
        assert "another model host serves" in said
        stop()
        assert first.wait(5) == 0
