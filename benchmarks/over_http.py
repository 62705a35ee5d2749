"""What a Django site with this project answers over HTTP, against everything else there is.

    python benchmarks/over_http.py [--quick] [--json FILE] [--peers-dir FOLDER]

One perceptron in ONNX, one load generator (wrk), 1, 16 and 64 connections. A Django view that
returns a constant; this project in a plain view and in Django REST framework's, under
gunicorn, granian and uvicorn; a session that each web worker loads for itself; one that each
request loads; gunicorn's dirty workers; and five other servers of models, each in a virtual
environment of its own, which is made in FOLDER when it is missing.

Every variant is started, checked for its answer, warmed, measured, weighed and ended, and all
of them again in the next round, so that whatever else the machine does hits all of them alike.
A ratio is the median of the ratios of the rounds. `--quick` leaves out what needs an
environment of its own, and most of the rest. Linux only: memory is PSS.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import django
import numpy as np
import psutil
from django.conf import settings
from django.core.management import call_command

from _common import Report, write_mlp
from _load import Served, free_ports, served, tree, wrk
from _rivals import DEFAULT_FOLDER, RIVALS, Rival
from _sites import PROCESSES, THREADS, command, environment, write_site
from django_inference import predictors
from footprint import megabytes

#: Widths of the perceptrons. A row of the large one costs four times less in a batch.
MODELS = {"small": (64, 1024, 1024, 10), "large": (64, 4096, 4096, 10)}
ROW = [round(0.37 * number % 1, 3) for number in range(64)]

Found: TypeAlias = dict[str, dict[int, dict[str, float]]]

#: By name: the web server, the variant of the site, and the model.
SITES: dict[str, tuple[str, str, str]] = {
    "gunicorn: bare": ("gunicorn", "bare", "small"),
    "gunicorn: this project": ("gunicorn", "host", "small"),
    "gunicorn: bare, REST framework": ("gunicorn", "bare drf", "small"),
    "gunicorn: this project, REST framework": ("gunicorn", "host drf", "small"),
    "gunicorn: a model per worker": ("gunicorn", "per worker", "small"),
    "gunicorn: a load per request": ("gunicorn", "per request", "small"),
    "gunicorn: dirty worker": ("gunicorn", "dirty", "small"),
    "gunicorn: this project, large model": ("gunicorn", "host", "large"),
    "gunicorn: a large model per worker": ("gunicorn", "per worker", "large"),
    "granian: bare": ("granian", "bare", "small"),
    "granian: this project": ("granian", "host", "small"),
    "granian: this project, REST framework": ("granian", "host drf", "small"),
    "uvicorn: bare": ("uvicorn", "bare async", "small"),
    "uvicorn: this project": ("uvicorn", "host async", "small"),
    "uvicorn: this project, REST framework": ("uvicorn", "host drf", "small"),
}
QUICK = (
    "gunicorn: bare",
    "gunicorn: this project",
    "gunicorn: this project, large model",
    "gunicorn: a large model per worker",
    "gunicorn: dirty worker",
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Requests a second of a site with a model.")
    parser.add_argument("--quick", action="store_true", help="a part of it: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--peers-dir",
        type=Path,
        metavar="FOLDER",
        default=DEFAULT_FOLDER,
        help=f"of the other servers' virtual environments ({DEFAULT_FOLDER})",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", help="those whose name has this in it; again"
    )
    return parser.parse_args()


class Bench:
    """The variants, by name.

    Args:
        folder: for the site and the models.
        options: of the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.connections = (16, 64) if options.quick else (1, 16, 64)
        self.rounds = 1 if options.quick else options.rounds
        self._seconds = 1.0 if options.quick else options.seconds
        self._folder = folder
        self._peers = options.peers_dir
        self._models = {name: folder / f"{name}.onnx" for name in MODELS}
        self._answers = {name: _answer(path) for name, path in self._models.items()}
        self._rivals = {rival.name: rival for rival in RIVALS}
        names = list(QUICK) if options.quick else [*SITES, *self._rivals]
        wanted = options.only or [""]
        self.names = [name for name in names if any(text in name for text in wanted)]

    def prepare(self) -> dict[str, str]:
        """Install what has to be; return the versions, or why there is none."""
        said = {}
        for name in self.names:
            if rival := self._rivals.get(name):
                try:
                    rival.install(self._peers)
                    said[name] = rival.version(self._peers)
                except (RuntimeError, OSError) as error:
                    said[name] = str(error)
                    self.names = [each for each in self.names if each != name]
        return said

    def measure(self, name: str) -> tuple[dict[int, dict[str, float]], dict[str, float]]:
        """Start a variant and press it; return what wrk found, and its memory and batches.

        Raises:
            RuntimeError: it cannot be started, or its answer is wrong.
        """
        with self._variant(name) as (server, answer, model, is_ours):
            if answer is not None and not np.allclose(answer, self._answers[model], atol=1e-4):
                raise RuntimeError(f"its answer is wrong: {answer}")
            server.press(16, 1)
            found = {each: server.press(each, self._seconds) for each in self.connections}
            processes = tree(server.process)
            if not is_ours:
                return found, {"MB": megabytes(*processes)}
            status = predictors["model"].status()
            processes += [psutil.Process(pid) for pid in (status.host_pid, status.pid) if pid]
            counted = status.replicas[0].statistics
            batch = round(counted.rows / max(1, counted.batches), 1) if counted else 0.0
            return found, {"MB": megabytes(*processes), "rows a batch": batch}

    @contextmanager
    def _variant(self, name: str) -> Iterator[tuple[Served, list[float] | None, str, bool]]:
        if rival := self._rivals.get(name):
            with self._rival(rival) as server:
                yield server, rival.answer(server.post()), "small", False
            return
        web, variant, model = SITES[name]
        is_drf = variant == "host drf"
        body = json.dumps({"inputs": {"x": [ROW]}} if is_drf else {"x": ROW})
        (port,) = free_ports(1)
        line = command(web, variant, port)
        its = environment(self._folder, variant, self._models[model])
        try:
            with served(line, its, self._folder, port, "/", body) as server:
                found = server.post()
                answer = found["outputs"]["y"][0] if is_drf else found["y"]
                is_bare = variant.startswith("bare")
                yield server, None if is_bare else answer, model, variant.startswith("host")
        finally:
            if variant.startswith("host"):
                with open(os.devnull, "w") as nowhere:
                    call_command("inference_host", stop=True, stdout=nowhere)

    @contextmanager
    def _rival(self, rival: Rival) -> Iterator[Served]:
        # A short path: Ray puts sockets into it.
        with tempfile.TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            port, *others = free_ports(3)
            rival.write(folder, port, others)
            line = list(map(str, rival.line(rival.environment_of(self._peers) / "bin", port)))
            its = rival.process_environment(folder, self._models["small"])
            body = json.dumps(rival.body(ROW))
            with served(line, its, folder, port, rival.path, body) as server:
                yield server


def _answer(model: Path) -> Any:
    import onnxruntime

    run = onnxruntime.InferenceSession(str(model)).run
    return run(["y"], {"x": np.asarray([ROW], np.float32)})[0][0]


def run(bench: Bench) -> tuple[list[Found], dict[str, dict[str, float]], dict[str, str]]:
    """Measure every variant once a round; return the rounds, the memory, and what failed."""
    rounds: list[Found] = []
    memory: dict[str, list[dict[str, float]]] = {}
    failed: dict[str, str] = {}
    for number in range(bench.rounds):
        found: Found = {}
        # Nobody always goes after the same neighbour.
        names = bench.names[number % 2 :: 2] + bench.names[1 - number % 2 :: 2]
        for name in names:
            if name in failed:
                continue
            try:
                found[name], weight = bench.measure(name)
            except RuntimeError as error:
                failed[name] = str(error)
                continue
            memory.setdefault(name, []).append(weight)
            rate = found[name][bench.connections[-1]]["requests/s"]
            _progress(f"round {number + 1} of {bench.rounds}: {name}: {rate:,.0f} requests/s")
        rounds.append(found)
    medians = {
        name: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for name, each in memory.items()
    }
    return rounds, medians, failed


def compare(report: Report, rounds: list[Found], connections: int) -> None:
    def hold(ours: str, other: str, at_least: float) -> None:
        ratios = [
            found[ours][connections]["requests/s"] / found[other][connections]["requests/s"]
            for found in rounds
            if ours in found and other in found
        ]
        if ratios:
            name = f"{ours} / {other}, {connections} connections"
            report.ratio(name, statistics.median(ratios), at_least=at_least)

    for web in ("gunicorn", "granian", "uvicorn"):
        ours = f"{web}: this project"
        hold(ours, f"{web}: bare", 0.8)
        hold(f"{ours}, REST framework", f"{web}: bare", 0.8)
    ours = "gunicorn: this project"
    hold(f"{ours}, REST framework", "gunicorn: bare, REST framework", 0.8)
    hold(f"{ours}, large model", "gunicorn: bare", 0.8)
    if connections == 64:
        hold(ours, "gunicorn: a model per worker", 1.5)
        hold(f"{ours}, large model", "gunicorn: a large model per worker", 1.5)
    hold(ours, "gunicorn: dirty worker", 3)
    for rival in RIVALS:
        for web in ("gunicorn", "granian"):
            # Written in Rust and without a Django: the one to catch, not to beat threefold.
            hold(f"{web}: this project", rival.name, 1 if rival.name == "mosec" else 3)


def tables(report: Report, bench: Bench, rounds: list[Found]) -> None:
    for connections in bench.connections:
        rows = {}
        for name in bench.names:
            each = [found[name][connections] for found in rounds if name in found]
            if each:
                row = {key: statistics.median(one[key] for one in each) for key in each[0]}
                row = {key: round(value, 2) for key, value in row.items()}
                rates = [one["requests/s"] for one in each]
                rows[name] = {**row, "least": min(rates), "most": max(rates)}
                rows[name]["requests/s"] = round(row["requests/s"])
                rows[name]["failed"] = int(sum(one["failed"] for one in each))
        report.table(f"{connections} connections", rows)


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    options = arguments()
    wrk()
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("PSS is read from /proc/PID/smaps_rollup, which only Linux has.")
    with tempfile.TemporaryDirectory(prefix="http-") as name:
        folder = Path(name)
        sizes = {
            model: write_mlp(folder / f"{model}.onnx", *widths).stat().st_size / 1e6
            for model, widths in MODELS.items()
        }
        write_site(folder)
        settings.configure(
            INSTALLED_APPS=["django_inference"],
            INFERENCE={"model": {"MODEL": folder / "small.onnx"}},
            INFERENCE_HOST={"RUNTIME_DIR": folder / "host", "AUTOSTART": False},
        )
        django.setup()
        report = Report("A site with a model, over HTTP")
        for model, widths in MODELS.items():
            layers = "→".join(map(str, widths))
            report.note(f"The {model} model: a perceptron, {layers}, {sizes[model]:.1f} MB of ONNX")
        report.note(
            f"{PROCESSES} web workers; {THREADS} threads each under gunicorn and granian. One "
            "process with the model, one thread for it. A request is 64 numbers as JSON."
        )
        bench = Bench(folder, options)
        versions = bench.prepare()
        if options.quick:
            report.note("--quick: other servers of models, and most web servers, are left out.")
        rounds, memory, failed = run(bench)
        tables(report, bench, rounds)
        report.table("Memory of all processes (PSS), and batches of the model host", memory)
        report.raw |= {"rounds": rounds, "models": MODELS, "peers": versions, "failed": failed}
        for name, why in {**versions, **failed}.items():
            report.note(f"{name}: {why}")
        for connections in bench.connections:
            if connections > 1:
                compare(report, rounds, connections)
        report.finish(options.json)


if __name__ == "__main__":
    main()
