"""A server that forks at the worst moments: `python -m tests.site.forking WHEN`.

`starting`: while a thread starts the host. `calling`: while threads predict.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

from django.core.wsgi import get_wsgi_application

from django_inference import predictors
from tests.servers.model import answer, inputs
from tests.site.gunicorn_conf import to_host
from tests.site.views import from_json, to_json

GIVEN = inputs(0)
#: Seconds after which a child that hangs ends itself.
PATIENCE = 20


def predict() -> Any:
    return to_json(predictors["mlp"].predict(from_json(GIVEN)))


class Child:
    """A forked process that predicts and says what it got."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            signal.alarm(PATIENCE)
            try:
                inherited = len(to_host())
                said = {"answer": predict(), "inherited": inherited}
                os.write(writer, json.dumps(said).encode())
            finally:
                os._exit(0)
        os.close(writer)
        self._reader = reader

    def said(self) -> Any:
        with os.fdopen(self._reader) as pipe:
            said = pipe.read()
        os.waitpid(self.pid, 0)
        return json.loads(said) if said else None


def starting() -> dict[str, Any]:
    # Threads take turns as often as they can, so that forks come everywhere.
    sys.setswitchinterval(1e-6)
    began = time.monotonic()
    get_wsgi_application()
    (thread,) = (t for t in threading.enumerate() if t.name == "inference-preload")
    idle: list[int] = []
    while thread.is_alive() and len(idle) < 100:
        idle.append(_fork_idle())
    children = [Child() for _ in range(4)]
    thread.join(PATIENCE)
    seconds = time.monotonic() - began
    said = [child.said() for child in children]
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return {"children": said, "preload_seconds": seconds, "forks": len(idle)}


def calling() -> dict[str, Any]:
    right, calls, wrong = answer(GIVEN), [0] * 4, [0] * 4
    predict()
    done = threading.Event()

    def call(number: int) -> None:
        while not done.is_set():
            calls[number] += 1
            try:
                wrong[number] += predict() != right
            except Exception:
                wrong[number] += 1

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(8):
        time.sleep(0.02)
        children.append(Child())
    said = [child.said() for child in children]
    done.set()
    for thread in threads:
        thread.join(PATIENCE)
    return {"children": said, "calls": sum(calls), "wrong": sum(wrong)}


def _fork_idle() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(PATIENCE)
        os._exit(0)
    return pid


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
    import django

    django.setup()
    print(json.dumps({"starting": starting, "calling": calling}[sys.argv[1]]()))
