"""`manage.py inference_fill`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings
from rich.console import Console

from django_inference import predictors
from django_inference.exceptions import PredictionFailed
from django_inference.management import progress
from django_inference.management.progress import bar, in_rows
from tests.backends.conftest import DUMMY
from tests.querysets.gallery.models import Album, Photo
from tests.querysets.samples import UNLUCKY, doubled

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def backend(settings: Settings) -> Iterator[Any]:
    """Doubles numbers, as the output `y` of the predictor `twice`."""
    settings.INFERENCE = {"twice": {"BACKEND": DUMMY, "OPTIONS": {"max_batch_size": 2}}}
    backend: Any = predictors["twice"].backend
    backend.returns(lambda items: [{"y": value} for value in doubled(_list(items))])
    yield backend
    predictors.reset()


def _list(items: Any) -> list[Any]:
    return [item["x"] if isinstance(item, dict) else item for item in items]


def fill(*arguments: str, column: str = "gallery.Photo.doubled") -> tuple[str, str]:
    """What the command says, and complains of."""
    out, err = io.StringIO(), io.StringIO()
    given = ["--predictor", "twice", *arguments]
    if "--input" not in arguments:
        given += ["--input", "number"]
    try:
        call_command("inference_fill", column, *given, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), f"{err.getvalue()}{error}"
    return out.getvalue(), err.getvalue()


def values() -> dict[int, Any]:
    return dict(Photo.objects.values_list("number", "doubled"))


def test_it_fills_the_rows_that_have_no_value(backend: Any) -> None:
    for number, value in ((1, None), (2, 7), (3, None)):
        Photo.objects.create(number=number, doubled=value)
    assert fill() == ("2 rows filled, 0 failed\n", "")
    assert values() == {1: 2, 2: 7, 3: 6}
    assert fill() == ("0 rows filled, 0 failed\n", "")
    assert fill("--all") == ("3 rows filled, 0 failed\n", "")
    assert values() == {1: 2, 2: 4, 3: 6}


@pytest.mark.parametrize(
    ("where", "filled"),
    [
        (["number__gte=2"], [2, 3]),
        (["title=sea"], [1]),
        (["number__in=[1, 3]", "album__title=a=b"], [3]),
        (["image="], [1, 2, 3]),
        (["album__isnull=true"], [1, 2]),
    ],
)
def test_it_fills_only_these_rows(where: list[str], filled: list[int]) -> None:
    for number, title in ((1, "sea"), (2, "sky")):
        Photo.objects.create(number=number, title=title)
    Photo.objects.create(number=3, album=Album.objects.create(title="a=b"))
    fill(*[argument for condition in where for argument in ("--where", condition)])
    assert [number for number, value in sorted(values().items()) if value] == filled


def test_a_text_that_takes_no_null_is_empty(backend: Any) -> None:
    Photo.objects.create(caption="there")
    Photo.objects.create()
    backend.returns(lambda items: ["new"] * len(items))
    fill(column="gallery.Photo.caption")
    assert sorted(Photo.objects.values_list("caption", flat=True)) == ["new", "there"]


def test_tensors_and_outputs_have_names(backend: Any) -> None:
    Photo.objects.create(number=3)
    fill("--input", "x=number", "--input", "z=album.title", "--output", "y", "--batch-size", "1")
    assert values() == {3: 6}
    assert backend.calls[-1].inputs == [{"x": 3, "z": None}]


def test_rows_that_fail_are_told_and_tried_again(backend: Any) -> None:
    for number in (1, UNLUCKY, 2):
        Photo.objects.create(number=number)
    predict = backend._result

    def refuse(items: list[int]) -> Any:
        try:
            return predict(items)
        except ValueError as error:
            raise PredictionFailed(str(error)) from error

    backend.returns(lambda items: refuse(items) if isinstance(items, list) else refuse([items])[0])
    unlucky = Photo.objects.get(number=UNLUCKY).pk
    said, complained = fill()
    assert said == "2 rows filled, 1 failed\n"
    assert complained == (
        f"{unlucky}: {UNLUCKY} brings bad luck\nRows that failed are as they were."
    )
    Photo.objects.filter(pk=unlucky).update(number=4)
    assert fill() == ("1 rows filled, 0 failed\n", "")


@pytest.mark.parametrize(
    ("arguments", "column", "said"),
    [
        ([], "Photo.doubled", "APP.MODEL.FIELD"),
        ([], "galery.Photo.doubled", "galery"),
        ([], "gallery.Foto.doubled", "Foto"),
        ([], "gallery.Photo.dubled", "Did you mean 'doubled'"),
        ([], "gallery.Photo.flag", "--all"),
        (["--where", "number"], "gallery.Photo.doubled", "LOOKUP=VALUE"),
        (["--where", "nummer=1"], "gallery.Photo.doubled", "nummer"),
        (["--where", "number=one"], "gallery.Photo.doubled", "number"),
        (["--input", "nummer"], "gallery.Photo.doubled", "Did you mean 'number'"),
        (["--input", "x=number", "--input", "title"], "gallery.Photo.doubled", "TENSOR=PATH"),
        (["--predictor", "thrice"], "gallery.Photo.doubled", "thrice"),
        (["--checkpoint", "/nowhere/at/all"], "gallery.Photo.doubled", "nowhere"),
    ],
)
def test_a_mistake_is_said(arguments: list[str], column: str, said: str) -> None:
    Photo.objects.create()
    assert said in fill(*arguments, column=column)[1]


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_and_a_database(tmp_path: Path) -> None:
    path = tmp_path / "fill"
    Photo.objects.create(number=1)
    options = ["--all", "--checkpoint", str(path), "--database", "default", "--timeout", "5"]
    assert fill(*options)[0] == "1 rows filled, 0 failed\n"
    Photo.objects.create(number=2)
    assert fill(*options)[0] == "2 rows filled, 0 failed\n"
    assert values() == {1: 2, 2: 4}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_rows_are_counted(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN", 0.0)
    console = Console(file=io.StringIO(), width=100, force_terminal=is_terminal)
    with bar(console, "filling", in_rows) as told:
        told(1200, 50_000)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "filling 1,200 of 50,000 rows, 0 s" in shown
    assert ("━" in shown) == is_terminal
