"""`manage.py inference_serve` of the test site."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.servers.running import ROOT, Site
from tests.servers.web import PATIENCE, eventually

CLIENTS = ROOT / ".peers/clients/bin/python"


class ModelServer:
    """A model server of a site, on free ports of the loopback.

    Args:
        site: whose models it serves; ends it in the end.
        options: of the command, beside the addresses.
    """

    def __init__(self, site: Site, *options: str) -> None:
        self.name = "inference_serve"
        self.output = site.folder / f"serve-{len(site.servers)}.log"
        addresses = [] if "--no-rest" in options else ["--rest", "127.0.0.1:0"]
        with self.output.open("w") as output:
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", "tests.site.manage", "inference_serve"),
                    *("--grpc", "127.0.0.1:0", *addresses, *options),
                ],
                cwd=site.folder,
                env=site.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._site = site
        site.servers.append(self)  # type: ignore[arg-type]  # ended like any other
        self.grpc = f"127.0.0.1:{self._port('gRPC')}"
        self.rest = f"127.0.0.1:{self._port('REST')}" if addresses else ""

    def _port(self, transport: str) -> str:
        def look() -> str:
            said = self.output.read_text()
            assert self.process.poll() is None, said
            found = re.search(rf"^{transport} listens at 127.0.0.1:(\d+)$", said, re.MULTILINE)
            return found[1] if found else ""

        return eventually(look, lambda: f"{transport} listens: {self.output.read_text()}")

    def leave(self) -> int:
        """Have it leave, as a service manager would; return its status."""
        self.process.terminate()
        return int(self.process.wait(timeout=PATIENCE))

    def end(self) -> str:
        """Make sure that it has left; return what was wrong with that, if anything."""
        if self.process.poll() is not None:
            return ""
        try:
            status = self.leave()
        except psutil.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5.0)
            return f"{self.name} did not leave when it was told to"
        return f"{self.name} left with {status}" if status else ""


def found_by(script: str, *arguments: str) -> Any:
    """What a client of another project says of a server."""
    done = subprocess.run(
        [str(CLIENTS), str(Path(ROOT, "tests/peers", script)), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
