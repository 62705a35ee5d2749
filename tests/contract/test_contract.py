"""The page on the contract says what is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_inference.runtimes import BUILT_IN
from tests.contract.rows import COLUMNS, LIGHT, ROWS, line, row

PAGE = (Path(__file__).parents[2] / "docs/reference/contract.md").read_text()


# Of Keras, while it writes a file.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    [
        name if name in LIGHT else pytest.param(name, marks=pytest.mark.heavy)
        for name in ROWS
        # A quarter of a minute each, for one cell.
        if name not in ("ultralytics", "yolo")
    ],
)
def test_the_page_has_what_is_found(name: str, tmp_path: Path) -> None:
    pytest.importorskip(MODULES.get(name, name))
    cells = row(name, tmp_path)
    for columns in (COLUMNS, ("dtypes right", "dtypes refused")):
        assert line(name, cells, columns) in PAGE.splitlines()


MODULES = {
    "onnx": "onnxruntime",
    "tensorflow, Keras": "tensorflow",
    "tensorflow1": "tensorflow",
    "litert": "ai_edge_litert",
    "callable": "numpy",
}


def test_every_runtime_has_a_row() -> None:
    assert {name.split(",")[0] for name in ROWS} == set(BUILT_IN)
