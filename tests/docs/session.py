"""A Python session in a Django project: `python session.py`, fed with JSON, a line a block.

What it prints is JSON as well: a line for each block, with what went wrong or null.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import io
import json
import os
import sys
import traceback
from typing import Any

_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF


def run(block: dict[str, Any], names: dict[str, Any]) -> None:
    """Run statements (`await` may stand among them), or compare a dialogue."""
    if block["language"] == "pycon":
        test = doctest.DocTestParser().get_doctest(
            block["text"], names, block["place"], block["place"], 0
        )
        assert test.examples
        report = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=_OPTIONS, verbose=False)
        failed = runner.run(test, out=report.write, clear_globs=False).failed
        names.update(test.globs)
        if failed:
            raise AssertionError(report.getvalue())
        return
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(block["text"], block["place"], "exec", flags)
    outcome = eval(code, names)
    if asyncio.iscoroutine(outcome):
        asyncio.run(outcome)


def main() -> None:
    """Answer until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    import django

    django.setup()
    names: dict[str, Any] = {"__name__": "__main__"}
    for line in sys.stdin:
        error = None
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                run(json.loads(line), names)
            except BaseException:
                error = traceback.format_exc()
        print(json.dumps(error), file=replies)


if __name__ == "__main__":
    main()
