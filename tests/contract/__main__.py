"""Fill the table of the contract: `make contract-table`.

    python -m tests.contract docs/reference/contract.md

Every cell is what was found. A wrong answer, or an error that is not the caller's, ends the
command.
"""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import django
from django.conf import settings
from rich.console import Console

from tests.contract.rows import ROWS, page, row


def main() -> None:
    (path,) = sys.argv[1:]
    settings.configure(INSTALLED_APPS=["django_inference"], INFERENCE={})
    django.setup()
    console = Console()
    rows = {}
    with tempfile.TemporaryDirectory(prefix="contract-") as folder:
        for name in ROWS:
            rows[name] = row(name, Path(folder))
            console.print(name, rows[name])
    Path(path).write_text(page(rows))


if __name__ == "__main__":
    # Where torchvision is only half there, before anything else looks for it.
    import_module("tests.torchvision_ops")
    main()
