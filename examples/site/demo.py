"""Start the demo site under gunicorn, ask each model something, and stay until Ctrl-C.

With `--check` it holds the answers and the processes to what they should be and stops by
itself; the exit status says whether all was well.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from types import FrameType

from rich.console import Console
from rich.text import Text

from demo_run import checks, report
from demo_run.folder import Photos, submit_folder
from demo_run.requests import Reply, predict_through_all
from demo_run.server import Server, StartFailed
from demo_site.samples import SAMPLES

ASKED = {"faces": "astronaut", "notes": "chord", "types": "files"}


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check everything, then stop")
    parser.add_argument("--port", type=int, help="default: 8000, or a free one")
    options = parser.parse_args()
    # A person stops the demo by Ctrl-C, a supervisor by SIGTERM: both clean up. A shell
    # that runs it in the background has it ignore the first, which this undoes.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    console = Console(highlight=False)
    server = Server(options.port)
    found: list[str] = []
    try:
        found += run(console, server, is_check=options.check)
    except StartFailed as error:
        found.append(f"It did not start:\n{error}")
    except KeyboardInterrupt:
        console.print()
    finally:
        # From here on there is nothing to interrupt: every wait below is bounded.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        console.print("Stopping gunicorn and the model host …", style="dim")
        found += server.stop()
    if options.check or found:
        report.problems(console, found)
    else:
        console.print("No process is left.", style="dim")
    return 1 if found else 0


def run(console: Console, server: Server, *, is_check: bool) -> list[str]:
    """Start the site, show what it does, and return what is wrong with it."""
    console.print(Text("django-inference: one site, two web workers, three models", "bold"))
    server.start()
    console.print(f"gunicorn serves {server.url}; the models are loaded meanwhile.\n", style="dim")
    status = report.wait_for_models(console, server)
    rows = ask(server, set(status["web_workers"]))
    report.answers(console, rows)
    photos = submit_folder(server.port)
    report.folder(console, photos)
    # Asked again: memory has grown by the first predictions.
    status = server.status()
    report.processes(console, server, status)
    if is_check:
        return check(server, rows, photos)
    console.print(Text.assemble("Open ", (server.url, "bold cyan underline"), "  ·  Ctrl-C stops"))
    while True:
        time.sleep(3600)


def ask(server: Server, workers: set[int]) -> list[tuple[str, str, list[Reply]]]:
    """Send every model its sample, through every web worker."""
    rows = []
    for alias, name in ASKED.items():
        sample = SAMPLES[alias][name]
        replies = predict_through_all(server.port, alias, sample.files(), workers)
        rows.append((alias, sample.title, replies))
    return rows


def check(server: Server, rows: list[tuple[str, str, list[Reply]]], photos: Photos) -> list[str]:
    """Return what is wrong with the answers, the pages and the processes."""
    status = server.status()
    workers = set(status["web_workers"])
    found = [] if len(workers) == 2 else [f"{len(workers)} web workers instead of 2"]
    for alias, _, replies in rows:
        found += checks.answers(alias, replies, workers)
    found += checks.folder(photos)
    found += checks.pages(server.port)
    # Last, since everything above could have brought a framework into a web worker.
    found += checks.processes(server, status)
    return found


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
