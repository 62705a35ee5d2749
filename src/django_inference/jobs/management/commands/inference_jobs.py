"""`manage.py inference_jobs`: look after jobs from a terminal, a timer or a service."""

from __future__ import annotations

import json
import signal
import threading
import uuid
from typing import IO, Any, cast

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from django_inference.conf import InvalidPredictor, jobs_settings
from django_inference.jobs.management.tables import as_plain, job_details, job_table
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import sweep
from django_inference.jobs.pruning import prune
from django_inference.jobs.states import JobState


class Command(BaseCommand):
    """List, show, cancel, retry, sweep and prune."""

    help = "Shows, cancels and retries jobs; enqueues what was lost; removes what is old."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the sub-commands."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listing = actions.add_parser("list", help="show the newest jobs")
        listing.add_argument("--predictor", metavar="ALIAS", help="of this predictor only")
        listing.add_argument("--state", choices=JobState.values, help="in this state only")
        listing.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
        show = actions.add_parser("show", help="show all that is known of a job")
        for action in (listing, show):
            action.add_argument("--format", choices=("table", "json"), default="table")
        cancel = actions.add_parser("cancel", help="end jobs whose results nobody wants")
        retry = actions.add_parser("retry", help="run failed or cancelled jobs again")
        show.add_argument("ids", nargs=1, metavar="ID")
        for action in (cancel, retry):
            action.add_argument("ids", nargs="+", metavar="ID")
        sweeping = actions.add_parser("sweep", help="enqueue what was lost on its way")
        sweeping.add_argument(
            "--every", type=float, metavar="SECONDS", help="go on until told to leave"
        )
        pruning = actions.add_parser("prune", help="remove old jobs with their files")
        pruning.add_argument(
            "--older-than",
            type=float,
            metavar="DAYS",
            help="since their end (default: INFERENCE_JOBS['RETENTION'])",
        )

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        """Run the sub-command."""
        try:
            getattr(self, f"_{action}")(options)
        except InvalidPredictor as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        jobs = Job.objects.without_payloads().order_by("-created_at")
        if options["predictor"]:
            jobs = jobs.for_predictor(options["predictor"])
        if options["state"]:
            jobs = jobs.filter(state=options["state"])
        chosen = list(jobs[: options["limit"]])
        if options["format"] == "json":
            self.stdout.write(json.dumps([as_plain(job) for job in chosen], indent=2))
        else:
            self._console().print(job_table(chosen))

    def _show(self, options: dict[str, Any]) -> None:
        (job,) = self._jobs(options["ids"])
        if options["format"] == "json":
            self.stdout.write(json.dumps(as_plain(job), indent=2))
        else:
            self._console().print(job_details(job))

    def _cancel(self, options: dict[str, Any]) -> None:
        for job in self._jobs(options["ids"]):
            self.stdout.write(f"{job.pk}: " + ("cancelled" if job.cancel() else "had ended"))

    def _retry(self, options: dict[str, Any]) -> None:
        for job in self._jobs(options["ids"]):
            said = "runs again" if job.retry() else "has neither failed nor been cancelled"
            self.stdout.write(f"{job.pk}: {said}")

    def _sweep(self, options: dict[str, Any]) -> None:
        every = options["every"]
        over = threading.Event()
        if every is not None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: over.set())
        while True:
            count = sweep()
            if count or every is None:
                self.stdout.write(f"enqueued: {count}")
                self.stdout.flush()
            if every is None or over.wait(every):
                return

    def _prune(self, options: dict[str, Any]) -> None:
        days = options["older_than"]
        if days is None:
            days = jobs_settings().retention
        if days is None:
            raise CommandError("INFERENCE_JOBS['RETENTION'] is None: say --older-than DAYS.")
        jobs, files = prune(days)
        self.stdout.write(f"removed: {jobs} jobs, {files} files without a job")

    def _jobs(self, ids: list[str]) -> list[Job]:
        """The jobs of these ids, all or none."""
        found = []
        for text in ids:
            try:
                found.append(Job.objects.without_payloads().get(pk=uuid.UUID(text)))
            except (ValueError, ValidationError, Job.DoesNotExist):
                raise CommandError(f"There is no job {text!r}.") from None
        return found

    def _console(self) -> Console:
        # A pipe has no width of its own: do not break the lines of what is parsed or logged.
        width = None if self.stdout.isatty() else 200
        return Console(file=cast(IO[str], self.stdout._out), width=width)
