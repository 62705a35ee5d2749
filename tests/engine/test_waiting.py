from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_inference.engine.batching import Unit
from django_inference.engine.waiting import Waiting
from django_inference.specs import NORMAL
from tests.engine.engines import Asked

HIGH, LOW = 0, 2

Facts = tuple[int, Any, bool, int]

#: (rows, key, the request must be alone, priority) of units, in the order they come.
facts_of = st.lists(
    st.tuples(
        st.integers(1, 12), st.sampled_from([None, "a", "b"]), st.booleans(), st.integers(HIGH, LOW)
    ),
    max_size=60,
)
max_rows_of = st.integers(1, 10)


def unit_of(index: int, rows: int, key: Any = None, alone: bool = False, priority: int = 1) -> Unit:
    return Unit(Asked(None, alone=alone, priority=priority), index, index, rows, key)


def batches_of(facts: list[Facts], max_rows: int) -> list[list[Unit]]:
    """Everything that waits together, as it is run."""
    waiting = Waiting(max_rows)
    for index, fact in enumerate(facts):
        waiting.add(unit_of(index, *fact))
    assert len(waiting) == len(facts)
    batches = []
    while batch := waiting.next_batch():
        batches.append(batch)
        assert len(waiting) == len(facts) - sum(map(len, batches))
    return batches


def plain(*rows: int, key: Any = None) -> list[Facts]:
    return [(count, key, False, NORMAL) for count in rows]


@given(facts=facts_of, max_rows=max_rows_of)
def test_every_unit_is_in_one_batch(facts: list[Facts], max_rows: int) -> None:
    indices = [unit.index for batch in batches_of(facts, max_rows) for unit in batch]
    assert sorted(indices) == list(range(len(facts)))


@given(facts=facts_of, max_rows=max_rows_of)
def test_a_batch_holds_what_may_be_joined(facts: list[Facts], max_rows: int) -> None:
    for batch in batches_of(facts, max_rows):
        assert len({unit.key for unit in batch}) == 1
        if len(batch) > 1:
            assert sum(unit.rows for unit in batch) <= max_rows
            assert not any(unit.request.alone for unit in batch)


@given(facts=facts_of, max_rows=max_rows_of)
def test_within_a_kind_and_a_priority_the_order_of_arrival_is_kept(
    facts: list[Facts], max_rows: int
) -> None:
    kinds: dict[Any, list[int]] = {}
    for batch in batches_of(facts, max_rows):
        for unit in batch:
            # What runs alone is a kind of its own: it may be overtaken.
            if not unit.request.alone:
                kinds.setdefault((unit.key, unit.request.priority), []).append(unit.index)
    assert all(indices == sorted(indices) for indices in kinds.values())


@given(facts=facts_of, max_rows=max_rows_of)
def test_the_most_urgent_that_waits_decides_what_is_run_next(
    facts: list[Facts], max_rows: int
) -> None:
    batches = batches_of(facts, max_rows)
    first = [min(unit.request.priority for unit in batch) for batch in batches]
    left = [
        min(unit.request.priority for later in batches[index:] for unit in later)
        for index in range(len(batches))
    ]
    assert first == left
    for batch in batches:
        urgencies = [unit.request.priority for unit in batch]
        assert urgencies == sorted(urgencies)


@given(facts=facts_of, max_rows=max_rows_of)
def test_no_batch_leaves_room_for_what_may_join_it(facts: list[Facts], max_rows: int) -> None:
    batches = batches_of(facts, max_rows)
    for index, batch in enumerate(batches):
        if batch[0].request.alone:
            continue
        room = max_rows - sum(unit.rows for unit in batch)
        nexts: dict[int, Unit] = {}
        for later in batches[index + 1 :]:
            for unit in later:
                if unit.key == batch[0].key and not unit.request.alone:
                    nexts.setdefault(unit.request.priority, unit)
        assert all(unit.rows > room for unit in nexts.values())


@given(kinds=st.integers(1, 6), units=st.integers(1, 12), max_rows=st.integers(1, 4))
def test_kinds_take_turns(kinds: int, units: int, max_rows: int) -> None:
    facts = [fact for key in range(kinds) for fact in plain(*[1] * units, key=key)]
    turns = [batch[0].key for batch in batches_of(facts, max_rows)]
    rounds = -(-units // max_rows)
    assert turns == list(range(kinds)) * rounds


def test_a_kind_that_comes_late_does_not_wait_for_the_end_of_another() -> None:
    waiting = Waiting(2)
    for index in range(20):
        waiting.add(unit_of(index, 1, "a"))
    waiting.next_batch()
    waiting.add(unit_of(99, 1, "b"))
    assert [[unit.index for unit in waiting.next_batch()] for _ in range(2)] == [[2, 3], [99]]


def test_what_is_urgent_overtakes_all_that_waits() -> None:
    waiting = Waiting(4)
    for index in range(40):
        waiting.add(unit_of(index, 1, priority=LOW))
    waiting.next_batch()
    waiting.add(unit_of(99, 1, priority=HIGH))
    assert [unit.index for unit in waiting.next_batch()] == [99, 4, 5, 6]


def test_what_is_less_urgent_joins_only_its_own_kind() -> None:
    facts: list[Facts] = [(1, "a", False, LOW), (1, "b", False, LOW), (1, "b", False, HIGH)]
    assert [[unit.index for unit in batch] for batch in batches_of(facts, 8)] == [[2, 1], [0]]


def test_single_rows_fill_batches_to_the_brim() -> None:
    assert [len(batch) for batch in batches_of(plain(*[1] * 100), 32)] == [32, 32, 32, 4]


def test_kinds_do_not_break_up_each_others_batches() -> None:
    facts = [plain(1, key="ab"[index % 2])[0] for index in range(20)]
    assert [len(batch) for batch in batches_of(facts, 32)] == [10, 10]


def test_a_unit_that_is_larger_than_a_batch_runs_by_itself() -> None:
    rows = [[unit.rows for unit in batch] for batch in batches_of(plain(1, 50, 1), 32)]
    assert rows == [[1], [50], [1]]


def test_nothing_waits_in_the_beginning() -> None:
    waiting = Waiting(8)
    assert len(waiting) == 0
    assert waiting.next_batch() == []
