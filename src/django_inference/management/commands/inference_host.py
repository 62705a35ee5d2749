"""`manage.py inference_host`: the model host under systemd, supervisord or a Procfile."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_inference.conf import host_settings
from django_inference.host import __main__ as host
from django_inference.host.arguments import arguments
from django_inference.host.control import Conversation, HostUnavailable
from django_inference.host.protocol import ProtocolError, Stop


class Command(BaseCommand):
    """Run the host in the foreground, or stop the one that runs."""

    help = (
        "Runs the model host in the foreground until SIGTERM. Set "
        'INFERENCE_HOST = {"AUTOSTART": False} where it runs this way.'
    )
    # The host must come up although, say, the database is down.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--stop", action="store_true", help="drain and end the host that runs, and wait"
        )

    def handle(self, *args: Any, stop: bool, **options: Any) -> None:
        """Run or stop."""
        if stop:
            self._stop()
            return
        status = host.main(arguments(host_settings()))
        if status:
            raise CommandError("the model host could not run", returncode=status)

    def _stop(self) -> None:
        settings = host_settings()
        deadline = time.monotonic() + settings.graceful_timeout + settings.start_timeout
        try:
            with Conversation(settings, deadline, autostart=False) as conversation:
                conversation.ask(Stop())
        except HostUnavailable:
            self.stdout.write("no model host runs")
        except (EOFError, ConnectionError):
            # That is how it answers.
            self.stdout.write("the model host has left")
        except (TimeoutError, ProtocolError) as error:
            raise CommandError(f"the model host did not leave: {error}") from error
