"""Results that are made piece by piece, between the batches of everybody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from django_inference.engine.lifecycle import Backoff
from django_inference.engine.streams import OVER, Stream
from django_inference.engine.thread import ModelThread
from django_inference.exceptions import (
    InvalidInput,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.runtimes.base import TensorRuntime
from django_inference.specs import NORMAL, EngineOptions, State
from django_inference.tensors import Tensors
from tests.engine.engines import FOREVER, Asked, Engine, loaded, recorded, spec
from tests.hosts import eventually

HIGH = 0


class Counting:
    """A `stream` that counts for ever, and what became of it."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0

    def __call__(self, item: Any) -> Iterator[Any]:
        try:
            while True:
                self.made += 1
                yield item, self.made
        finally:
            self.closed += 1


class Halves(TensorRuntime):
    """Named tensors in, and a stream of ever shorter halves of one."""

    def predict(self, inputs: Tensors) -> Tensors:
        return inputs

    def stream(self, item: Any) -> Iterator[Any]:
        x = item["x"]
        while len(x) > 1:
            x = x[: len(x) // 2]
            yield {"x": x}


def next_of(engine: Engine, stream: Stream, **how: Any) -> Any:
    """The answer to a request for the next chunk."""
    (answer,) = engine.run(Asked(stream, **how))
    return answer


def all_of(engine: Engine, item: Any) -> list[Any]:
    stream = Stream(item)
    return list(iter(lambda: next_of(engine, stream), OVER))


def test_chunks_are_made_when_they_are_asked_for() -> None:
    counting = Counting()
    engine = loaded("Items", stream=counting)
    stream = Stream("a")
    for number in (1, 2, 3):
        assert counting.made == number - 1
        assert next_of(engine, stream) == ("a", number)
    assert engine.statistics.streams == 1
    assert not stream.is_over


def test_an_item_is_prepared_and_its_chunks_are_left_as_they_are() -> None:
    engine = loaded(
        "Items",
        preprocess=lambda item: item * 2,
        stream=lambda item: iter(item),
        postprocess=lambda result: "never",
    )
    assert all_of(engine, "ab") == ["a", "b", "a", "b"]


@pytest.mark.parametrize("chunks", [[1, 2], (1, 2), range(1, 3), map(int, "12")])
def test_anything_that_can_be_iterated_will_do(chunks: Any) -> None:
    engine = loaded("Items", stream=lambda item: chunks)
    assert all_of(engine, "a") == [1, 2]
    assert engine.statistics.streams == 0


def test_a_list_is_an_item_and_a_chunk_like_any_other() -> None:
    engine = loaded("Items", stream=lambda item: [item, [], item])
    assert all_of(engine, [1, 2]) == [[1, 2], [], [1, 2]]


def test_a_stream_without_chunks_is_over_at_once() -> None:
    engine = loaded("Items", stream=lambda item: [])
    stream = Stream(1)
    assert next_of(engine, stream) is OVER
    assert next_of(engine, stream) is OVER
    assert stream.is_over


def test_a_runtime_of_tensors_may_stream_too() -> None:
    model = msgspec.structs.replace(spec("Items"), runtime=f"{__name__}.Halves")
    engine = Engine(model)
    engine.runner.load()
    chunks = all_of(engine, {"x": np.arange(8)})
    assert [chunk["x"].tolist() for chunk in chunks] == [[0, 1, 2, 3], [0, 1], [0]]
    assert engine.run({"x": np.arange(3)})[0]["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("runtime", ["Items", "Arrays"])
def test_a_runtime_that_does_not_stream_is_named(runtime: str) -> None:
    preprocess, prepared = recorded(lambda item: item)
    engine = loaded(runtime, preprocess=preprocess)
    error = next_of(engine, Stream(1))
    assert isinstance(error, InvalidInput)
    assert str(error) == (f"Predictor 'm': {runtime} does not stream: it gives each answer whole.")
    assert prepared == []
    assert engine.reports == []


# Beside others.


def test_batches_run_between_two_chunks() -> None:
    predict, batches = recorded(list)
    engine = loaded("Items", predict=predict, stream=Counting())
    stream = Stream("a")
    for number in (1, 2, 3):
        answers = engine.run([number], Asked(stream), [10 * number])
        assert answers == [[number], ("a", number), [10 * number]]
    assert batches == [[1, 10], [2, 20], [3, 30]]


def test_streams_take_turns() -> None:
    engine = loaded("Items", stream=Counting())
    streams = [Stream(name) for name in "abc"]
    for _ in range(2):
        assert [name for name, _ in engine.run(*map(Asked, streams))] == ["a", "b", "c"]
    assert engine.statistics.streams == 3


def test_what_is_more_urgent_than_a_chunk_runs_first() -> None:
    note, order = recorded(str)
    engine = loaded(
        "Items",
        predict=lambda items: list(map(note, items)),
        stream=lambda item: map(note, [item]),
    )
    engine.run(Asked(Stream("chunk")), Asked(["call"], priority=HIGH))
    assert order == ["call", "chunk"]


def test_a_queue_that_is_full_refuses_new_streams_and_goes_on_with_the_others() -> None:
    engine = loaded("Items", EngineOptions(batching="always", max_queue=1), stream=Counting())
    open_one = Stream("open")
    assert next_of(engine, open_one) == ("open", 1)
    asked = [Asked([1]), Asked(Stream("new")), Asked(open_one)]
    engine.runner.run(asked)
    assert asked[0].outcome == [1]
    assert isinstance(asked[1].outcome, Overloaded)
    assert asked[2].outcome == ("open", 2)
    assert engine.statistics.refused == 1


def test_a_chunk_counts_as_a_request_of_one_row() -> None:
    engine = loaded("Items", stream=lambda item: [1, 2, 3])
    all_of(engine, "a")
    counts = engine.statistics
    # The fourth found that there are no more.
    assert (counts.requests, counts.rows, counts.batches, counts.failures) == (4, 4, 4, 0)
    assert counts.batch_sizes["1"] == 4


def test_a_chunk_does_not_wait_for_company() -> None:
    engine = loaded(
        "Items", EngineOptions(batching="always", max_batch_delay=30.0), stream=Counting()
    )
    runner = engine.runner
    runner.admit(Asked([1]))
    assert runner.gains_by_waiting
    runner.admit(Asked(Stream(1)))
    assert not runner.gains_by_waiting
    runner.run([])


# Errors.


def test_an_exception_is_told_to_its_caller_only_and_ends_the_stream() -> None:
    def stream(item: Any) -> Iterator[Any]:
        yield 1
        raise ValueError("no more words")

    engine = loaded("Items", stream=stream)
    bad, good = Stream("bad"), Stream("good")
    assert engine.run(Asked(bad), Asked(good), [5]) == [1, 1, [5]]
    error, answer = engine.run(Asked(bad), [6])
    assert isinstance(error, PredictionFailed)
    assert error.message == "ValueError: no more words"
    assert "in stream" in error.details
    assert answer == [6]
    assert [report.message for report in engine.reports] == ["ValueError: no more words"]
    assert bad.is_over
    assert not good.is_over
    assert next_of(engine, bad) is OVER
    assert engine.statistics.streams == 1


@pytest.mark.parametrize("where", ["preprocess", "stream"])
def test_an_item_may_be_refused(where: str) -> None:
    def refuse(item: Any) -> Any:
        raise InvalidInput("not today")

    hooks: dict[str, Any] = {"stream": Counting()} | {where: refuse}
    engine = loaded("Items", **hooks)
    error = next_of(engine, Stream(1))
    assert isinstance(error, InvalidInput)
    assert str(error) == "Predictor 'm': not today"
    assert engine.statistics.streams == 0


def test_leaving_the_interpreter_ends_the_stream_and_nothing_else() -> None:
    def stream(item: Any) -> Iterator[Any]:
        raise SystemExit(3)
        yield

    engine = loaded("Items", stream=stream)
    assert isinstance(next_of(engine, Stream(1)), PredictionFailed)
    assert engine.run([1]) == [[1]]


@pytest.mark.parametrize("made", [None, 5, object()])
def test_what_cannot_be_iterated_is_an_error_of_the_model(made: Any) -> None:
    engine = loaded("Items", stream=lambda item: made)
    error = next_of(engine, Stream(1))
    assert isinstance(error, PredictionFailed)
    assert "not iterable" in error.message


def test_what_has_expired_is_not_run() -> None:
    counting = Counting()
    engine = loaded("Items", stream=counting)
    stream = Stream(1)
    next_of(engine, stream)
    error = next_of(engine, stream, deadline=time.monotonic() - 1)
    assert isinstance(error, PredictionTimeout)
    assert counting.made == 1
    assert engine.statistics.expired == 1


def test_what_nobody_waits_for_is_not_run() -> None:
    counting = Counting()
    engine = loaded("Items", stream=counting)
    stream = Stream(1)
    next_of(engine, stream)
    asked = Asked(stream)
    engine.runner.admit(asked)
    asked.has_given_up = stream.is_over = True
    engine.runner.run([])
    assert asked.outcomes == []
    assert counting.made == 1
    assert engine.statistics.abandoned == 1


# The end.


def test_what_nobody_wants_any_more_is_closed() -> None:
    counting = Counting()
    engine = loaded("Items", stream=counting)
    first, second, unbegun = Stream(1), Stream(2), Stream(3)
    engine.run(Asked(first), Asked(second))
    first.is_over = unbegun.is_over = True
    engine.runner.streams.close_abandoned()
    assert counting.closed == 1
    assert engine.statistics.streams == 1
    assert next_of(engine, second) == (2, 3)


def test_an_iterator_with_a_close_is_closed_at_its_end_too() -> None:
    class Beam:
        def __init__(self, fails: bool) -> None:
            self.fails, self.closed = fails, 0

        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            if self.fails:
                raise ValueError("lost")
            raise StopIteration

        def close(self) -> None:
            self.closed += 1

    for beam in (Beam(True), Beam(False)):
        next_of(loaded("Items", stream=lambda item, beam=beam: beam), Stream(1))
        assert beam.closed == 1


def test_a_stream_that_cannot_be_closed_is_reported_and_gone() -> None:
    def stream(item: Any) -> Iterator[Any]:
        try:
            yield 1
        finally:
            raise OSError("the file is gone")

    engine = loaded("Items", stream=stream)
    abandoned = Stream(1)
    next_of(engine, abandoned)
    abandoned.is_over = True
    engine.runner.streams.close_abandoned()
    assert [report.message for report in engine.reports] == ["OSError: the file is gone"]
    assert engine.statistics.streams == 0
    assert engine.run([1]) == [[1]]


def test_a_model_that_is_closed_closes_its_streams_first() -> None:
    order: list[str] = []

    def stream(item: Any) -> Iterator[Any]:
        try:
            yield 1
        finally:
            order.append("stream")

    engine = loaded("Items", stream=stream, close=lambda: order.append("model"))
    next_of(engine, Stream(1))
    next_of(engine, Stream(2))
    engine.runner.close()
    assert order == ["stream", "stream", "model"]


def test_closing_is_watched_as_a_run_is() -> None:
    seen: list[float] = []

    def stream(item: Any) -> Iterator[Any]:
        try:
            yield 1
        finally:
            seen.append(engine.page.run_started)

    engine = loaded("Items", stream=stream)
    abandoned = Stream(1)
    next_of(engine, abandoned)
    abandoned.is_over = True
    engine.runner.streams.close_abandoned()
    assert seen[0] > 0
    assert engine.page.run_started == 0


# On a thread.


def ask(thread: ModelThread, stream: Stream) -> Any:
    return thread.put(stream, FOREVER, NORMAL).result(10)


def test_an_open_stream_outlives_the_unloading_of_its_model() -> None:
    order: list[str] = []
    counting = Counting()
    thread = ModelThread(
        spec("Items", stream=counting, close=lambda: order.append("closed")), Backoff()
    )
    stream, other, given_up = Stream("a"), Stream("b"), Stream("c")
    assert [ask(thread, each)[1] for each in (stream, given_up)] == [1, 2]
    thread.close()
    assert thread.state is State.DRAINING
    with pytest.raises(ModelNotReady):
        ask(thread, other)
    assert [ask(thread, stream)[1] for _ in range(3)] == [3, 4, 5]
    thread.end(given_up)
    eventually(lambda: thread.page.streams == 1)
    assert order == []
    assert ask(thread, stream) == ["a", 6]
    thread.end(stream)
    eventually(lambda: order == ["closed"])
    assert counting.closed == 2


def test_a_stream_that_is_given_up_while_the_model_loads_costs_nothing() -> None:
    def load(artifact: Any) -> None:
        time.sleep(0.1)
        raise RuntimeError("no such layer")

    thread = ModelThread(spec("Items", load=load, stream=Counting()), Backoff())
    stream = Stream(1)
    future = thread.put(stream, FOREVER, NORMAL)
    thread.end(stream)
    assert "no such layer" in str(future.exception(10))
    assert thread.loaded.wait(10)
