"""What each wire costs: JSON, blobs and gRPC, against `predict()` in the same process.

    python benchmarks/wire.py [--quick] [--json FILE] [--peers-dir FOLDER]

A 640×640×3 image of bytes and a vector of 64 floats, one caller, one connection: Django REST
framework's JSON, the Open Inference Protocol as JSON, with blobs and by gRPC, TensorFlow
Serving's by REST and by gRPC; the bare Django view; and the same requests to MLServer and to
Triton, where `make peers` has installed them. Then how long a body of 12,288 floats takes to be
read; and `manage.py inference_serve` under 64 connections against mosec with the same perceptron.

The wires take turns in short rounds, so that whatever else the machine does hits all of them
alike; a ratio is the median of the ratios of the rounds. `--quick` leaves mosec out unless its
environment has been made before.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import django
import numpy as np
from django.core.management import call_command

from _common import Report, summary, write_mlp
from _load import Served, free_ports, served, wrk
from _rivals import DEFAULT_FOLDER, RIVALS
from _wire_servers import (
    MODELS,
    PEERS,
    Server,
    command,
    has_command,
    mlserver,
    site,
    triton,
    write_site,
)
from _wires import Array, caller

#: As in `over_http.py`.
WIDTHS = (64, 1024, 1024, 10)
ROW = [round(0.37 * number % 1, 3) for number in range(64)]
FLOATS = 12_288
CONNECTIONS = 64

#: By variant, the nanoseconds of each call of a round.
Round = dict[str, list[int]]

HERE = "predict() in the same process"
OURS, SITE = "inference_serve", "Django under gunicorn"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What each wire costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument(
        "--peers-dir",
        type=Path,
        metavar="FOLDER",
        default=DEFAULT_FOLDER,
        help=f"of mosec's virtual environment ({DEFAULT_FOLDER})",
    )
    return parser.parse_args()


def batches() -> dict[str, Array]:
    """One row for each model."""
    random = np.random.default_rng(0)
    dtype, shape = MODELS["image"]
    return {
        "vector": random.random((1, *MODELS["vector"][1]), dtype=np.float32),
        "image": random.integers(0, 256, (1, *shape)).astype(dtype),
    }


def calls(servers: list[Server], model: str, value: Array) -> dict[str, Callable[[], Any]]:
    """How to ask for one prediction, by each wire of each server."""
    from django_inference import predictors

    found: dict[str, Callable[[], Any]] = {HERE: lambda: predictors[model].predict({"x": value})}
    # Its first digits, whoever writes it.
    expected = str(predictors[model].predict({"x": value})["y"].tolist()[0])[:3].encode()
    for server in servers:
        for make in server.wires:
            wire = make(model, value)
            call = caller(wire, server.grpc if wire.headers is None else server.rest)
            said = call()
            if wire.is_text and expected not in said:
                raise RuntimeError(
                    f"{server.name}, {wire.name}: its answer is wrong: {said[:300]!r}"
                )
            found[f"{server.name}: {wire.name}"] = call
    return found


def measure(
    each: dict[str, Callable[[], Any]], rounds: int, seconds: float, at_least: int = 3
) -> list[Round]:
    """Press every variant for a moment, round by round."""
    found = []
    for number in range(rounds):
        this: Round = {}
        # Nobody always goes after the same neighbour.
        names = list(each) if number % 2 else list(each)[::-1]
        for name in names:
            call = each[name]
            taken: list[int] = []
            end = time.perf_counter_ns() + int(seconds * 1e9)
            while len(taken) < at_least or time.perf_counter_ns() < end:
                start = time.perf_counter_ns()
                call()
                taken.append(time.perf_counter_ns() - start)
            this[name] = taken
        found.append(this)
    return found


def ratio(rounds: list[Round], ours: str, other: str) -> float | None:
    """The median of the ratios of the rounds' medians; None where one is missing."""
    ratios = [
        statistics.median(found[ours]) / statistics.median(found[other])
        for found in rounds
        if ours in found and other in found
    ]
    return statistics.median(ratios) if ratios else None


def compare_wires(report: Report, model: str, rounds: list[Round]) -> None:
    names = list(rounds[0])
    rows = {
        name: summary([one for found in rounds for one in found[name]]) for name in sorted(names)
    }
    for name, row in rows.items():
        times = ratio(rounds, name, HERE)
        row["times predict()"] = round(times or 0.0, 1)
    report.table(f"{model}: microseconds a call", rows)
    if model == "vector":
        found = ratio(rounds, f"{SITE}: Open Inference, binary", f"{SITE}: bare Django view")
        assert found is not None
        report.ratio("vector: Open Inference, binary / bare Django view", found, at_most=2)
    for name in names:
        for peer in ("MLServer", "Triton"):
            if name.startswith(f"{peer}: "):
                wire = name.removeprefix(f"{peer}: ")
                found = ratio(rounds, f"{OURS}: {wire}", name)
                if found is not None:
                    report.ratio(f"{model}, {wire}: {OURS} / {peer}", found, at_most=1)


def compare_parsers(report: Report, rounds: int, seconds: float) -> None:
    """How long a JSON body of many floats takes to become an array."""
    from rest_framework.parsers import JSONParser

    from django_inference.tensors import TensorSpec
    from django_inference.wire.open_inference import InferRequest
    from django_inference.wire.open_inference_bodies import read_request, write_request
    from django_inference.wire.tensorflow_documents import decode_predict, tensors_of

    value = np.random.default_rng(0).random((1, FLOATS), dtype=np.float32)
    drf = json.dumps({"inputs": {"x": value.tolist()}}).encode()
    oip = write_request(InferRequest(model="x", inputs={"x": value}), binary=False).joined()
    tfs = json.dumps({"instances": value.tolist()}).encode()
    specs = (TensorSpec("x", "float32", (-1, FLOATS)),)
    names = {
        "REST framework's parser": lambda: JSONParser().parse(io.BytesIO(drf)),
        "Open Inference, into numpy": lambda: read_request(oip, "x"),
        "TensorFlow Serving, into numpy": lambda: tensors_of(decode_predict(tfs), specs),
    }
    found = measure(names, rounds, seconds)
    rows = {name: summary([one for each in found for one in each[name]]) for name in names}
    report.table(f"A JSON body of {FLOATS:,} floats: microseconds to read it", rows)
    default, *ours = names
    for name in ours:
        times = ratio(found, default, name)
        assert times is not None
        report.ratio(f"{name}: times faster than {default}", times, at_least=3)


def compare_mosec(
    report: Report, folder: Path, ours: Server, peers: Path, rounds: int, seconds: float
) -> None:
    """Requests a second over 64 connections."""
    (mosec,) = (rival for rival in RIVALS if rival.name == "mosec")
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": ROW}
    url = f"http://127.0.0.1:{ours.rest}"
    bodies = {
        f"{OURS}: Open Inference, JSON": (
            f"{url}/v2/models/mlp/infer",
            json.dumps({"inputs": [tensor]}),
        ),
        f"{OURS}: TensorFlow Serving, REST": (
            f"{url}/v1/models/mlp:predict",
            json.dumps({"instances": [ROW]}),
        ),
    }
    with _rival(folder / "mosec", peers, folder / "mlp.onnx") as other:
        each = {name: Served(other.process, url, body) for name, (url, body) in bodies.items()}
        each["mosec"] = other
        for server in each.values():
            server.post()
            server.press(CONNECTIONS, 1)
        found = [
            {name: server.press(CONNECTIONS, seconds) for name, server in each.items()}
            for _ in range(rounds)
        ]
    table = {
        name: {key: round(statistics.median(one[name][key] for one in found), 2) for key in row}
        for name, row in found[0].items()
    }
    report.table(f"{CONNECTIONS} connections, a perceptron", table)
    report.raw["mosec rounds"] = found
    for name in bodies:
        rates = [one[name]["requests/s"] / one["mosec"]["requests/s"] for one in found]
        report.ratio(f"{name} / {mosec.name}", statistics.median(rates), at_least=1)


@contextmanager
def _rival(folder: Path, peers: Path, model: Path) -> Iterator[Served]:
    (mosec,) = (rival for rival in RIVALS if rival.name == "mosec")
    mosec.install(peers)
    folder.mkdir()
    (port,) = free_ports(1)
    mosec.write(folder, port, ())
    line = list(map(str, mosec.line(mosec.environment_of(peers) / "bin", port)))
    body = json.dumps(mosec.body(ROW))
    its = mosec.process_environment(folder, model)
    with served(line, its, folder, port, mosec.path, body) as server:
        yield server


def start(stack: ExitStack, report: Report, folder: Path) -> list[Server]:
    """Start what there is; say what there is not."""
    servers = [stack.enter_context(site(folder))]
    if has_command():
        servers.append(stack.enter_context(command(folder)))
    else:
        report.note("There is no inference_serve: gRPC and mosec are left out.")
    for name, make in (("mlserver", mlserver), ("triton", triton)):
        if not (PEERS / name).exists():
            report.note(f"{name} is left out: `make peers` installs it.")
            continue
        try:
            servers.append(stack.enter_context(make(folder / name)))
        except RuntimeError as error:
            report.note(f"{name} is left out: {error}")
    return servers


def main() -> None:
    options = arguments()
    rounds, seconds = (2, 0.1) if options.quick else (15, 0.5)
    with tempfile.TemporaryDirectory(prefix="wire-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        write_mlp(folder / "mlp.onnx", *WIDTHS)
        write_site(folder)
        sys.path.insert(0, name)
        os.environ["DJANGO_SETTINGS_MODULE"] = "wire_settings"
        django.setup()
        report = Report("A prediction over each wire")
        try:
            compare_parsers(report, rounds, seconds)
            with ExitStack() as stack:
                servers = start(stack, report, folder)
                for model, value in batches().items():
                    # As JSON an image takes seconds.
                    at_least = 1 if options.quick else 3
                    found = measure(calls(servers, model, value), rounds, seconds, at_least)
                    compare_wires(report, model, found)
                    report.raw[f"{model} rounds"] = [
                        {name: statistics.median(taken) for name, taken in one.items()}
                        for one in found
                    ]
            installed = (options.peers_dir / "mosec" / "installed.txt").exists()
            if has_command() and (installed or not options.quick):
                wrk()
                with command(folder) as ours:
                    many = (1, 1.0) if options.quick else (3, 3.0)
                    compare_mosec(report, folder, ours, options.peers_dir, *many)
        finally:
            with open(os.devnull, "w") as nowhere:
                call_command("inference_host", stop=True, stdout=nowhere)
        report.finish(options.json)


if __name__ == "__main__":
    main()
