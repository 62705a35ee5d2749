"""What `predict_queryset` reads from a row, and what it writes into it."""

from __future__ import annotations

import logging
import re
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile

from django_inference.querysets import predict_queryset
from tests.backends.conftest import DUMMY, Declare
from tests.querysets.gallery.models import Album, Photo
from tests.querysets.samples import UNLUCKY, doubled, number_of

pytestmark = pytest.mark.django_db


def photo(**values: Any) -> Photo:
    values.setdefault("album", Album.objects.create(title="Sea"))
    return Photo.objects.create(**{"title": "boat", "number": 4} | values)


@pytest.mark.parametrize(
    ("input", "item"),
    [
        ("title", "boat"),
        ("album.title", "Sea"),
        ("album__title", "Sea"),
        ("shouted", "BOAT"),
        (number_of, 5),
        ("tests.querysets.samples.number_of", 5),
        ({"x": "number", "of": "album.title"}, {"x": 4, "of": "Sea"}),
        ({"x": number_of, "file": "image"}, {"x": 5, "file": b"pixels"}),
        ("image", b"pixels"),
        (lambda row: row.image, b"pixels"),
    ],
)
def test_an_input_may_be(declare: Declare, input: Any, item: Any) -> None:
    given = photo()
    given.image.save("boat.raw", ContentFile(b"pixels"))
    backend: Any = declare(BACKEND=DUMMY).backend
    backend.returns([1])
    filled = predict_queryset(Photo.objects.all(), "default", input=input, output="answer")
    assert (filled.rows, filled.failed) == (1, 0)
    assert [call.inputs for call in backend.calls] == [[item]]


def test_a_relation_is_read_with_its_row(declare: Declare, django_assert_num_queries: Any) -> None:
    for _ in range(5):
        photo()
    declare(BACKEND=DUMMY, OPTIONS={"result": [1] * 5})
    # The rows, what follows them, and a savepoint around the one that is written.
    with django_assert_num_queries(5):
        predict_queryset(Photo.objects.all(), "default", input="album.title", output="answer")


def test_a_relation_may_lead_nowhere(declare: Declare) -> None:
    photo(album=None)
    backend: Any = declare(BACKEND=DUMMY, OPTIONS={"result": [1]}).backend
    predict_queryset(Photo.objects.all(), "default", input="album.title", output="answer")
    assert backend.calls[0].inputs == [None]


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ("titel", "gallery.Photo has no 'titel'. Did you mean 'title'?"),
        ("album.titel", "gallery.Album has no 'titel'"),
        ("tests.querysets.samples.nothing", "neither a path from gallery.Photo nor a function"),
        ("tests.querysets.samples.NO_FUNCTION", "is not a function"),
    ],
)
def test_an_input_that_is_not_there_is_named(declare: Declare, input: str, said: str) -> None:
    declare(BACKEND=DUMMY)
    with pytest.raises(ValueError, match=said):
        predict_queryset(Photo.objects.all(), "default", input=input, output="answer")


@pytest.mark.parametrize(
    ("output", "result", "values"),
    [
        ("answer", {"y": np.arange(2.0)}, {"answer": {"y": [0.0, 1.0]}}),
        ("answer", [b"\0", float("nan")], {"answer": [{"b64": "AA=="}, None]}),
        ("doubled", {"y": np.int64(7)}, {"doubled": 7}),
        ("doubled", "8", {"doubled": 8}),
        ("score", {"y": np.array(0.5, "float32")}, {"score": 0.5}),
        ("score", {"y": np.array([[0.5]])}, {"score": 0.5}),
        ("answer", {"y": np.array([0.5])}, {"answer": {"y": [0.5]}}),
        ("word", "cat", {"word": "cat"}),
        ("word", ["cat"], {"word": "cat"}),
        ("word", None, {"word": None}),
        ("packed", b"\0\1", {"packed": b"\0\1"}),
        ("flag", np.bool_(True), {"flag": True}),
        (
            {"label": "word", "p": "score"},
            {"label": "cat", "p": 0.25, "more": 1},
            {"word": "cat", "score": 0.25},
        ),
        (
            lambda row, answer: {"word": row.title[:1], "doubled": answer},
            9,
            {"word": "b", "doubled": 9},
        ),
        (lambda row, answer: {}, 9, {"word": None}),
    ],
)
def test_an_output_may_be(
    declare: Declare, output: Any, result: Any, values: dict[str, Any]
) -> None:
    photo()
    declare(BACKEND=DUMMY, OPTIONS={"result": [result]})
    filled = predict_queryset(Photo.objects.all(), "default", input="title", output=output)
    assert (filled.rows, filled.failed) == (1, 0)
    assert Photo.objects.values(*values).get() == values


@pytest.mark.parametrize(
    ("output", "result", "said"),
    [
        ("doubled", "many", "'doubled'.*integer"),
        ("doubled", {"y": 1, "z": 2}, "'doubled'"),
        ("word", "x" * 11, "'word'.*at most 10"),
        ("word", ["cat", "dog"], "a list does not fit the field 'word'"),
        ("caption", None, "'caption' takes no null"),
        ("answer", object(), "cannot be written as JSON"),
        ({"label": "word"}, "cat", "no named outputs"),
        ({"label": "word"}, {"p": 1}, "no output 'label', but p"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error_of_its_row(
    declare: Declare, output: Any, result: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = photo()
    declare(BACKEND=DUMMY, OPTIONS={"result": [result]})
    with caplog.at_level(logging.WARNING, "django_inference"):
        filled = predict_queryset(Photo.objects.all(), "default", input="title", output=output)
    assert (filled.rows, filled.failed) == (0, 1)
    assert re.search(said, filled.errors[given.pk])
    assert f"row=gallery.Photo pk={given.pk}" in caplog.text


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("anwser", "has no field 'anwser' to write to. Did you mean 'answer'?"),
        ({"y": "id"}, "has no field 'id' to write to"),
        ("tags", "has no field 'tags' to write to"),
    ],
)
def test_an_output_that_is_not_there_is_named(declare: Declare, output: Any, said: str) -> None:
    declare(BACKEND=DUMMY)
    with pytest.raises(ValueError, match=said):
        predict_queryset(Photo.objects.all(), "default", input="title", output=output)


def test_rows_that_cannot_be_read_or_predicted_are_left_as_they_are(declare: Declare) -> None:
    good, gone, empty, bad = (
        photo(number=1),
        photo(number=2),
        photo(number=3),
        photo(number=UNLUCKY),
    )
    for each in (good, gone, bad):
        each.image.save("x.raw", ContentFile(b"pixels"))
    gone.image.storage.delete(str(gone.image))
    predictor = declare(hooks={"predict": doubled}, OPTIONS={"max_batch_size": 2})
    told: list[tuple[Any, Exception]] = []

    def number_beside_its_file(row: Photo) -> int:
        with row.image.open("rb") as file:
            assert file.read() == b"pixels"
        return row.number

    filled = predict_queryset(
        Photo.objects.all(),
        predictor,
        input=number_beside_its_file,
        output="doubled",
        on_error=lambda row, error: told.append((row, error)),
    )
    assert (filled.rows, filled.failed) == (1, 3)
    assert {row.pk for row, _ in told} == filled.errors.keys() == {gone.pk, empty.pk, bad.pk}
    assert "bad luck" in filled.errors[bad.pk]
    assert list(Photo.objects.order_by("pk").values_list("doubled", flat=True)) == [
        2,
        *[None] * 3,
    ]
