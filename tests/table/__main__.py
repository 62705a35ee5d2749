"""Fill the table of runtimes: `make runtime-table`.

    python -m tests.table docs/reference/runtime-table.md [NAME …]

Every model is loaded by the model host and asked as a site would ask it. Nothing in the table
is written by hand.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import django
import numpy as np
import psutil
from django.conf import settings
from django.core.management import call_command
from rich.console import Console

from django_inference import Predictor, predictors, runtimes
from django_inference.exceptions import InferenceError, InvalidInput
from django_inference.runtimes.loading import import_object
from tests.hosts import eventually
from tests.table.cases import CASES, Case, Payload

#: Of one call: the huge input is longer.
MOST = 8 << 20

HEAD = """\
# What each runtime was seen to do

`make runtime-table` has written this page. It loads a real model with each runtime in the model
host, and asks it what a site, and what somebody with bad intentions, would ask.

- *right*: three rows get the answers that the framework gives when it is called directly;
- *batch*: they get the same answers one by one;
- *bad name* to *huge*: an input of another name, type or shape, full of NaN, without rows, and
  longer than `max_request_bytes`. "refused" is `InvalidInput` for that caller, "answered" what the
  framework makes of it. After each of them the model was right again;
- *reload*: right before a reload, during it, and after it;
- *MB*: of one worker (PSS), framework included;
- *shared*: two replicas with `share_weights`, in the memory of two without.

"""


def main() -> None:
    path, *names = sys.argv[1:]
    rows: dict[str, dict[str, str]] = {}
    console = Console()
    with tempfile.TemporaryDirectory(prefix="table-") as folder, site(Path(folder)):
        for name in names or CASES:
            home = Path(folder) / name
            home.mkdir()
            rows[name] = row(name, CASES[name](home))
            console.print(name, rows[name])
    Path(path).write_text(HEAD + markdown(rows))


@contextmanager
def site(folder: Path) -> Iterator[None]:
    """A Django project that declares nothing yet."""
    host = {"RUNTIME_DIR": folder / "host", "ARTIFACT_DIR": folder / "artifacts", "LINGER": 5.0}
    settings.configure(
        INSTALLED_APPS=["django_inference"], INFERENCE={}, INFERENCE_HOST=host, BASE_DIR=folder
    )
    django.setup()
    try:
        yield
    finally:
        call_command("inference_host", stop=True)


def row(name: str, case: Case) -> dict[str, str]:
    """Ask one model everything."""
    with declared(case) as predictor:
        expected = case.direct()

        def is_right() -> bool:
            return case.is_right(predictor.predict(case.payload), expected)

        found = {
            "model": case.model,
            "framework": predictor.status().replicas[0].framework,
            "load": f"{predictor.status().load_seconds:.1f} s",
            "right": yes(is_right()),
            "batch": yes(case.is_right(one_by_one(predictor, case.payload), expected)),
        }
        for what, payload in bad_inputs(case.payload).items():
            said = "—" if payload is None else outcome(predictor, payload)
            found[what] = said if is_right() else f"{said}, then wrong"
        found["reload"] = yes(reloads(predictor, is_right))
        found["MB"] = f"{megabytes(predictor):,.0f}"
    found["shared"] = shared(name, case)
    return found


@contextmanager
def declared(case: Case, **options: Any) -> Iterator[Predictor]:
    """The model, loaded by the host."""
    options = {"timeout": 120.0, "max_request_bytes": MOST, **options}
    predictor = predictors.register("model", **{**case.declared, "OPTIONS": options})
    try:
        predictor.preload(wait=True, timeout=120.0)
        replicas = options.get("replicas", 1)
        eventually(lambda: len([r for r in predictor.status().replicas if r.pid]) == replicas)
        yield predictor
    finally:
        predictor.unload()
        predictors.unregister("model")


def one_by_one(predictor: Predictor, payload: Payload) -> Any:
    """The answers to each row alone, put together again."""
    if isinstance(payload, list):
        return [predictor.predict([item])[0] for item in payload]
    size = len(next(iter(payload.values())))
    parts = [
        predictor.predict({name: tensor[index : index + 1] for name, tensor in payload.items()})
        for index in range(size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bad_inputs(payload: Payload) -> dict[str, Payload | None]:
    """What nobody should send; None where there is no such thing."""
    if isinstance(payload, list):
        return {
            "bad name": {"nonsense": np.zeros((1, 3))},
            "bad type": [3.5],
            "bad shape": [np.zeros(7, np.uint8)],
            "NaN": [np.full((64, 64, 3), np.nan)],
            "empty": [payload[0][:0]],
            "huge": [b"x" * (2 * MOST)],
        }
    name, tensor = next(iter(payload.items()))
    rest = {key: value for key, value in payload.items() if key != name}
    is_float = tensor.dtype.kind == "f"
    long = -(-2 * MOST // tensor[0].nbytes)
    return {
        "bad name": {**rest, "nonsense": tensor},
        "bad type": {**rest, name: np.full(tensor.shape, "text")},
        "bad shape": {**rest, name: tensor[..., None]},
        "NaN": {**rest, name: np.full_like(tensor, np.nan)} if is_float else None,
        "empty": {key: value[:0] for key, value in payload.items()},
        "huge": {key: np.resize(value, (long, *value.shape[1:])) for key, value in payload.items()},
    }


def outcome(predictor: Predictor, payload: Payload) -> str:
    """How a call ends."""
    try:
        predictor.predict(payload)
    except InvalidInput:
        return "refused"
    except InferenceError as error:
        return type(error).__name__
    return "answered"


def reloads(predictor: Predictor, is_right: Callable[[], bool]) -> bool:
    """Whether it is right all the time, until another process has taken over."""
    before = predictor.status().pid
    predictor.reload()
    answers = [is_right()]

    def has_moved() -> bool:
        answers.append(is_right())
        return predictor.status().pid not in (0, before)

    eventually(has_moved, timeout=120.0)
    return all([*answers, is_right()])


def megabytes(predictor: Predictor) -> float:
    """The memory of its workers."""
    pids = [replica.pid for replica in predictor.status().replicas]
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 1e6


def shared(name: str, case: Case) -> str:
    """The memory of two replicas that share their weights, in that of two that do not."""
    kind = import_object(runtimes.BUILT_IN[name])
    if not kind.can_share_weights:
        return "—"
    weighed = []
    for share in (False, True):
        with declared(case, replicas=2, share_weights=share) as predictor:
            weighed.append(megabytes(predictor))
    return f"{weighed[1] / weighed[0]:.2f}"


def yes(is_so: bool) -> str:
    return "yes" if is_so else "**no**"


def markdown(rows: dict[str, dict[str, str]]) -> str:
    columns = list(next(iter(rows.values())))
    lines = ["| runtime | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in rows.items():
        lines.append(f"| `{name}` | " + " | ".join(found[column] for column in columns) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # Where torchvision is only half there, before anything else looks for it.
    import_module("tests.torchvision_ops")
    main()
