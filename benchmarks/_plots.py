"""Draw what the benchmarks have written.

    python benchmarks/_plots.py FOLDER docs/plots

FOLDER holds what the benchmarks have written with `--json`, each under its own name:
`over_http.json`, `footprint.json`. What is not there is not drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

OURS, OTHERS, BARE = "#0b7285", "#adb5bd", "#495057"
Raw = Mapping[str, Any]


def bars(path: Path, values: Mapping[str, float], label: str, colour: Callable[[str], str]) -> None:
    """A bar for each value, the longest at the top."""
    names = sorted(values, key=lambda name: values[name])
    figure, axes = pyplot.subplots(figsize=(8, 0.3 * len(names) + 0.9))
    drawn = axes.barh(names, [values[name] for name in names], color=list(map(colour, names)))
    axes.bar_label(drawn, fmt="{:,.0f}", padding=4)
    axes.set_xlabel(label)
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    # Without a date, so that the same figures make the same file.
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def over_http(raw: Raw, folder: Path) -> None:
    """Requests a second of every server, and the memory that each takes."""

    def colour(name: str) -> str:
        return OURS if "this project" in name else BARE if "bare" in name else OTHERS

    rates = {name: row["requests/s"] for name, row in raw["64 connections"].items()}
    small = {name: rate for name, rate in rates.items() if "large" not in name}
    bars(folder / "requests.svg", small, "requests a second, 64 connections", colour)
    large = {name: rate for name, rate in rates.items() if "large" in name}
    bars(folder / "requests-large.svg", large, "requests a second, 64 connections", colour)


def footprint(raw: Raw, folder: Path) -> None:
    """Memory of a site by its number of web workers."""
    figure, axes = pyplot.subplots(figsize=(8, 4))
    kinds: dict[str, dict[int, float]] = {}
    for name, row in raw["Memory of the site, MB (PSS)"].items():
        kind, _, workers = name.rpartition(", ")
        kinds.setdefault(kind, {})[int(workers.split()[0])] = row["total"]
    for kind, found in kinds.items():
        axes.plot(list(found), list(found.values()), marker="o", label=kind)
    axes.set_xlabel("web workers")
    axes.set_ylabel("MB (PSS)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, folder / "memory.svg")


PLOTS: Mapping[str, Callable[[Raw, Path], None]] = {"over_http": over_http, "footprint": footprint}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what the benchmarks have written.")
    parser.add_argument("figures", type=Path, metavar="FOLDER")
    parser.add_argument("plots", type=Path, metavar="PLOTS")
    options = parser.parse_args()
    # The drawings are text: they can be searched, and differ only where the figures do.
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "django-inference"})
    options.plots.mkdir(parents=True, exist_ok=True)
    for name, draw in PLOTS.items():
        file = options.figures / f"{name}.json"
        if file.exists():
            draw(json.loads(file.read_text())["raw"], options.plots)


if __name__ == "__main__":
    main()
