"""`manage.py inference_serve`: the models for other machines, by gRPC and by REST."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_inference.conf import InvalidPredictor, serve_settings
from django_inference.management.serve import CannotServe, serve
from django_inference.serving.access import gate

_ADDRESSES = ("grpc", "rest")
_FILES = ("certificate", "private_key", "client_ca")


class Command(BaseCommand):
    """Serve until told to leave."""

    help = (
        "Serves the models by the Open Inference Protocol and as TensorFlow Serving does, by "
        "gRPC and by REST, until SIGTERM or Ctrl-C. INFERENCE_SERVE says the same as the "
        "options, and who may call."
    )
    # A model server may have no database, and other apps' mistakes are not its business.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        for name in _ADDRESSES:
            parser.add_argument(f"--{name}", metavar="HOST:PORT", help="where it listens")
            parser.add_argument(
                f"--no-{name}", action="store_const", const="", dest=name, help="do not serve it"
            )
        parser.add_argument("--certificate", metavar="FILE", help="of the server, in PEM: TLS")
        parser.add_argument("--private-key", metavar="FILE", help="that goes with it")
        parser.add_argument("--client-ca", metavar="FILE", help="clients need a certificate, too")
        parser.add_argument("--grace", type=float, help="seconds for calls under way at the end")
        parser.add_argument("--max-message-bytes", type=int, help="longer messages are refused")
        parser.add_argument("--max-concurrent", type=int, help="calls by gRPC at once")
        parser.add_argument(
            "--reuse-port", action="store_true", default=None, help="share the port with others"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve."""
        replaced = {
            key.upper(): options[key] or None if key in _ADDRESSES else options[key]
            for key in (
                *_ADDRESSES,
                *_FILES,
                *("grace", "max_message_bytes", "max_concurrent", "reuse_port"),
            )
            if options[key] is not None
        }
        # Whoever reads the settings in this process shall see what was asked for here.
        settings.INFERENCE_SERVE = {**getattr(settings, "INFERENCE_SERVE", {}), **replaced}
        gate.cache_clear()
        try:
            asyncio.run(serve(serve_settings(), self._say))
        except (CannotServe, InvalidPredictor) as error:
            raise CommandError(str(error)) from error

    def _say(self, line: str) -> None:
        self.stderr.write(line, self.style.NOTICE)
        self.stderr.flush()
