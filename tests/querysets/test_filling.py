"""`predict_queryset`: batch after batch, each row once, and how far it came."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from pytest_django import Settings

from django_inference import predictors
from django_inference.exceptions import CheckpointError, ModelNotReady
from django_inference.querysets import Filled, predict_queryset
from tests.backends.conftest import DUMMY, Declare
from tests.engine.engines import recorded
from tests.querysets.gallery.models import Panorama, Photo, Scan, Tag
from tests.querysets.samples import doubled

#: A row after the other: what is written is committed.
committed = pytest.mark.django_db(transaction=True)
BATCH = {"max_batch_size": 2}


def photos(count: int) -> list[Photo]:
    return Photo.objects.bulk_create(Photo(number=number) for number in range(count))


def fill(declare: Declare, rows: Any = None, **options: Any) -> tuple[Filled, list[Any]]:
    """What became of the rows, and the inputs that were run."""
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    queryset = Photo.objects.all() if rows is None else rows
    options = {"input": "number", "output": "doubled"} | options
    filled = predict_queryset(queryset, predictor, **options)
    return filled, sorted(sum(calls, []))


@pytest.mark.django_db
@pytest.mark.parametrize("count", [0, 1, 6, 7, 100])
@pytest.mark.parametrize("size", [None, 1, 3])
def test_every_row_is_predicted_once(declare: Declare, count: int, size: int | None) -> None:
    photos(count)
    filled, run = fill(declare, batch_size=size)
    assert filled == Filled(rows=count, failed=0, errors={})
    assert run == list(range(count))
    assert all(each.doubled == 2 * each.number for each in Photo.objects.all())


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Scan, Panorama])
def test_any_primary_key_will_do(declare: Declare, model: Any) -> None:
    for number in range(7):
        model.objects.create(number=number)
    filled, run = fill(declare, model.objects.order_by("-number"), batch_size=3)
    assert (filled.rows, run) == (7, list(range(7)))
    assert all(each.doubled == 2 * each.number for each in model.objects.all())


@pytest.mark.django_db
def test_only_the_rows_of_the_queryset(declare: Declare) -> None:
    photos(10)
    filled, run = fill(declare, Photo.objects.filter(number__gte=4).exclude(number=6))
    assert (filled.rows, run) == (5, [4, 5, 7, 8, 9])


@pytest.mark.django_db
def test_a_row_that_a_join_brings_twice_is_one_row(declare: Declare) -> None:
    every = photos(5)
    for name in ("sea", "sky", "sun"):
        Tag.objects.create(name=name).photos.set(every)
    filled, run = fill(declare, Photo.objects.filter(tags__name__startswith="s"), batch_size=4)
    assert (filled.rows, run) == (5, list(range(5)))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda: Photo.objects.all()[:3], "slice"),
        (lambda: Photo.objects.all().union(Photo.objects.filter(pk=1)), "union"),
        (lambda: Photo.objects.values("number"), "instances"),
        (lambda: Photo.objects.values_list("number", flat=True), "instances"),
    ],
)
def test_what_has_no_rows_is_refused(declare: Declare, rows: Any, said: str) -> None:
    photos(5)
    with pytest.raises(ValueError, match=said):
        fill(declare, rows())


@pytest.mark.django_db
def test_what_others_write_meanwhile_stays(declare: Declare) -> None:
    photos(4)

    def predict(items: list[Any]) -> list[Any]:
        return doubled(items)

    def number_of(row: Photo) -> int:
        Photo.objects.filter(pk=row.pk).update(title="changed")
        return row.number

    fill(declare, input=number_of)
    assert set(Photo.objects.values_list("title", flat=True)) == {"changed"}
    assert not Photo.objects.filter(doubled=None)


@pytest.mark.django_db
def test_progress_is_told_after_each_batch(declare: Declare) -> None:
    photos(7)
    told: list[tuple[int, int]] = []
    fill(declare, batch_size=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(3, 7), (6, 7), (7, 7)]


@pytest.mark.django_db
def test_a_mistake_in_every_row_does_not_fill_the_log(
    declare: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    photos(150)
    filled, _ = fill(declare, output={"y": "doubled"})
    assert (filled.rows, filled.failed) == (0, 150)
    assert len(filled.errors) == len(caplog.records) == 100


@committed
def test_what_is_written_stays_when_the_model_fails(declare: Declare) -> None:
    photos(6)

    def answer(items: list[int]) -> list[int]:
        if 4 in items:
            raise ModelNotReady("away")
        return doubled(items)

    predictor = declare(BACKEND=DUMMY, OPTIONS=BATCH)
    backend: Any = predictor.backend
    backend.returns(answer)
    with pytest.raises(ModelNotReady):
        predict_queryset(
            Photo.objects.all(), predictor, input="number", output="doubled", batch_size=2
        )
    done = Photo.objects.order_by("pk").values_list("doubled", flat=True)
    assert list(done) == [0, 2, 4, 6, None, None]
    # The rows that are done need not be asked for again.
    filled, run = fill(declare, Photo.objects.filter(doubled=None))
    assert (filled.rows, run) == (2, [4, 5])


@committed
def test_a_resumed_run_goes_on_behind_the_last_row(declare: Declare, tmp_path: Path) -> None:
    photos(20)
    told: list[tuple[int, int]] = []
    predictor = declare(BACKEND=DUMMY, OPTIONS=BATCH)
    backend: Any = predictor.backend
    backend.returns(doubled)
    limits = [9, 99]

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        if done >= limits[0]:
            raise KeyboardInterrupt

    def run() -> Filled:
        return predict_queryset(
            Photo.objects.all(),
            predictor,
            input="number",
            output="doubled",
            batch_size=3,
            checkpoint=tmp_path / "fill",
            progress=tell,
        )

    with pytest.raises(KeyboardInterrupt):
        run()
    assert Photo.objects.exclude(doubled=None).count() == 9
    backend.calls.clear()
    limits.pop(0)
    assert (run().rows, told[-1]) == (20, (20, 20))
    run_again = sorted(sum((call.inputs for call in backend.calls), []))
    assert run_again == list(range(9, 20))
    # Rows that have come since.
    Photo.objects.create(number=50)
    assert run().rows == 21
    assert Photo.objects.get(number=50).doubled == 100


@committed
def test_what_is_rolled_back_is_not_behind_the_position(declare: Declare, tmp_path: Path) -> None:
    photos(4)
    declare(BACKEND=DUMMY, OPTIONS={"result": [7] * 4})
    options: dict[str, Any] = {"input": "number", "output": "doubled"}
    options["checkpoint"] = tmp_path / "fill"
    with transaction.atomic():
        predict_queryset(Photo.objects.all(), "default", **options)
        transaction.set_rollback(True)
    assert not Photo.objects.exclude(doubled=None)
    predict_queryset(Photo.objects.all(), "default", **options)
    assert Photo.objects.filter(doubled=7).count() == 4


@committed
def test_no_fallback_answers_for_a_checkpoint(settings: Settings, tmp_path: Path) -> None:
    photos(2)
    settings.INFERENCE = {
        "first": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "other"}},
        "other": {"BACKEND": DUMMY, "OPTIONS": {"result": [7] * 2}},
    }
    backend: Any = predictors["first"].backend
    backend.returns(ModelNotReady("away"))
    options: dict[str, Any] = {"input": "number", "output": "doubled"}
    with pytest.raises(ModelNotReady):
        predict_queryset(Photo.objects.all(), "first", checkpoint=tmp_path / "fill", **options)
    assert not Photo.objects.exclude(doubled=None)
    assert predict_queryset(Photo.objects.all(), "first", **options).rows == 2
    predictors.reset()


@committed
def test_a_checkpoint_is_of_one_model_and_output(declare: Declare, tmp_path: Path) -> None:
    photos(2)
    declare(BACKEND=DUMMY, OPTIONS={"result": [7] * 2})
    path = tmp_path / "fill"

    def run(queryset: Any, output: Any) -> Filled:
        return predict_queryset(queryset, "default", input="number", output=output, checkpoint=path)

    run(Photo.objects.all(), "doubled")
    with pytest.raises(CheckpointError, match="output 'doubled'"):
        run(Photo.objects.all(), {"y": "doubled"})
    with pytest.raises(CheckpointError, match="output"):
        run(Photo.objects.all(), lambda row, answer: {"doubled": answer})
    with pytest.raises(CheckpointError, match="model 'gallery.Photo'"):
        run(Scan.objects.all(), "doubled")
    declare(BACKEND=DUMMY, OPTIONS={"result": [8] * 2})
    with pytest.raises(CheckpointError, match="version"):
        run(Photo.objects.all(), "doubled")
    path.write_text("[]")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run(Photo.objects.all(), "doubled")
    assert path.read_text() == "[]"


@pytest.mark.django_db
def test_no_more_than_a_batch_is_held(declare: Declare) -> None:
    size, rows = 100_000, 200
    for _ in range(rows):
        Photo.objects.create(caption="x" * size)
    options: dict[str, Any] = {"input": "caption", "output": "doubled", "batch_size": 10}
    declare(BACKEND=DUMMY, OPTIONS={"max_batch_size": 5})
    backend: Any = predictors["default"].backend
    backend.returns(lambda items: backend.calls.clear() or [len(item) for item in items])
    gc.collect()
    tracemalloc.start()
    filled = predict_queryset(Photo.objects.all(), "default", **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert filled.rows == rows
    # A batch that is being let go of, and the next one.
    assert peak < 20 * size + 2_000_000 < rows * size / 4
