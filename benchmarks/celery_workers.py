"""What a Celery worker takes whose children share the one model of the model host.

    python benchmarks/celery_workers.py [--quick] [--json FILE]

The same Celery worker with eight prefork children (two with `--quick`) and a TensorFlow model of
200 MB, three times over: with the model in the model host; with the plain recipe, a model that
each child loads at its first task; and with a model that the worker has loaded before it forked,
for which answers are waited for in vain. Memory is PSS, summed over the processes, so that a page
that several of them share is counted once. It is read after every child has answered. The broker
is a Redis of the benchmark's own. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import celery
import psutil
import redis

from _common import Report, arguments

OURS, RECIPE, FORKED = "model host", "a copy per child", "loaded before the fork"
#: Lengths of the input, of the hidden layer and of the output: 50 million weights in float32.
WIDTHS = (500, 50_000, 500)
#: Seconds that the children have to load what they load.
PATIENCE = 400.0
#: Seconds after which nobody waits any more for a child that was forked with TensorFlow in it.
HANG = 30.0

MODEL = f"""
import sys
import tensorflow as tf

have, hidden, want = {WIDTHS}
draw = tf.random.stateless_normal

class Model(tf.Module):
    def __init__(self):
        self.first = tf.Variable(draw((have, hidden), (1, 2)) / have**0.5)
        self.second = tf.Variable(draw((hidden, want), (3, 4)) / hidden**0.5)

    @tf.function(input_signature=[tf.TensorSpec((None, have), tf.float32, name="x")])
    def serve(self, x):
        return {{"y": tf.nn.relu(x @ self.first) @ self.second}}

model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.serve)
"""

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "benchmark"
USE_TZ = True
INSTALLED_APPS = []
if os.environ["VARIANT"] == "model host":
    INSTALLED_APPS = ["django_inference"]
    INFERENCE = {
        "model": {
            "MODEL": BASE_DIR / "model",
            "RUNTIME": "tensorflow",
            "OPTIONS": {"timeout": 300.0},
        }
    }
    INFERENCE_HOST = {"RUNTIME_DIR": BASE_DIR / "host", "LINGER": 1.0}
    # It is for web workers; Celery's ask for the model by themselves.
    SILENCED_SYSTEM_CHECKS = ["django_inference.W001"]
CELERY_BROKER_URL = os.environ["BROKER"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
"""

APP = f"""
import os
import time
from pathlib import Path

import celery
import redis

app = celery.Celery("site_app")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
counts = redis.Redis.from_url(os.environ["BROKER"])
loaded = None


def load():
    import tensorflow as tf

    global loaded
    if loaded is None:
        loaded = tf.saved_model.load(str(Path(__file__).parent / "model"))
    return loaded.signatures["serving_default"]


def answer(value):
    import numpy as np

    x = np.full((1, {WIDTHS[0]}), value, np.float32)
    if os.environ["VARIANT"] == "model host":
        from django_inference import predictors

        return predictors["model"].predict({{"x": x}})["y"]
    import tensorflow as tf

    return load()(x=tf.constant(x))["y"].numpy()


if os.environ["VARIANT"] == "loaded before the fork":
    from celery.signals import worker_init

    @worker_init.connect
    def load_early(**kwargs):
        import tensorflow as tf

        load()(x=tf.zeros((1, {WIDTHS[0]})))


@app.task(name="warm")
def warm():
    y = answer(1.0)
    counts.set("y", repr(float(y[0, 0])))
    counts.sadd("children", os.getpid())
    # So that the other children get some, too.
    time.sleep(0.5)


@app.task(name="predict")
def predict(value):
    answer(value)
    counts.incr("done")
"""


class Bench(NamedTuple):
    """One folder with the site, and its broker."""

    folder: Path
    broker: str

    @property
    def counts(self) -> Any:
        """What the tasks have counted."""
        return redis.Redis.from_url(self.broker)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for the site."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("BENCH_FOLDER") == str(self.folder):
                    found.append(process)
        return found


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="celery-") as name, socket.socket() as free:
        folder = Path(name)
        (folder / "site_settings.py").write_text(SETTINGS)
        (folder / "site_app.py").write_text(APP)
        subprocess.run(
            [sys.executable, "-c", MODEL, str(folder / "model")], check=True, capture_output=True
        )
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
        )
        try:
            made = Bench(folder, f"redis://127.0.0.1:{port}/0")
            wait(lambda: _answers(made), 10.0)
            yield made
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def worker(bench: Bench, variant: str, children: int) -> Iterator[psutil.Process]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(bench.folder), os.environ.get("PYTHONPATH", "")]),
        "C_FORCE_ROOT": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "VARIANT": variant,
        "BROKER": bench.broker,
        "BENCH_FOLDER": str(bench.folder),
    }
    command = [sys.executable, "-m", "celery", "-A", "site_app", "worker", "--without-gossip"]
    log = bench.folder / "worker.log"
    with log.open("wb") as output:
        process = psutil.Popen(
            [*command, "--concurrency", str(children), "--loglevel", "WARNING"],
            cwd=bench.folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    except Exception:
        sys.stderr.write(log.read_text())
        raise
    finally:
        # What hangs does not leave because it is told to.
        process.terminate()
        _, alive = psutil.wait_procs(bench.processes(), timeout=20.0)
        for each in alive:
            each.kill()
        psutil.wait_procs(alive)
        bench.counts.flushdb()


def measure(bench: Bench, variant: str, children: int, calls: int) -> dict[str, Any]:
    """Start a worker, have all its children answer, read their memory, and send calls."""
    app = celery.Celery("client", broker=bench.broker, set_as_current=False)
    counts = bench.counts
    began = time.monotonic()
    with worker(bench, variant, children) as parent:

        def all_answer() -> bool:
            if not counts.llen("celery"):
                for _ in range(children):
                    app.send_task("warm")
            return bool(counts.scard("children") >= children)

        patience = HANG if variant == FORKED else PATIENCE
        try:
            wait(all_answer, patience)
        except TimeoutError:
            if variant != FORKED:
                raise
            answered = f"{counts.scard('children')} of {children} in {HANG:g} s"
            return {"children that answer": answered}
        ready = time.monotonic() - began
        wait(lambda: not counts.llen("celery"), PATIENCE)
        own = [parent, *parent.children(recursive=True)]
        others = [each for each in bench.processes() if each not in own]
        memory = {"Celery, MB": megabytes(own), "model host, MB": megabytes(others)}
        answer = float(counts.get("y"))
        began = time.monotonic()
        for number in range(calls):
            app.send_task("predict", (float(number),))
        wait(lambda: int(counts.get("done") or 0) >= calls, PATIENCE)
        seconds = time.monotonic() - began
    return {
        "children that answer": f"{children} of {children}",
        **memory,
        "together, MB": sum(memory.values()),
        "all answer after, s": ready,
        "predictions/s": calls / seconds,
        "y": answer,
    }


def megabytes(processes: list[psutil.Process]) -> float:
    """The proportional set size of some processes."""
    kilobytes = 0
    for process in processes:
        with contextlib.suppress(OSError, psutil.Error):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
            kilobytes += int(line.split()[1])
    return kilobytes / 1024


def wait(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.02)


def _answers(bench: Bench) -> bool:
    try:
        return bool(bench.counts.ping())
    except redis.ConnectionError:
        return False


def main() -> None:
    options = arguments("Memory and throughput of a Celery worker with a model of 200 MB.")
    if not Path("/proc/self/smaps_rollup").exists() or shutil.which("redis-server") is None:
        sys.exit("This needs Linux and a redis-server.")
    children, calls = (2, 100) if options.quick else (8, 600)
    report = Report(f"A Celery worker with {children} children and a TensorFlow model of 200 MB")
    rows = {}
    with bench() as made:
        for variant in (OURS, RECIPE) if options.quick else (OURS, RECIPE, FORKED):
            rows[variant] = measure(made, variant, children, calls)
    ours, recipe = rows[OURS], rows[RECIPE]
    assert abs(ours.pop("y") - recipe.pop("y")) < 1e-3, "the two do not answer alike"
    report.table("Memory (PSS) and throughput", rows)
    report.ratio(
        "memory, to a copy per child",
        ours["together, MB"] / recipe["together, MB"],
        at_most=0.9 if options.quick else 0.4,
    )
    report.ratio(
        "predictions a second, to a copy per child",
        ours["predictions/s"] / recipe["predictions/s"],
        at_least=0.5 if options.quick else 1.0,
    )
    report.finish(options.json)


if __name__ == "__main__":
    main()
