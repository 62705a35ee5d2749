"""`manage.py inference`: look after models from a terminal or a deploy script."""

from __future__ import annotations

import argparse
import json
import sys
from typing import IO, Any, cast

import msgspec
from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    SystemCheckError,
)
from rich.console import Console

from django_inference.conf import InvalidPredictor, host_settings
from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.management.inputs import read_question
from django_inference.management.loading import Selection, load, not_ready
from django_inference.management.pushing import add_push, push_model
from django_inference.management.quantizing import add_quantize, quantize_model
from django_inference.management.table_files import is_table, predict_table, writer
from django_inference.management.tables import host_line, status_table
from django_inference.plain import to_plain
from django_inference.registry import predictors
from django_inference.specs import State, Status


class Command(BaseCommand):
    """Status, load, unload, reload and predict."""

    help = "Shows, loads, unloads, reloads and tries the models that INFERENCE declares."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the sub-commands."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        status = actions.add_parser("status", help="show every predictor; exit 1 unless all READY")
        _add_aliases(status)
        status.add_argument("--format", choices=("table", "json"), default="table")
        for name, help_text in (
            ("load", "load models and wait until they are ready"),
            ("reload", "load again beside what runs; traffic moves when that is ready"),
            ("rollback", "withdraw the newest version; serve the one before it"),
            ("promote", "give the version on trial all the traffic"),
        ):
            action = actions.add_parser(name, help=help_text)
            # What withdraws or lets in a version is said of one by name, never of all.
            _add_aliases(action, required=name in ("rollback", "promote"))
            action.add_argument("--no-wait", action="store_true", help="return at once")
            action.add_argument("--timeout", type=float, default=600.0, help="seconds to wait")
        _add_aliases(actions.add_parser("unload", help="give the memory of models back"))
        add_push(actions.add_parser("push", help="put a model into a cache, for other hosts"))
        add_quantize(actions.add_parser("quantize", help="make a model smaller, if it stays right"))
        predict = actions.add_parser("predict", help="predict from a file, print JSON")
        predict.add_argument("alias")
        predict.add_argument(
            "--input", required=True, help=".csv, .jsonl, .json, .npy, .npz, - or any file"
        )
        predict.add_argument("--output", help=".csv or .jsonl: where the answers to a table go")
        predict.add_argument("--timeout", type=float, default=None, help="seconds to wait")

    def check(self, *args: Any, **options: Any) -> None:
        """Show what the system checks find; one predictor's mistake does not stop the others."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            self.stderr.write(str(error), self.style.NOTICE)

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        """Run the sub-command."""
        try:
            if action == "predict":
                self._predict(
                    predictors[options["alias"]],
                    *(options["input"], options["output"], options["timeout"]),
                )
                return
            if action == "push":
                push_model(self._console(), options)
                return
            if action == "quantize":
                quantize_model(self._console(), options)
                return
            selection = Selection(options["aliases"])
            if action == "status":
                self._status(selection, options["format"])
            elif action == "unload":
                selection.each(selection.predictors, Predictor.unload)
            else:
                timeout = None if options["no_wait"] else options["timeout"]
                statuses = load(self._console(), selection, action, timeout)
                if statuses:
                    self._print(statuses, "table")
                selection.finish(not_ready(statuses))
            selection.finish()
        except (InferenceError, InvalidPredictor, LookupError) as error:
            raise CommandError(str(error)) from error

    def _status(self, selection: Selection, form: str) -> None:
        statuses = [predictor.status() for predictor in selection.predictors]
        if statuses or not selection.errors:
            self._print(statuses, form)
        selection.finish()
        if any(status.state is not State.READY for status in statuses):
            sys.exit(1)

    def _predict(
        self, predictor: Predictor, name: str, output: str | None, timeout: float | None
    ) -> None:
        if is_table(name):
            with writer(output, self.stdout.write) as write:
                rows = predict_table(predictor, name, write, timeout=timeout)
            if output is not None:
                self.stdout.write(f"{rows} rows predicted, written to {output}")
            return
        if output is not None:
            raise CommandError("--output is for tables: an input of .csv, .tsv or .jsonl.")
        answer = read_question(name).ask(predictor, timeout)
        self.stdout.write(json.dumps(to_plain(answer), indent=2, ensure_ascii=False))

    def _print(self, statuses: list[Status], form: str) -> None:
        if form == "json":
            text = msgspec.json.format(msgspec.json.encode(statuses), indent=2)
            self.stdout.write(text.decode())
        else:
            console = self._console()
            console.print(status_table(statuses))
            if pid := next((status.host_pid for status in statuses if status.host_pid), 0):
                console.print(host_line(pid, host_settings().runtime_dir), style="dim")

    def _console(self) -> Console:
        # A pipe has no width of its own: do not break the lines of what is parsed or logged.
        width = None if self.stdout.isatty() else 200
        return Console(file=cast(IO[str], self.stdout._out), width=width)


def _add_aliases(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    if required:
        parser.add_argument("aliases", nargs="+", metavar="ALIAS")
    else:
        parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="default: every predictor")
