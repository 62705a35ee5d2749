"""One Django site, many ways to get a model's answer into a view; and how to serve it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Processes of the web server, and threads of each. The model host has one worker beside them.
PROCESSES, THREADS = 2, 16

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).parent
VARIANT = os.environ["VARIANT"]
SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = []
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
if "drf" in VARIANT:
    INSTALLED_APPS.append("rest_framework")
    REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    }
if "host" in VARIANT:
    INSTALLED_APPS.append("django_inference")
    MIDDLEWARE.append("django_inference.middleware.InferenceMiddleware")
    INFERENCE = {
        "model": {"MODEL": os.environ["MODEL"], "RUNTIME_OPTIONS": {"threads": 1}},
    }
    INFERENCE_HOST = {"RUNTIME_DIR": BASE_DIR / "host", "LINGER": 5.0}
"""

#: Every view reads `{"x": [numbers]}` and answers `{"y": [numbers]}`, but for the bare ones,
#: which answer a constant, and the one of Django REST framework, which has a form of its own.
URLS = """
import json
import os

from django.http import JsonResponse
from django.urls import path

VARIANT = os.environ["VARIANT"]
CONSTANT = {"y": [0.123456789] * 10}


def session():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(os.environ["MODEL"], options)


def row(request):
    return np.asarray([json.loads(request.body)["x"]], np.float32)


if VARIANT not in ("bare", "bare async", "bare drf"):
    import numpy as np

if VARIANT == "bare":

    def view(request):
        return JsonResponse(CONSTANT)

elif VARIANT == "bare async":

    async def view(request):
        return JsonResponse(CONSTANT)

elif VARIANT == "bare drf":
    from rest_framework.response import Response
    from rest_framework.views import APIView

    class View(APIView):
        def post(self, request):
            return Response(CONSTANT)

    view = View.as_view()

elif VARIANT == "host":
    from django_inference import predictors

    def view(request):
        found = predictors["model"].predict({"x": row(request)})
        return JsonResponse({"y": found["y"][0].tolist()})

elif VARIANT == "host async":
    from django_inference import predictors

    async def view(request):
        found = await predictors["model"].apredict({"x": row(request)})
        return JsonResponse({"y": found["y"][0].tolist()})

elif VARIANT == "host drf":
    from django_inference.rest import PredictView

    view = PredictView.as_view(alias="model")

elif VARIANT == "per worker":
    run = session().run

    def view(request):
        return JsonResponse({"y": run(["y"], {"x": row(request)})[0][0].tolist()})

elif VARIANT == "per request":

    def view(request):
        return JsonResponse({"y": session().run(["y"], {"x": row(request)})[0][0].tolist()})

elif VARIANT == "dirty":
    from gunicorn.dirty import get_dirty_client

    def view(request):
        values = json.loads(request.body)["x"]
        return JsonResponse({"y": get_dirty_client().execute("site_dirty:Model", "run", values)})


urlpatterns = [path("", view)]
"""

#: An argument and a result are lists: a dirty worker's messages know no arrays.
DIRTY = """
import os

from gunicorn.dirty import DirtyApp


class Model(DirtyApp):
    def init(self):
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._np = np
        self._session = onnxruntime.InferenceSession(os.environ["MODEL"], options)

    def run(self, values):
        x = self._np.asarray([values], self._np.float32)
        return self._session.run(["y"], {"x": x})[0][0].tolist()
"""

WSGI = """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""
ASGI = WSGI.replace("wsgi", "asgi")


#: `uvicorn --workers`, but for its socket: the one that its processes share does not say that it
#: is TCP, so asyncio leaves Nagle's algorithm on, and an answer takes 44 ms.
UVICORN = f"""
import socket
import sys

import uvicorn


def bind_socket(config):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((config.host, config.port))
    listener.set_inheritable(True)
    return listener


if __name__ == "__main__":
    uvicorn.Config.bind_socket = bind_socket
    uvicorn.run(
        "site_asgi:application",
        port=int(sys.argv[1]),
        workers={PROCESSES},
        access_log=False,
        log_level="warning",
    )
"""


def write_site(folder: Path) -> None:
    """Write the site into a folder."""
    files = {
        "site_settings.py": SETTINGS,
        "site_urls.py": URLS,
        "site_dirty.py": DIRTY,
        "site_wsgi.py": WSGI,
        "site_asgi.py": ASGI,
        "site_uvicorn.py": UVICORN,
    }
    for file, text in files.items():
        (folder / file).write_text(text)


def environment(folder: Path, variant: str, model: Path) -> dict[str, str]:
    """What the site reads: which variant of it to be, and of which model."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "VARIANT": variant,
        "MODEL": str(model),
    }


def command(server: str, variant: str, port: int) -> list[str]:
    """The command line of a web server, as its documentation has it for production."""
    python = [sys.executable, "-m"]
    if server == "gunicorn":
        line = ["gunicorn", "site_wsgi", "--bind", f"127.0.0.1:{port}"]
        line += ["--worker-class", "gthread", "--workers", str(PROCESSES)]
        line += ["--threads", str(THREADS), "--timeout", "60", "--log-level", "warning"]
        if variant == "dirty":
            line += ["--dirty-app", "site_dirty:Model", "--dirty-workers", "1"]
    elif server == "granian":
        line = ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port)]
        line += ["--workers", str(PROCESSES), "--blocking-threads", str(THREADS)]
        line += ["--log-level", "warning", "site_wsgi:application"]
    else:
        line = ["site_uvicorn", str(port)]
    return python + line
