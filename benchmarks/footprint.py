"""What sharing one model through the model host saves, and what it costs a web worker.

    python benchmarks/footprint.py [--quick] [--json FILE]

The same Django site under gunicorn, four times over: without a model; without one, but with
numpy imported; with a model of some 200 MB in the model host; and with the plain recipe, a
session that each web worker loads for itself. Memory is PSS, summed over the processes of a
tree, so that a page that several processes share is counted once. It is read after every
web worker has answered predictions over HTTP. Linux only.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import django
import psutil
from django.conf import settings
from django.core.management import call_command

from _common import Report, arguments, write_mlp
from django_inference import predictors

if TYPE_CHECKING:
    from collections.abc import Iterator

#: About 200 MB of weights, nearly all of them in one matrix.
WIDTHS = (64, 7000, 7000, 10)
#: Predictions that each web worker must have answered before its memory is read.
ANSWERS = 3
#: What a web process must not have imported by `django.setup()`.
HEAVY = ("numpy", "onnxruntime", "tensorflow", "torch", "sklearn", "grpc", "celery", "rich")

SETTINGS = """
import os
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
if os.environ["VARIANT"] == "model host":
    INSTALLED_APPS.append("django_inference")
    MIDDLEWARE.append("django_inference.middleware.InferenceMiddleware")
    INFERENCE = {"model": {"MODEL": BASE_DIR / "model.onnx"}}
    for name in os.environ.get("MORE", "").split():
        INFERENCE[name] = INFERENCE["model"]
    INFERENCE_HOST = {"RUNTIME_DIR": BASE_DIR / "host"}
"""

URLS = """
import json
import os
from pathlib import Path

from django.http import JsonResponse
from django.urls import path

VARIANT = os.environ["VARIANT"]

if VARIANT == "no model":
    def answer(row):
        return row[:10]
else:
    import numpy as np

    def answer(row):
        return np.asarray([row], np.float32)[0, :10].tolist()

if VARIANT == "model host":
    from django_inference import predictors

    def answer(row):
        return predictors["model"].predict({"x": np.asarray([row], np.float32)})["y"][0].tolist()

if VARIANT == "a copy per worker":
    import onnxruntime

    session = onnxruntime.InferenceSession(str(Path(__file__).parent / "model.onnx"))

    def answer(row):
        return session.run(["y"], {"x": np.asarray([row], np.float32)})[0][0].tolist()


def view(request):
    return JsonResponse({"pid": os.getpid(), "y": answer(json.loads(request.body))})


urlpatterns = [path("", view)]
"""

WSGI = """
from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
"""

#: Run in a process of its own: what `django.setup()` takes, and what it imports.
SET_UP = """
import json, sys, time
import django
began = time.perf_counter()
django.setup()
print(json.dumps([time.perf_counter() - began, sorted(sys.modules)]))
"""


def environment(folder: Path, variant: str, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "VARIANT": variant,
        **more,
    }


# Memory.


@contextmanager
def gunicorn(folder: Path, variant: str, workers: int) -> Iterator[tuple[psutil.Process, int]]:
    """Run the site; give its master process and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "site_wsgi", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--timeout", "120", "--log-level", "warning"]
    log = folder / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment(folder, variant), stdout=output, stderr=output
        )
    try:
        yield psutil.Process(process.pid), port
    except Exception:
        sys.stderr.write(log.read_text())
        raise
    finally:
        process.terminate()
        process.wait(30)


def predict(port: int) -> tuple[int, list[float]]:
    """Have the site predict; return the web worker that answered, and the answer."""
    body = json.dumps([0.5] * 64).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=body)
    with urllib.request.urlopen(request, timeout=60) as response:
        found = json.load(response)
    return found["pid"], found["y"]


def wait_for(port: int) -> list[float]:
    end = time.monotonic() + 60
    while True:
        try:
            return predict(port)[1]
        except OSError:
            # Not there yet, or the model is not.
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def exercise(port: int, workers: int) -> list[float]:
    """Send predictions until every web worker has answered some; return the answer."""
    answer = wait_for(port)
    counts: Counter[int] = Counter()
    end = time.monotonic() + 120
    with ThreadPoolExecutor(2 * workers) as pool:
        while len(counts) < workers or min(counts.values()) < ANSWERS:
            if time.monotonic() > end:
                raise TimeoutError(f"only {len(counts)} of {workers} web workers answered")
            for pid, _ in pool.map(predict, [port] * 2 * workers):
                counts[pid] += 1
    return answer


def megabytes(*processes: psutil.Process) -> float:
    """The proportional set size of some processes."""
    kilobytes = 0
    for process in processes:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
        kilobytes += int(line.split()[1])
    return round(kilobytes * 1024 / 1e6, 1)


def weigh(folder: Path, variant: str, workers: int) -> tuple[dict[str, float], list[float]]:
    """Run the site with so many web workers; return its memory, and what it answered."""
    with gunicorn(folder, variant, workers) as (master, port):
        answer = exercise(port, workers)
        # Whatever is freed after an answer is freed by now.
        time.sleep(0.5)
        memory = {"web": megabytes(master, *master.children(recursive=True))}
        if variant == "model host":
            status = predictors["model"].status()
            assert len(status.replicas) == 1
            memory["supervisor"] = megabytes(psutil.Process(status.host_pid))
            memory["model"] = megabytes(psutil.Process(status.pid))
        memory["total"] = round(sum(memory.values()), 1)
    if variant == "model host":
        with open(os.devnull, "w") as nowhere:
            call_command("inference_host", stop=True, stdout=nowhere)
    return memory, answer


def count(workers: int) -> str:
    return f"{workers} web worker{'s' if workers > 1 else ''}"


def memory(report: Report, folder: Path, sizes: list[int]) -> None:
    variants = ["no model", "numpy, no model", "model host", "a copy per worker"]
    found: dict[tuple[str, int], dict[str, float]] = {}
    answers: dict[str, list[float]] = {}
    for workers in sizes:
        for variant in variants:
            found[variant, workers], answers[variant] = weigh(folder, variant, workers)
    model, plain = answers["model host"], answers["a copy per worker"]
    assert all(abs(a - b) < 1e-4 for a, b in zip(model, plain, strict=True)), (model, plain)
    parts = ("web", "supervisor", "model", "total")
    report.table(
        "Memory of the site, MB (PSS)",
        {
            f"{variant}, {count(workers)}": {
                part: found[variant, workers].get(part, "") for part in parts
            }
            for variant in variants
            for workers in sizes
        },
    )
    least, most = min(sizes), max(sizes)

    def added(workers: int, variant: str = "model host", to: str = "no model") -> float:
        return (found[variant, workers]["web"] - found[to, workers]["web"]) / workers

    def further(variant: str) -> float:
        grown = found[variant, most]["total"] - found[variant, least]["total"]
        return grown / (most - least)

    report.table(
        "MB that a web worker costs",
        {
            **{
                f"more than without a model, {count(workers)}": {
                    "model host": round(added(workers), 1),
                    "of that, numpy": round(added(workers, "numpy, no model"), 1),
                    "a copy per worker": round(added(workers, "a copy per worker"), 1),
                }
                for workers in sizes
            },
            f"each further one, from {least} to {most}, Django included": {
                "model host": round(further("model host"), 1),
                "of that, numpy": "",
                "a copy per worker": round(further("a copy per worker"), 1),
            },
        },
    )
    report.ratio(
        "MB that django_inference adds to a web worker that has predicted (the worst)",
        max(added(workers) for workers in sizes),
        at_most=15,
    )
    models = [found["model host", workers]["model"] for workers in sizes]
    # Where an allocator leaves a few pages is chance, hence the hundredths.
    name = f"memory of the model, {most} web workers / {least}"
    report.ratio(name, models[-1] / models[0], at_most=1.05)
    copies, shared = found["a copy per worker", most]["total"], found["model host", most]["total"]
    report.note(
        f"With {most} web workers, one copy each takes {copies / shared:.1f} times the memory of "
        f"the model host: {copies:,.0f} MB against {shared:,.0f} MB."
    )


# Time.


def set_up(folder: Path, variant: str) -> tuple[float, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", SET_UP],
        env=environment(folder, variant, MORE="second third"),
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds, modules = json.loads(done.stdout)
    return seconds, set(modules)


def start(report: Report, folder: Path, rounds: int) -> None:
    variants = {"without django_inference": "no model", "with it, three predictors": "model host"}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    modules: dict[str, set[str]] = {}
    for number in range(rounds + 1):
        for name, variant in variants.items():
            took, modules[name] = set_up(folder, variant)
            # The first round may compile.
            if number:
                seconds[name].append(took * 1000)
    without, with_it = seconds.values()
    gains = [b - a for a, b in zip(without, with_it, strict=True)]
    report.table(
        "django.setup(), ms",
        {
            name: {"median": statistics.median(times), "least": min(times), "most": max(times)}
            for name, times in {**seconds, "gained": gains}.items()
        },
    )
    new = sorted(modules["with it, three predictors"] - modules["without django_inference"])
    report.raw["modules that django.setup() imports more"] = new
    report.note(f"It imports {len(new)} modules more: {', '.join(new)}")
    heavy = [name for name in HEAVY if name in modules["with it, three predictors"]]
    report.ratio("ms that django.setup() gains", statistics.median(gains), at_most=30)
    report.ratio("heavy modules that django.setup() imports", len(heavy), at_most=0)


def main() -> None:
    options = arguments("Memory and start-up time of a site with a shared model.")
    if not Path("/proc/self/smaps_rollup").exists():
        sys.exit("PSS is read from /proc/PID/smaps_rollup, which only Linux has.")
    with tempfile.TemporaryDirectory(prefix="footprint-") as name:
        folder = Path(name)
        files = {"site_settings.py": SETTINGS, "site_urls.py": URLS, "site_wsgi.py": WSGI}
        for file, text in files.items():
            (folder / file).write_text(text)
        size = write_mlp(folder / "model.onnx", *WIDTHS).stat().st_size
        settings.configure(
            INSTALLED_APPS=["django_inference"],
            INFERENCE={"model": {"MODEL": folder / "model.onnx"}},
            INFERENCE_HOST={"RUNTIME_DIR": folder / "host"},
        )
        django.setup()
        report = Report("What a shared model costs")
        report.note(f"The model: {size / 1e6:.0f} MB of ONNX. Web server: gunicorn, sync workers.")
        start(report, folder, rounds=7 if options.quick else 21)
        memory(report, folder, [1, 4] if options.quick else [1, 2, 4, 8])
        report.finish(options.json)


if __name__ == "__main__":
    main()
