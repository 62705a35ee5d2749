"""`manage.py inference_serve`: both transports in one process, and how it comes and goes."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import subprocess
import sys
import time
from typing import Any

import grpc
import httpx
import numpy as np

from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_proto import request_to_proto, response_from_proto
from django_inference.wire.protos import open_inference_pb2 as pb
from tests.servers.conftest import SiteOf
from tests.servers.model import answer
from tests.servers.running import Site
from tests.servers.serving import ModelServer
from tests.servers.web import PATIENCE, eventually

INFER = "/inference.GRPCInferenceService/ModelInfer"
X = [[float(8 * row + column) for column in range(8)] for row in range(2)]
Y = answer({"x": X})["y"]


class Client:
    """Asks a model server by gRPC."""

    def __init__(self, server: ModelServer) -> None:
        # As gRPC has it by default, a lost connection is tried again after a second.
        self._channel = grpc.insecure_channel(
            server.grpc, options=[("grpc.initial_reconnect_backoff_ms", 50)]
        )
        self._ask: Any = self._channel.unary_unary(
            INFER,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    def infer(self, model: str, **inputs: Any) -> dict[str, Any]:
        """The outputs, as lists."""
        said = self._ask(
            request_to_proto(InferRequest(model=model, inputs=inputs)), timeout=PATIENCE
        )
        outputs = response_from_proto(said).outputs
        return {name: array.tolist() for name, array in outputs.items()}

    def mlp(self) -> list[list[float]]:
        """What the perceptron says of `X`."""
        found: list[list[float]] = self.infer("mlp", x=np.array(X, np.float32))["y"]
        return found

    def slow(self, seconds: float, note: str = "") -> list[Any]:
        """Keep the server busy for so long."""
        item = {"seconds": seconds, "value": 21, **({"note": note} if note else {})}
        items = np.array([json.dumps(item).encode()], dtype=object)
        found: list[Any] = self.infer("slow", items=items)["results"]
        return found

    def close(self) -> None:
        self._channel.close()


def slow_body(seconds: float, note: str) -> dict[str, Any]:
    item = json.dumps({"seconds": seconds, "value": 21, "note": note})
    return {"inputs": [{"name": "items", "datatype": "BYTES", "shape": [1], "data": [item]}]}


def test_both_transports_answer_and_both_are_drained(site_of: SiteOf) -> None:
    site = site_of("mlp", "slow")
    server = ModelServer(site)
    client = Client(server)
    site.wait_ready("mlp")
    site.wait_ready("slow")
    assert client.mlp() == Y
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 8], "data": X}
    url = f"http://{server.rest}/v2/models"
    said = httpx.post(f"{url}/mlp/infer", json={"inputs": [tensor]}, timeout=PATIENCE)
    assert said.json()["outputs"][0]["data"] == [value for row in Y for value in row]
    notes = [site.folder / "by-grpc", site.folder / "by-rest"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        by_grpc = pool.submit(client.slow, 1.0, str(notes[0]))
        eventually(notes[0].exists, "the first call runs")
        body = slow_body(0.5, str(notes[1]))
        by_rest = pool.submit(httpx.post, f"{url}/slow/infer", json=body, timeout=PATIENCE)
        # It waits for the first one, and is under way all the same.
        time.sleep(0.3)
        assert server.leave() == 0
        assert by_grpc.result() == [b"42"]
        assert by_rest.result().json()["outputs"][0]["data"] == ["42"]
    client.close()
    assert "leaving: calls under way get 30 s" in server.output.read_text()


def test_a_host_that_is_killed_is_not_noticed(site: Site) -> None:
    server = ModelServer(site, "--no-rest")
    client = Client(server)
    site.wait_ready()
    assert client.mlp() == Y
    (supervisor,) = site.supervisors()
    processes = [supervisor, *supervisor.children(recursive=True)]
    for process in processes:
        process.kill()
    assert client.mlp() == Y
    (other,) = site.supervisors()
    assert other.pid != supervisor.pid
    client.close()


def said_by(site: Site, *options: str) -> str:
    """What the command says as it gives up."""
    done = subprocess.run(
        [sys.executable, *options],
        cwd=site.folder,
        env=site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_what_keeps_it_from_serving_is_said(site_of: SiteOf) -> None:
    site = site_of("late")
    command = ("-m", "tests.site.manage", "inference_serve")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = said_by(site, *command, "--grpc", address, "--no-rest")
        assert f"CommandError: gRPC cannot listen at {address}: the port is taken" in said
        said = said_by(site, *command, "--no-grpc", "--rest", address)
        assert f"CommandError: REST cannot listen at {address}" in said and "in use" in said
    said = said_by(site, *command, "--no-grpc", "--no-rest")
    assert "'GRPC' and 'REST' are both None: there is nothing to serve" in said
    said = said_by(site, *command, "--grpc", "here")
    assert "INFERENCE_SERVE['GRPC']: expected host:port" in said
    for package, option in (("grpc", "--no-rest"), ("granian", "--no-grpc")):
        program = (
            f"import sys; sys.modules[{package!r}] = None\n"
            "from django.core.management import execute_from_command_line\n"
            f"execute_from_command_line(['manage.py', 'inference_serve', {option!r}])\n"
        )
        said = said_by(site, "-c", program)
        assert f"the package {package!r} is missing: pip install 'django-inference[serve]'" in said
