"""Other servers of models, each in a virtual environment of its own, and the same model in each.

Every one has its documented batching on, at the same most of 32 rows, and one process that
holds the model, with one thread for it. What waits for a batch to fill waits as short as the
option allows: longer waits only cost these clients throughput. None writes an access log.
"""

from __future__ import annotations

import json
import os
import subprocess
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Where the environments are made; they take some 2 GB.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
DEFAULT_FOLDER = CACHE / "django-inference-benchmarks"

MODEL = """
import os

import numpy as np
import onnxruntime


def session():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(os.environ["MODEL"], options)
"""

LITSERVE = """
import sys

import litserve
import numpy as np

from rival_model import session


class Model(litserve.LitAPI):
    def setup(self, device):
        self.session = session()

    def decode_request(self, request):
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.session.run(["y"], {"x": x})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"y": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(
        Model(max_batch_size=32, batch_timeout=0.001), accelerator="cpu", workers_per_device=1
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=2,
        log_level="warning",
        generate_client_file=False,
    )
"""

MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from rival_model import session


class Model(MLModel):
    async def load(self):
        self.session = session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = self.session.run(["y"], {"x": x})[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)]
        )
"""

BENTOML = """
import bentoml
import numpy as np

from rival_model import session


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1000})
class Model:
    def __init__(self) -> None:
        self.session = session()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=10000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(["y"], {"x": x.astype(np.float32)})[0]
"""

RAY = """
import os
import signal
import sys
import threading

import numpy as np
import ray
from ray import serve

from rival_model import session


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Model:
    def __init__(self):
        self.session = session()

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def predict(self, rows):
        return list(self.session.run(["y"], {"x": np.asarray(rows, np.float32)})[0])

    async def __call__(self, request):
        body = await request.json()
        return {"y": (await self.predict(body["x"])).tolist()}


stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
ray.init(
    num_cpus=2,
    include_dashboard=False,
    _node_ip_address="127.0.0.1",
    _temp_dir=os.environ["RAY_FOLDER"],
    runtime_env={"env_vars": {"MODEL": os.environ["MODEL"]}},
)
serve.start(
    http_options={"host": "127.0.0.1", "port": int(sys.argv[1])},
    logging_config={"enable_access_log": False, "log_level": "WARNING"},
)
serve.run(Model.bind())
while not stop.wait(1):
    pass
serve.shutdown()
ray.shutdown()
"""

MOSEC = """
import numpy as np
from mosec import Server, Worker

from rival_model import session


class Model(Worker):
    def __init__(self):
        self.session = session()

    def forward(self, data):
        x = np.asarray([each["x"] for each in data], np.float32)
        return [{"y": y.tolist()} for y in self.session.run(["y"], {"x": x})[0]]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=32, max_wait_time=1)
    server.run()
"""


def _plain(x: list[float]) -> Any:
    return {"x": x}


def _open_inference(x: list[float]) -> Any:
    tensor = {"name": "x", "shape": [1, len(x)], "datatype": "FP32", "data": x}
    return {"inputs": [tensor]}


@dataclass(frozen=True)
class Rival:
    """Another server.

    Attributes:
        name: of the project.
        packages: what pip installs.
        source: of its program, in `program`.
        program: the name of that file.
        line: its command line, of the environment's `bin` folder and the port.
        path: of the URL.
        body: what it takes, of a row.
        answer: the row in what it answers.
    """

    name: str
    packages: tuple[str, ...]
    source: str
    program: str
    line: Callable[[Path, int], Sequence[str | Path]]
    path: str
    body: Callable[[list[float]], Any]
    answer: Callable[[Any], list[float]]

    def environment_of(self, folder: Path) -> Path:
        """Where its virtual environment is."""
        return folder / self.name.lower().replace(" ", "-")

    def install(self, folder: Path) -> None:
        """Make the virtual environment, unless it is there.

        Raises:
            RuntimeError: pip could not; with the last line that it said.
        """
        home = self.environment_of(folder)
        done = home / "installed.txt"
        wanted = " ".join(self.packages)
        if done.exists() and done.read_text() == wanted:
            return
        venv.create(home, with_pip=True, clear=True)
        line = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        found = subprocess.run([*line, *self.packages], capture_output=True, text=True)
        if found.returncode:
            said = found.stderr.strip().splitlines() or ["pip failed"]
            raise RuntimeError(f"it cannot be installed: {said[-1]}")
        done.write_text(wanted)

    def version(self, folder: Path) -> str:
        """The version that is installed."""
        name = self.packages[0].partition("=")[0].partition("[")[0]
        code = f"from importlib.metadata import version; print(version({name!r}))"
        python = self.environment_of(folder) / "bin" / "python"
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()

    def write(self, folder: Path, port: int, other_ports: Sequence[int]) -> None:
        """Write its program, and what configures it, into a folder."""
        (folder / self.program).write_text(self.source)
        (folder / "rival_model.py").write_text(MODEL)
        if self.name == "MLServer":
            grpc_port, metrics_port = other_ports
            settings = {
                "host": "127.0.0.1",
                "http_port": port,
                "grpc_port": grpc_port,
                "metrics_port": metrics_port,
                "parallel_workers": 0,
                "debug": False,
            }
            model = {
                "name": "mlp",
                "implementation": "rival_mlserver.Model",
                "max_batch_size": 32,
                "max_batch_time": 0.001,
            }
            (folder / "settings.json").write_text(json.dumps(settings))
            (folder / "model-settings.json").write_text(json.dumps(model))

    def process_environment(self, folder: Path, model: Path) -> dict[str, str]:
        """The environment of its processes: nothing of this one's Python."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {
            **kept,
            "MODEL": str(model),
            "PYTHONPATH": str(folder),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_CONFIG_OPTIONS": "services.logging.access.enabled=false",
            "RAY_FOLDER": str(folder / "ray"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }


_ORT = ("onnxruntime", "numpy")

RIVALS = (
    Rival(
        "LitServe",
        ("litserve", *_ORT),
        LITSERVE,
        "rival_litserve.py",
        lambda bin, port: [bin / "python", "rival_litserve.py", str(port)],
        "/predict",
        _plain,
        lambda found: list(found["y"]),
    ),
    Rival(
        "MLServer",
        ("mlserver==1.7.1", *_ORT),
        MLSERVER,
        "rival_mlserver.py",
        lambda bin, port: [bin / "mlserver", "start", "."],
        "/v2/models/mlp/infer",
        _open_inference,
        lambda found: list(found["outputs"][0]["data"]),
    ),
    Rival(
        "BentoML",
        ("bentoml", *_ORT),
        BENTOML,
        "rival_bentoml.py",
        lambda bin, port: [
            *(bin / "bentoml", "serve", "rival_bentoml:Model"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        "/predict",
        lambda x: {"x": [x]},
        lambda found: list(found[0]),
    ),
    Rival(
        "Ray Serve",
        ("ray[serve]", *_ORT),
        RAY,
        "rival_ray.py",
        lambda bin, port: [bin / "python", "rival_ray.py", str(port)],
        "/",
        _plain,
        lambda found: list(found["y"]),
    ),
    Rival(
        "mosec",
        ("mosec", *_ORT),
        MOSEC,
        "rival_mosec.py",
        lambda bin, port: [
            *(bin / "python", "rival_mosec.py"),
            *("--address", "127.0.0.1", "--port", str(port), "--log-level", "warning"),
        ],
        "/inference",
        _plain,
        lambda found: list(found["y"]),
    ),
)
