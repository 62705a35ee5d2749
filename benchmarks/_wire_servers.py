"""The servers that `wire.py` asks: this project in three ways, MLServer, and Triton.

Every one holds the same two models, which look at 16 values of each row, so that what is
measured is the way there and back.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _load import free_ports, served
from _wires import Array, Wire, bare, drf_json, oip_binary, oip_grpc, oip_json, tfs_grpc, tfs_rest

PEERS = Path(__file__).resolve().parent.parent / ".peers"
COMMAND = "django_inference.management.commands.inference_serve"

#: By name, the type of the elements and the shape of a row.
MODELS: dict[str, tuple[str, tuple[int, ...]]] = {
    "vector": ("float32", (64,)),
    "image": ("uint8", (640, 640, 3)),
}

RUNTIMES = """
import numpy as np

from django_inference import Signature, TensorRuntime, TensorSpec


class Glance(TensorRuntime):
    def predict(self, inputs):
        x = inputs["x"]
        return {"y": x.reshape(len(x), -1)[:, :16].mean(axis=1, dtype=np.float32)}


class Vector(Glance):
    signature = Signature(
        (TensorSpec("x", "float32", (-1, 64)),), (TensorSpec("y", "float32", (-1,)),)
    )


class Image(Glance):
    signature = Signature(
        (TensorSpec("x", "uint8", (-1, 640, 640, 3)),), (TensorSpec("y", "float32", (-1,)),)
    )
"""

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "wire_urls"
DATA_UPLOAD_MAX_MEMORY_SIZE = None
INSTALLED_APPS = ["rest_framework", "django_inference"]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django_inference.middleware.InferenceMiddleware",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}
INFERENCE = {
    "vector": {"RUNTIME": "wire_runtimes.Vector"},
    "image": {"RUNTIME": "wire_runtimes.Image"},
    "mlp": {"MODEL": BASE_DIR / "mlp.onnx", "RUNTIME_OPTIONS": {"threads": 1}},
}
INFERENCE_HOST = {"RUNTIME_DIR": BASE_DIR / "host", "LINGER": 5.0}
INFERENCE_SERVE = {"GRPC": os.environ.get("WIRE_GRPC"), "REST": os.environ.get("WIRE_REST")}
"""

URLS = """
from django.http import JsonResponse
from django.urls import include, path


def bare(request):
    request.body
    return JsonResponse({"y": [0.5]})


urlpatterns = [
    path("bare/", bare),
    path("api/", include("django_inference.rest.urls")),
    path("", include("django_inference.rest.open_inference.urls")),
    path("", include("django_inference.rest.tensorflow_serving.urls")),
]
"""

WSGI = """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""

MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Model(MLModel):
    async def load(self):
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        y = x.reshape(len(x), -1)[:, :16].mean(axis=1, dtype="float32")
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)]
        )
"""

TRITON = """
import json
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def glance(x):
    return {"y": x.reshape(len(x), -1)[:, :16].mean(axis=1, dtype=np.float32).reshape(-1, 1)}


http, grpc, metrics = map(int, sys.argv[1:4])
config = TritonConfig(
    http_address="127.0.0.1",
    http_port=http,
    grpc_address="127.0.0.1",
    grpc_port=grpc,
    metrics_port=metrics,
)
with Triton(config=config) as triton:
    for name, (dtype, shape) in json.loads(sys.argv[4]).items():
        triton.bind(
            model_name=name,
            infer_func=glance,
            inputs=[Tensor(name="x", dtype=np.dtype(dtype), shape=tuple(shape))],
            outputs=[Tensor(name="y", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=32),
        )
    triton.serve()
"""


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        name: for the table.
        rest: its port, 0 where it has none.
        grpc: likewise.
        wires: that it speaks, each made of a model's name and a batch of one row.
    """

    name: str
    rest: int
    grpc: int
    wires: tuple[Callable[[str, Array], Wire], ...]


def write_site(folder: Path) -> None:
    """Write the site of this project, and its models, into a folder."""
    files = {
        "wire_runtimes.py": RUNTIMES,
        "wire_settings.py": SETTINGS,
        "wire_urls.py": URLS,
        "wire_wsgi.py": WSGI,
    }
    for file, text in files.items():
        (folder / file).write_text(text)


def has_command() -> bool:
    """Whether `manage.py inference_serve` is there."""
    from importlib.util import find_spec

    return find_spec(COMMAND) is not None


@contextmanager
def site(folder: Path) -> Iterator[Server]:
    """This project in a Django site, under gunicorn."""
    (port,) = free_ports(1)
    line = [sys.executable, "-m", "gunicorn", "wire_wsgi", "--bind", f"127.0.0.1:{port}"]
    line += ["--worker-class", "gthread", "--workers", "1", "--threads", "4"]
    # A connection waits while the other wires have their turns.
    line += ["--keep-alive", "120", "--log-level", "warning"]
    with _until_it_answers(line, _environment(folder), folder, port):
        wires = (_bare, drf_json, oip_json, oip_binary, tfs_rest)
        yield Server("Django under gunicorn", port, 0, wires)


@contextmanager
def command(folder: Path) -> Iterator[Server]:
    """This project as `manage.py inference_serve`."""
    rest, grpc = free_ports(2)
    line = [sys.executable, "-m", "django", "inference_serve"]
    its = _environment(folder)
    its |= {"WIRE_REST": f"127.0.0.1:{rest}", "WIRE_GRPC": f"127.0.0.1:{grpc}"}
    with _until_it_answers(line, its, folder, rest):
        wires = (oip_json, oip_binary, oip_grpc, tfs_rest, tfs_grpc)
        yield Server("inference_serve", rest, grpc, wires)


@contextmanager
def mlserver(folder: Path) -> Iterator[Server]:
    """MLServer, in one process; its REST has no blobs."""
    rest, grpc, metrics = free_ports(3)
    folder.mkdir()
    ports = {"http_port": rest, "grpc_port": grpc, "metrics_port": metrics}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "wire_mlserver.py").write_text(MLSERVER)
    for name in MODELS:
        (folder / name).mkdir()
        model = {"name": name, "implementation": "wire_mlserver.Model"}
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    line = [str(PEERS / "mlserver" / "bin" / "mlserver"), "start", "."]
    with _until_it_answers(line, _foreign(folder), folder, rest):
        yield Server("MLServer", rest, grpc, (oip_json, oip_grpc))


@contextmanager
def triton(folder: Path) -> Iterator[Server]:
    """Triton, with the models in a Python process beside it."""
    ports = free_ports(3)
    folder.mkdir()
    (folder / "wire_triton.py").write_text(TRITON)
    line = [str(PEERS / "triton" / "bin" / "python"), "wire_triton.py"]
    line += [*map(str, ports), json.dumps(MODELS)]
    its = _foreign(folder)
    # It looks for the library of the interpreter there.
    its["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR") or ""
    with _until_it_answers(line, its, folder, ports[0]):
        yield Server("Triton", ports[0], ports[1], (oip_json, oip_binary, oip_grpc))


def _bare(model: str, value: Array) -> Wire:
    return bare(value)


@contextmanager
def _until_it_answers(
    line: list[str], environment: dict[str, str], folder: Path, port: int
) -> Iterator[None]:
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}
    body = json.dumps({"inputs": [tensor]})
    with served(line, environment, folder, port, "/v2/models/vector/infer", body):
        yield


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "wire_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }


def _foreign(folder: Path) -> dict[str, str]:
    kept: dict[str, Any] = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    return {**kept, "PYTHONPATH": str(folder)}
