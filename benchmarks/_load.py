"""A server under load: start it, have it answer, press it with wrk, weigh it, end it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

#: Seconds that a server may take until it answers, and until it has ended.
START, END = 90, 20

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]

function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\nFOUND %%d %%d %%f %%f %%d\\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"""


def wrk() -> str:
    """The load generator's path; the program ends without it."""
    found = shutil.which("wrk")
    if found is None:
        sys.exit("wrk, the load generator, is missing: apt-get install wrk, or brew install wrk.")
    return found


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Attributes:
        process: the one that was started.
        url: that takes the requests.
        body: of each.
    """

    process: psutil.Process
    url: str
    body: str

    def post(self) -> Any:
        """Send one request; return what it answers."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, self.body.encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def press(self, connections: int, seconds: float) -> dict[str, float]:
        """Send as many requests as so many connections can, for a while."""
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(SCRIPT % self.body)
            script.flush()
            line = [wrk(), "--threads", "1", "--connections", str(connections), "--latency"]
            line += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "10s"]
            line += ["--script", script.name, self.url]
            said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        found = next(line for line in said.splitlines() if line.startswith("FOUND "))
        requests, duration, p50, p99, failed = map(float, found.split()[1:])
        return {
            "requests/s": requests / (duration / 1e6),
            "p50 ms": p50 / 1000,
            "p99 ms": p99 / 1000,
            "failed": failed,
        }


@contextmanager
def served(
    line: list[str], environment: dict[str, str], folder: Path, port: int, path: str, body: str
) -> Iterator[Served]:
    """Run a server while the block lasts.

    Raises:
        RuntimeError: it does not answer; with the last line of its log.
    """
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(line, cwd=folder, env=environment, stdout=output, stderr=output)
    root = psutil.Process(process.pid)
    try:
        server = Served(root, f"http://127.0.0.1:{port}{path}", body)
        _wait_for(server, process, log)
        yield server
    finally:
        _end(process, root)


def free_ports(count: int) -> list[int]:
    """Ports on the loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def tree(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that descend from it."""
    return [process, *process.children(recursive=True)]


def _wait_for(server: Served, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START
    why = "it never answered"
    while time.monotonic() < end:
        if process.poll() is not None:
            why = f"it ended with status {process.returncode}"
            break
        try:
            server.post()
            return
        except urllib.error.HTTPError as error:
            why = f"it answered {error.code}: {error.read(300).decode(errors='replace')}"
        except OSError as error:
            # Not there yet.
            why = str(error)
        time.sleep(0.1)
    said = log.read_text(errors="replace").strip().splitlines() or ["an empty log"]
    raise RuntimeError(f"it cannot be started: {why}; {said[-1][:300]}")


def _end(process: subprocess.Popen[bytes], root: psutil.Process) -> None:
    # Whoever outlives the first process would be nobody's child.
    try:
        mine = tree(root)
    except psutil.NoSuchProcess:
        mine = []
    process.terminate()
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END)
    _, left = psutil.wait_procs(mine, timeout=3)
    for each in left:
        each.kill()
    psutil.wait_procs(left, timeout=3)
