from __future__ import annotations

from pathlib import Path

from django_inference.runtimes import BUILT_IN
from tests.table.cases import CASES

PAGE = Path(__file__).parents[2] / "docs/reference/runtime-table.md"


def test_every_runtime_has_a_row_and_no_row_has_a_wrong_answer() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(CASES)
    assert set(CASES) == set(BUILT_IN)
    for row in rows:
        assert "**no**" not in row
        assert "wrong" not in row
        assert "ModelCrashed" not in row
