from __future__ import annotations

import mmap

import pytest

from django_inference.metrics import BATCH_SIZES, LATENCIES, StatisticsPage
from django_inference.specs import Statistics


def test_a_fresh_page_counts_nothing() -> None:
    counts = StatisticsPage().read()
    assert (counts.requests, counts.failures, counts.expired, counts.rows) == (0, 0, 0, 0)
    assert (counts.batches, counts.run_seconds) == (0, 0.0)
    assert set(counts.batch_sizes.values()) == set(counts.latencies.values()) == {0}


@pytest.mark.parametrize(
    ("rows", "bucket"), [(1, "1"), (2, "2"), (3, "4"), (32, "32"), (33, "64"), (257, "inf")]
)
def test_batches_are_counted_by_their_size(rows: int, bucket: str) -> None:
    page = StatisticsPage()
    page.run_begins(5.0)
    assert page.run_started == 5.0
    page.run_ends(rows, 0.25)
    counts = page.read()
    assert counts.batch_sizes == dict.fromkeys(counts.batch_sizes, 0) | {bucket: 1}
    assert (counts.batches, counts.rows, counts.run_seconds) == (1, rows, 0.25)
    assert page.run_started == 0.0


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, "0.0005"), (0.0005, "0.0005"), (0.0006, "0.001"), (9.0, "10"), (11.0, "inf")],
)
def test_answers_are_counted_by_how_long_they_took(seconds: float, bucket: str) -> None:
    page = StatisticsPage()
    page.answered(1.0, seconds, failed=False)
    counts = page.read()
    assert counts.latencies == dict.fromkeys(counts.latencies, 0) | {bucket: 1}
    assert (counts.requests, counts.failures) == (1, 0)


def test_failures_and_expired_requests_are_counted() -> None:
    page = StatisticsPage()
    page.answered(1.0, 0.1, failed=True)
    page.answered(1.0, 0.1, failed=False)
    page.expired()
    counts = page.read()
    assert (counts.requests, counts.failures, counts.expired) == (2, 1, 1)


def test_refused_inputs_are_counted_apart_from_failures() -> None:
    page = StatisticsPage()
    page.answered(1.0, 0.1, failed=False, invalid=True)
    page.answered(1.0, 0.1, failed=True)
    page.answered(1.0, 0.1, failed=False)
    counts = page.read()
    assert (counts.requests, counts.invalid, counts.failures, counts.successes) == (3, 1, 1, 1)


def test_a_page_is_read_by_whoever_maps_it() -> None:
    memory = mmap.mmap(-1, StatisticsPage.SIZE)
    writer, reader = StatisticsPage(memory), StatisticsPage(memory)
    writer.answered(1.0, 0.1, failed=False)
    writer.run_begins(7.5)
    assert reader.read().requests == 1
    assert reader.run_started == 7.5


def test_every_count_is_cleared() -> None:
    page = StatisticsPage()
    for rows in (*BATCH_SIZES, 1000):
        page.run_ends(rows, 1.0)
    for seconds in (*LATENCIES, 100.0):
        page.answered(1.0, seconds, failed=True, invalid=True)
    page.expired()
    page.run_begins(1.0)
    page.clear()
    assert page.read() == StatisticsPage().read()
    assert page.run_started == 0.0


def test_every_bucket_has_a_count_of_its_own() -> None:
    page = StatisticsPage()
    for count, rows in enumerate((*BATCH_SIZES, 1000), 1):
        for _ in range(count):
            page.run_ends(rows, 0.0)
    for count, seconds in enumerate((*LATENCIES, 100.0), 1):
        for _ in range(count):
            page.answered(1.0, seconds, failed=False)
    counts: Statistics = page.read()
    assert list(counts.batch_sizes.values()) == list(range(1, len(BATCH_SIZES) + 2))
    assert list(counts.latencies.values()) == list(range(1, len(LATENCIES) + 2))
    assert list(counts.latencies)[-2:] == ["10", "inf"]
