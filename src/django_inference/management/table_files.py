"""Tables on the command line: CSV and JSON lines, read and written row by row."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import CommandError

from django_inference import runtimes
from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.json import InferenceJSONEncoder
from django_inference.management.inputs import parsed
from django_inference.plain import to_plain
from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import import_object
from django_inference.tensors import Signature, TensorSpec

#: How the columns of a file with such a suffix are separated.
DELIMITERS = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

#: A row as the file has it, and the item that the model is asked about.
_Row = tuple[dict[str, Any], Any]


def is_table(name: str) -> bool:
    """Whether a file is read, or written, row by row."""
    return Path(name).suffix.lower() in (*DELIMITERS, *LINES)


def predict_table(
    predictor: Predictor, name: str, write: Callable[[dict[str, Any], Any], None], **options: Any
) -> int:
    """Predict every row of a file, in order and several batches at a time.

    Args:
        predictor: to ask.
        name: of the file; its suffix says what it is.
        write: is given each row and its answer.
        options: of `Predictor.map`.

    Returns:
        How many rows there were.

    Raises:
        CommandError: the file cannot be read, or a row cannot be predicted.
    """
    done = 0
    try:
        with Path(name).open(encoding="utf-8-sig", newline="") as file:
            waiting: deque[dict[str, Any]] = deque()

            def items() -> Iterator[Any]:
                for row, item in _rows(file, name, predictor):
                    waiting.append(row)
                    yield item

            for answer in predictor.map(items(), **options):
                write(waiting.popleft(), answer)
                done += 1
    except InferenceError as error:
        raise CommandError(f"{name}: row {done + 1}: {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{name}: {error}") from error
    return done


@contextmanager
def writer(
    name: str | None, stdout: Callable[[str], Any]
) -> Iterator[Callable[[dict[str, Any], Any], None]]:
    """What writes answers: to CSV behind the columns of each row, or as JSON lines.

    Args:
        name: of the file; None prints JSON lines.
        stdout: prints a line.
    """
    if name is None:
        yield lambda row, answer: stdout(_line(answer))
        return
    delimiter = DELIMITERS.get(Path(name).suffix.lower())
    try:
        with Path(name).open("w", encoding="utf-8", newline="") as file:
            if delimiter is None:
                yield lambda row, answer: print(_line(answer), file=file)
            else:
                yield _Columns(file, delimiter).write
    except OSError as error:
        raise CommandError(f"--output {name}: {error.strerror or error}") from error


class _Columns:
    """Writes CSV whose columns are those of the first row and of its answer."""

    def __init__(self, file: TextIO, delimiter: str) -> None:
        self._writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._given: list[str] = []
        self._answered: list[str] | None = None

    def write(self, row: dict[str, Any], answer: Any) -> None:
        plain = to_plain(answer)
        values = plain if isinstance(plain, dict) else {"answer": plain}
        if self._answered is None:
            self._given, self._answered = list(row), list(values)
            taken = [f"{name}_answer" if name in row else name for name in self._answered]
            self._writer.writerow([*self._given, *taken])
        unknown = (values.keys() - set(self._answered)) | (row.keys() - set(self._given))
        if unknown:
            raise CommandError(
                f"{', '.join(sorted(unknown))}: the first row has no such column. Write JSON "
                "lines (.jsonl), where each row may have its own."
            )
        self._writer.writerow(
            [_cell(row.get(name)) for name in self._given]
            + [_cell(values.get(name)) for name in self._answered]
        )


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, dict | list | bool | bytes):
        return json.dumps(value, cls=InferenceJSONEncoder, ensure_ascii=False)
    return value


def _line(answer: Any) -> str:
    return json.dumps(answer, cls=InferenceJSONEncoder, ensure_ascii=False)


def _rows(file: TextIO, name: str, predictor: Predictor) -> Iterator[_Row]:
    signature = predictor.signature
    delimiter = DELIMITERS.get(Path(name).suffix.lower())
    if delimiter is None:
        yield from _lines(file, signature)
        return
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    header = next(reader, None)
    if not header:
        raise CommandError(f"{name} is empty: its first line must name the columns.")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise CommandError(f"{name} has several columns called {', '.join(map(repr, twice))}.")
    make = _maker(header, signature, takes_tensors=_takes_tensors(predictor))
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise CommandError(
                f"{name}: line {reader.line_num} has {len(cells)} cells for the "
                f"{len(header)} columns of the first line."
            )
        try:
            yield dict(zip(header, cells, strict=True)), make(cells)
        except ValueError as error:
            raise CommandError(f"{name}: line {reader.line_num}: {error}") from error


def _lines(file: TextIO, signature: Signature | None) -> Iterator[_Row]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                value = parsed(line)
            except ValueError as error:
                raise CommandError(f"{file.name}: line {number}: {error}") from error
            yield (value if isinstance(value, dict) else {"item": value}), value


def _takes_tensors(predictor: Predictor) -> bool:
    """Whether its runtime is one of tensors, as far as the settings tell."""
    settings = predictor.backend.settings
    try:
        dotted = runtimes.resolve(settings.runtime, settings.model)
    except LookupError:
        return False
    built_in = dotted in runtimes.BUILT_IN.values()
    return built_in and issubclass(import_object(dotted), TensorRuntime)


def _maker(
    header: list[str], signature: Signature | None, *, takes_tensors: bool
) -> Callable[[list[str]], Any]:
    """What makes an item of the cells of a row.

    The names of the columns are those of the model's inputs. A model of one input whose
    features have no names takes the columns in the order of the file.
    """
    inputs = {spec.name: spec for spec in signature.inputs} if signature is not None else {}
    if len(inputs) == 1 and header != list(inputs):
        (only,) = inputs.values()
        if only.shape[1:] == (len(header),):
            return lambda cells: {
                only.name: [_value(cell, only, name) for cell, name in _named(cells, header)]
            }
    if not inputs and len(header) == 1:
        # Such as a text: an item of its own, or `x` of a pipeline of scikit-learn.
        return lambda cells: {"x": cells[0]} if takes_tensors else cells[0]

    def record(cells: Iterable[str]) -> Mapping[str, Any]:
        made = {}
        for cell, name in _named(cells, header):
            spec = inputs.get(name)
            value = (cell or None) if spec is None else _value(cell, spec, name)
            # A column of its own, as converters to ONNX make them.
            made[name] = [value] if spec is not None and spec.shape[1:] == (1,) else value
        return made

    return record


def _named(cells: Iterable[str], header: list[str]) -> Iterable[tuple[str, str]]:
    return zip(cells, header, strict=True)


def _value(cell: str, spec: TensorSpec, column: str) -> Any:
    """A cell in the type of the input that it is for; an empty one is missing."""
    kind = spec.dtype
    if not cell:
        return float("nan") if kind.startswith(("float", "bfloat")) else None
    try:
        if kind == "bool":
            return _TRUTH[cell.strip().lower()]
        if "int" in kind:
            number = float(cell)
            return int(cell) if not number.is_integer() or abs(number) > 2**53 else int(number)
        return float(cell) if kind.startswith(("float", "bfloat")) else cell
    except (ValueError, KeyError, OverflowError):
        wanted = {"bool": "true or false"}.get(
            kind, "a whole number" if "int" in kind else "a number"
        )
        raise ValueError(f"the column {column!r}: expected {wanted}, found {cell!r}.") from None
