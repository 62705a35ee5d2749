"""What the benchmarks share: their arguments, a model to run, and the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from django_inference.runtimes.loading import usable_cores

PACKAGES = ("Django", "gunicorn", "msgspec", "numpy", "onnxruntime")


def arguments(description: str) -> argparse.Namespace:
    """Parse what every benchmark takes: `--quick` and `--json FILE`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser.parse_args()


def write_mlp(path: Path, *widths: int) -> Path:
    """Write a perceptron with random weights as ONNX; return its path.

    Args:
        path: of the file.
        widths: of its input, its hidden layers and its output, in float32.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(0)
    nodes, weights = [], []
    layers = list(zip(widths, widths[1:], strict=False))
    for number, (have, want) in enumerate(layers):
        matrix = random.standard_normal((have, want), dtype=np.float32) / np.float32(have**0.5)
        weights.append(numpy_helper.from_array(matrix, f"weights{number}"))
        source = f"layer{number - 1}" if number else "x"
        is_last = number == len(layers) - 1
        product = "y" if is_last else f"product{number}"
        nodes.append(helper.make_node("MatMul", [source, f"weights{number}"], [product]))
        if not is_last:
            nodes.append(helper.make_node("Relu", [product], [f"layer{number}"]))
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", widths[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", widths[-1]])],
        weights,
    )
    # An older format than this onnx writes by itself, so that an older ONNX Runtime reads it.
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


class Report:
    """Collects the figures of one run, prints them as tables, writes them as JSON."""

    def __init__(self, title: str) -> None:
        self.raw: dict[str, Any] = {}
        self.ratios: dict[str, dict[str, Any]] = {}
        # Redirected to a file, a table would be folded at 80 columns.
        self._console = Console(width=None if os.isatty(1) else 120)
        self._machine = machine()
        self._console.print(f"[bold]{title}[/]")
        self._console.print(", ".join(f"{name} {value}" for name, value in self._machine.items()))

    def table(self, title: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Print raw figures, a row a variant, and keep them.

        Args:
            title: what was measured, in which unit; also its key in the JSON.
            rows: by variant, then by column.
        """
        self.raw[title] = {name: dict(row) for name, row in rows.items()}
        self._console.print(f"\n[bold]{title}[/]")
        table = Table("")
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in rows.items():
            table.add_row(name, *(_figure(row.get(column, "")) for column in columns))
        self._console.print(table)

    def note(self, text: str) -> None:
        """Print a line of explanation."""
        self._console.print(text, highlight=False)

    def ratio(
        self,
        name: str,
        value: float,
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Keep a ratio and hold it against its aim."""
        if at_most is not None:
            aim, met = f"<= {at_most:g}", value <= at_most
        else:
            assert at_least is not None
            aim, met = f">= {at_least:g}", value >= at_least
        self.ratios[name] = {"value": round(value, 4), "aim": aim, "met": met}

    def finish(self, file: Path | None) -> None:
        """Print the ratios with their aims; write everything to the file, if there is one."""
        self._console.print("\n[bold]Against the aims[/]")
        table = Table("", "value", "aim", "")
        for name, ratio in self.ratios.items():
            verdict = "met" if ratio["met"] else "MISSED"
            table.add_row(name, f"{ratio['value']:.2f}", ratio["aim"], verdict)
        self._console.print(table)
        missed = sum(not ratio["met"] for ratio in self.ratios.values())
        self.note(f"{missed} of {len(self.ratios)} aims missed." if missed else "All aims met.")
        if file is not None:
            found = {"machine": self._machine, "raw": self.raw, "ratios": self.ratios}
            file.write_text(json.dumps(found, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        # Others' work on the machine shows here.
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name.lower(): metadata.version(name) for name in PACKAGES},
    }


def summary(nanoseconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile in microseconds, and calls a second at the median."""
    ordered = sorted(nanoseconds)
    median = statistics.median(ordered)
    return {
        "median": round(median / 1000, 1),
        "p99": round(ordered[int(len(ordered) * 0.99)] / 1000, 1),
        "least": round(ordered[0] / 1000, 1),
        "calls/s": round(1e9 / median),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
