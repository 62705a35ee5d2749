"""What `--check` holds the demo to; each problem is a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from demo_run.folder import Photos
from demo_run.requests import Reply, Status, post_form, request
from demo_run.server import Server
from demo_site.samples import FOLDER, Upload

FRAMEWORKS = ("tensorflow", "onnxruntime")
#: Which models are allowed to have a framework in memory.
HOLDERS = {"tensorflow": {"faces", "notes"}, "onnxruntime": {"types"}}
TYPES = ["python", "css", "markdown", "json", "onnx", "png", "jpeg", "wav"]


def answers(alias: str, replies: list[Reply], workers: set[int]) -> Iterator[str]:
    """Every reply is right, and every web worker gave one."""
    for reply in replies:
        if reply.status != 200:
            yield f"{alias}: HTTP {reply.status}: {reply.text[:200]}"
        elif problem := CHECKS[alias](reply.data):
            yield f"{alias}: {problem}"
    silent = workers - {reply.worker for reply in replies}
    if silent:
        yield f"{alias}: the web workers {sorted(silent)} never answered"


def _faces(data: Any) -> str:
    faces = data["result"]["faces"]
    if len(faces) != 1:
        return f"{len(faces)} faces instead of the astronaut's one"
    x, y, width, height = faces[0]["box"]
    # Between the eyes of the astronaut, in a photo of 512 × 512 pixels.
    is_there = x < 225 < x + width and y < 101 < y + height and 60 < width < 130
    if faces[0]["probability"] <= 0.99 or not is_there:
        return f"not the astronaut's face: {faces[0]}"
    return ""


def _notes(data: Any) -> str:
    found = sorted(note["midi"] for note in data["result"]["notes"])
    return "" if found == [60, 64, 67] else f"MIDI {found} instead of 60, 64, 67"


def _types(data: Any) -> str:
    found = [result["label"] for result in data["results"]]
    return "" if found == TYPES else f"{found} instead of {TYPES}"


CHECKS = {"faces": _faces, "notes": _notes, "types": _types}


def folder(photos: Photos) -> Iterator[str]:
    """Each photo of the sample folder is answered rightly, for its visitor alone."""
    if photos.finished != len(FOLDER):
        yield f"{photos.finished} of {len(FOLDER)} photos were answered in time"
    failed = photos.text.count("job-state failed")
    if failed:
        yield f"{failed} jobs failed"
    faces = [photos.text.count(text) for text in ("One face", "No face")]
    if faces[0] < 1 or sum(faces) != len(FOLDER):
        yield f"{faces} photos with one face, and without"
    if photos.seen_by_others != 404:
        yield f"another visitor gets HTTP {photos.seen_by_others} for a job"


def processes(server: Server, status: Status) -> Iterator[str]:
    """One process a model on the machine, and no framework anywhere else."""
    models = status["models"]
    by_pid = {model["pid"]: alias for alias, model in models.items()}
    if len(by_pid) != len(models) or 0 in by_pid:
        yield f"not one process a model: {models}"
    everything = server.processes()
    workers = [p.pid for p in everything if "django_inference.host.worker" in p.cmdline()]
    if sorted(workers) != sorted(by_pid):
        yield f"the host's workers are {sorted(workers)}, but the models say {sorted(by_pid)}"
    log = server.host_log.read_text(errors="replace")
    for alias in models:
        loads = len(re.findall(rf"model loaded alias={alias}\b", log))
        if loads != 1:
            yield f"{alias} was loaded {loads} times, according to the host's log"
    for process in everything:
        alias = by_pid.get(process.pid, "")
        for framework in FRAMEWORKS:
            is_mapped = framework in mapped_files(process)
            if is_mapped != (alias in HOLDERS[framework]):
                holds = "holds" if is_mapped else "does not hold"
                yield f"process {process.pid} ({alias or 'no model'}) {holds} {framework}"


def mapped_files(process: psutil.Process) -> str:
    """The libraries in a process's memory; none, once it has ended."""
    try:
        return Path(f"/proc/{process.pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pages(port: int) -> Iterator[str]:
    """The pages show the answers, and say kindly what is wrong with an upload."""
    shown = {
        "/": "On this machine, now",
        "/faces/": "Find the faces",
        "/faces/?sample=astronaut": "One face",
        "/faces/?sample=coffee": "No face",
        "/notes/?sample=chord": "3 notes",
        "/notes/?sample=tune": "15 notes",
        "/types/?sample=files": "application/octet-stream",
        "/style.css": "prefers-color-scheme",
    }
    for path, text in shown.items():
        reply = request(port, "GET", path)
        if reply.status != 200 or text not in reply.text:
            yield f"GET {path}: HTTP {reply.status}, without {text!r}"
    noise = Upload("noise.png", "image/png", b"not a picture" * 50)
    large = Upload("large.png", "image/png", bytes(10_000_001))
    for alias, uploads, status, text in (
        ("faces", [noise], 400, "not a picture that can be read"),
        ("notes", [noise], 400, "not a sound that can be read"),
        ("faces", [], 400, "Choose a file first"),
        ("faces", [large], 413, "At most 10 MB"),
        ("types", [noise], 200, "noise.png"),
    ):
        reply, _ = post_form(port, f"/{alias}/", uploads, "upload")
        if reply.status != status or text not in reply.text:
            yield f"form {alias} with {[u.name for u in uploads]}: HTTP {reply.status}"
    for path, status in (("/faces/?sample=nobody", 404), ("/nowhere/", 404)):
        if (found := request(port, "GET", path).status) != status:
            yield f"GET {path}: HTTP {found} instead of {status}"
