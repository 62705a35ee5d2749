from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_inference.jobs.models import Job
from django_inference.jobs.payloads import FOLDER, RESULT, Payload, keep, load

pytestmark = pytest.mark.usefixtures("queue")

KEY = uuid.uuid4()


def there_and_back(value: Any) -> tuple[Payload, Any]:
    """Through the database, which may have ideas of its own of texts and numbers."""
    payload = keep(value, KEY)
    job = Job.objects.create(predictor="model", **payload.columns(RESULT))
    return payload, load(Job.objects.get(pk=job.pk), RESULT)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bool(np.array_equal(one, other))
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return (
            math.isnan(one)
            and math.isnan(other)
            or (one == other and math.copysign(1, one) == math.copysign(1, other))
        )
    return bool(one == other)


@pytest.mark.parametrize(
    "value",
    [
        {"label": "Straße 🐟", "score": 0.1, "box": [1, -2, 3.0]},
        {"z": 1, "a": 2, "": {}},
        [0.1 + 0.2, 1e300, 5e-324, -0.0, 1e16, 1.0, 2**63, -(2**70)],
        ["\0", "\ud800", "'\"\\", "\u2028", "a\r\nb"],
        [None, True, False, [], [[[]]]],
        "only a text",
        None,
        0,
    ],
)
def test_what_json_says_exactly_is_kept_as_json_for_people_to_read(value: Any) -> None:
    payload, back = there_and_back(value)
    assert payload.json is not None
    assert payload.json.isascii()
    assert (payload.packed, payload.file) == (None, "")
    assert same(value, back)


@pytest.mark.parametrize(
    "value",
    [
        {"y": np.arange(6, dtype="float32").reshape(2, 3)},
        [np.zeros((0, 4), "uint8"), np.array("2026-01-01", "datetime64[D]")],
        b"\x00\xff",
        [math.nan, math.inf],
        {1: "a number is no key in JSON"},
        [{"b64": b"bytes"}],
    ],
)
def test_what_json_has_no_words_for_is_kept_as_packed_bytes(value: Any) -> None:
    payload, back = there_and_back(value)
    assert payload.json is None
    assert payload.packed is not None
    assert same(value, back)


@pytest.mark.parametrize("value", ["x" * 200, [1] * 200, b"x" * 200, {"x": np.zeros(100)}])
def test_what_is_long_is_a_file_of_which_the_row_has_the_name(
    value: Any, declare: Callable[..., None], storage: Path
) -> None:
    declare(INLINE_LIMIT=100)
    payload, back = there_and_back(value)
    assert (payload.json, payload.packed) == (None, None)
    folder, _, name = payload.file.rpartition("/")
    assert folder.startswith(f"{FOLDER}/20")
    key, _, secret = name.partition("-")
    assert key == KEY.hex
    assert len(secret) == 64
    assert (storage / payload.file).stat().st_size > 100
    assert same(value, back)
    payload.remove()
    assert not (storage / payload.file).exists()


def test_two_files_of_one_job_have_names_that_do_not_tell_of_each_other(
    declare: Callable[..., None],
) -> None:
    declare(INLINE_LIMIT=0)
    names = {keep(b"same", KEY).file for _ in range(3)}
    assert len(names) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_any_plain_value_comes_back_as_it_was(value: Any) -> None:
    try:
        payload = keep(value, KEY)
    except OverflowError:
        # Among infinite numbers, which JSON has no words for, whole ones have 64 bits.
        return
    assert same(value, load(Job(**payload.columns(RESULT)), RESULT))


@pytest.mark.parametrize("value", [object(), {"x": slice(1)}, [lambda: 0]])
def test_what_cannot_travel_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        keep(value, KEY)


def test_what_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        keep(value, KEY)


@pytest.mark.parametrize("spoilt", [b"", b"\x93", b"no msgpack at all"])
def test_bytes_that_are_something_else_are_an_error_and_no_result(spoilt: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        load(Job(result_packed=spoilt), RESULT)


def test_a_file_that_is_gone_is_an_oserror(declare: Callable[..., None], storage: Path) -> None:
    declare(INLINE_LIMIT=0)
    payload = keep(b"long", KEY)
    (storage / payload.file).unlink()
    with pytest.raises(OSError, match="No such file"):
        load(Job(**payload.columns(RESULT)), RESULT)
