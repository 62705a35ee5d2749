from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_inference.engine.batching import Unit, plan
from tests.engine.engines import Asked

#: (rows, key, the request must be alone) of the units that wait, in the order they came.
waiting = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([None, "a", "b"]), st.booleans()), max_size=60
)


def units(facts: list[tuple[int, Any, bool]]) -> list[Unit]:
    return [
        Unit(Asked(None, alone=alone), index, index, rows, key)
        for index, (rows, key, alone) in enumerate(facts)
    ]


@given(facts=waiting, max_rows=st.integers(1, 10))
def test_every_unit_is_in_one_batch(facts: list[tuple[int, Any, bool]], max_rows: int) -> None:
    batches = list(plan(units(facts), max_rows))
    assert sorted(unit.index for unit in chain.from_iterable(batches)) == list(range(len(facts)))


@given(facts=waiting, max_rows=st.integers(1, 10))
def test_a_batch_holds_what_may_be_joined(
    facts: list[tuple[int, Any, bool]], max_rows: int
) -> None:
    for batch in plan(units(facts), max_rows):
        assert batch
        assert len({unit.key for unit in batch}) == 1
        if len(batch) > 1:
            assert sum(unit.rows for unit in batch) <= max_rows
            assert not any(unit.request.alone for unit in batch)


@given(facts=waiting, max_rows=st.integers(1, 10))
def test_the_order_of_arrival_is_kept(facts: list[tuple[int, Any, bool]], max_rows: int) -> None:
    joinable: dict[Any, list[int]] = {}
    for batch in plan(units(facts), max_rows):
        indices = [unit.index for unit in batch]
        assert indices == sorted(indices)
        # What runs alone may overtake, since it waits for no other unit.
        if not batch[0].request.alone and batch[0].rows < max_rows:
            joinable.setdefault(batch[0].key, []).extend(indices)
    assert all(indices == sorted(indices) for indices in joinable.values())


@given(
    rows=st.lists(st.integers(1, 12), max_size=60),
    max_rows=st.integers(1, 10),
    key_of=st.sampled_from([lambda i: None, lambda i: i % 3]),
)
def test_no_batch_is_closed_that_had_room_for_the_next_unit(
    rows: list[int], max_rows: int, key_of: Callable[[int], Any]
) -> None:
    facts = [(count, key_of(index), False) for index, count in enumerate(rows)]
    by_key: dict[Any, list[list[Unit]]] = {}
    for batch in plan(units(facts), max_rows):
        if batch[0].rows < max_rows:
            by_key.setdefault(batch[0].key, []).append(batch)
    for batches in by_key.values():
        for batch, following in zip(batches, batches[1:], strict=False):
            assert sum(unit.rows for unit in batch) + following[0].rows > max_rows


def test_single_rows_fill_batches_to_the_brim() -> None:
    batches = list(plan(units([(1, None, False)] * 100), 32))
    assert [len(batch) for batch in batches] == [32, 32, 32, 4]


def test_shapes_take_turns_without_breaking_up_each_others_batches() -> None:
    facts = [(1, "ab"[index % 2], False) for index in range(20)]
    assert [len(batch) for batch in plan(units(facts), 32)] == [10, 10]


def test_a_unit_that_is_larger_than_a_batch_runs_by_itself() -> None:
    batches = list(plan(units([(1, None, False), (50, None, False), (1, None, False)]), 32))
    assert sorted([unit.rows for unit in batch] for batch in batches) == [[1, 1], [50]]
