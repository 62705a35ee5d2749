from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from django_inference import Runtime
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.specs import EngineOptions, ModelSpec
from django_inference.tensors import Signature, TensorSpec
from tests.engine.engines import Asked, Engine, loaded, recorded, spec
from tests.sample_runtimes import FLOATS

FIXED = Signature((TensorSpec("x", "float32", (4, 2)),), (TensorSpec("y", "float32", (4, 2)),))
VARIABLE = Signature((TensorSpec("x", "float32", (-1, -1)),))


def rows(count: int, first: float = 0.0, width: int = 4) -> np.ndarray[Any, Any]:
    return np.arange(first, first + count * width, dtype=np.float32).reshape(count, width)


def pinned(path: Path, sha256: str) -> ModelSpec:
    return ModelSpec(
        alias="m", runtime="tests.sample_runtimes.Items", artifact=str(path), sha256=sha256
    )


# Loading.


def test_the_runtime_gets_its_artifact(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    seen: list[Any] = []
    engine = Engine(
        ModelSpec(
            alias="m",
            runtime="tests.sample_runtimes.Items",
            runtime_options={"load": seen.append},
            artifact=str(path),
            trusted=True,
        )
    )
    engine.runner.load()
    (artifact,) = seen
    assert Path(artifact).read_bytes() == b"weights"
    assert artifact.trusted
    assert engine.runner.load_seconds > 0


class Sharing(Runtime):
    """Answers whether it was asked to share before it was loaded."""

    can_share_weights = True

    def load(self, artifact: Any) -> None:
        self.asked = self.share_weights

    def predict(self, items: list[Any]) -> list[Any]:
        return [self.asked] * len(items)


class Selfish(Sharing):
    can_share_weights = False


@pytest.mark.parametrize(
    ("runtime", "share", "asked"),
    [(Sharing, True, True), (Sharing, False, False), (Selfish, True, False)],
)
def test_a_runtime_that_can_share_its_weights_is_asked_to_before_the_load(
    runtime: type[Runtime], share: bool, asked: bool
) -> None:
    dotted = f"tests.engine.test_runner.{runtime.__name__}"
    options = EngineOptions(share_weights=share, warmup=False)
    engine = Engine(ModelSpec(alias="m", runtime=dotted, options=options))
    engine.runner.load()
    assert engine.run([1]) == [[asked]]


def test_code_without_an_artifact_is_loaded_with_none() -> None:
    seen: list[Any] = []
    loaded("Items", load=seen.append)
    assert seen == [None]


def test_an_artifact_that_is_not_the_pinned_one_is_never_handed_to_the_runtime(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    Engine(pinned(path, hashlib.sha256(b"weights").hexdigest())).runner.load()
    path.write_bytes(b"forged")
    with pytest.raises(ValueError, match="SHA-256"):
        Engine(pinned(path, hashlib.sha256(b"weights").hexdigest())).runner.load()


def test_what_the_load_raises_reaches_whoever_asked_for_it() -> None:
    def load(artifact: Any) -> None:
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        loaded("Items", load=load)


def test_closing_reaches_the_runtime() -> None:
    closed: list[bool] = []
    engine = loaded("Items", close=lambda: closed.append(True))
    engine.runner.close()
    assert closed == [True]


# Warming up.


def test_the_runtimes_own_example_is_predicted_before_the_first_request() -> None:
    predict, calls = recorded(lambda items: [item * 2 for item in items])
    engine = loaded("Items", predict=predict, warmup=lambda: 21)
    assert calls == [[21]]
    assert engine.statistics.requests == engine.statistics.batches == 0
    assert sum(engine.statistics.batch_sizes.values()) == 0


def test_an_example_goes_through_preprocess_and_postprocess() -> None:
    seen: list[Any] = []
    loaded(
        "Items",
        warmup=lambda: "raw",
        preprocess=lambda item: item + "-pre",
        postprocess=lambda result: seen.append(result + "-post"),
    )
    assert seen == ["raw-pre-post"]


def test_without_an_example_zeros_of_the_signature_are_predicted() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"]})
    loaded("Arrays", predict=predict)
    (inputs,) = calls
    assert inputs["x"].shape == (1, 4)
    assert inputs["x"].dtype == np.float32
    assert not inputs["x"].any()


def test_zeros_fill_the_batch_of_an_artifact_exported_for_a_fixed_one() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"]})
    loaded("Arrays", predict=predict, signature=FIXED)
    assert [inputs["x"].shape for inputs in calls] == [(4, 2)]


@pytest.mark.parametrize(
    "signature",
    [None, VARIABLE, Signature((TensorSpec("x", "str", (-1,)),)), Signature(())],
)
def test_zeros_are_left_out_where_nobody_knows_what_fits(signature: Signature | None) -> None:
    predict, calls = recorded(lambda inputs: inputs)
    loaded("Arrays", predict=predict, signature=signature)
    assert calls == []


def test_warming_up_can_be_switched_off() -> None:
    predict, calls = recorded(list)
    loaded(
        "Items", EngineOptions(batching="always", warmup=False), predict=predict, warmup=lambda: 21
    )
    assert calls == []


def test_a_failing_example_fails_the_load() -> None:
    def predict(items: list[Any]) -> list[Any]:
        raise ValueError("no kernel for this card")

    with pytest.raises(PredictionFailed, match="no kernel for this card"):
        loaded("Items", predict=predict, warmup=lambda: 1)


def test_a_warm_up_of_ones_own_that_raises_fails_the_load() -> None:
    def warmup() -> None:
        raise OSError("no card")

    with pytest.raises(OSError, match="no card"):
        loaded("Items", warmup=warmup)


def test_zeros_that_fail_are_logged_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    def predict(inputs: Any) -> Any:
        if not inputs["x"].any():
            raise ValueError("cannot divide by zeros")
        return {"y": inputs["x"]}

    with caplog.at_level(logging.WARNING, "django_inference.engine"):
        engine = loaded("Arrays", predict=predict)
    assert "warm-up" in caplog.text
    assert "cannot divide by zeros" in caplog.text
    (answer,) = engine.run({"x": rows(1, 1)})
    assert answer["y"].tolist() == rows(1, 1).tolist()


# Batching.


def test_requests_that_wait_together_run_together_and_get_their_own_rows() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"] * 2})
    engine = loaded("Arrays", predict=predict, warmup=None)
    calls.clear()
    inputs = [rows(count, 100.0 * count) for count in (1, 3, 2)]
    answers = engine.run(*({"x": x} for x in inputs))
    assert [call["x"].shape for call in calls] == [(6, 4)]
    for x, answer in zip(inputs, answers, strict=True):
        assert np.array_equal(answer["y"], x * 2)


def test_tensors_of_other_shapes_form_batches_of_their_own() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"].sum(axis=1)})
    engine = loaded("Arrays", predict=predict, signature=VARIABLE)
    answers = engine.run(*({"x": np.ones((1, width), np.float32)} for width in (3, 5, 3, 5, 3)))
    assert sorted(call["x"].shape for call in calls) == [(2, 5), (3, 3)]
    assert [answer["y"].tolist() for answer in answers] == [[3], [5], [3], [5], [3]]


def test_dtypes_are_not_mixed_where_the_model_does_not_say_what_it_takes() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"]})
    engine = loaded("Arrays", predict=predict, signature=None)
    answers = engine.run({"x": [1, 2]}, {"x": [0.5]}, {"x": [3]})
    assert sorted(str(call["x"].dtype) for call in calls) == ["float64", "int64"]
    assert [answer["y"].tolist() for answer in answers] == [[1, 2], [0.5], [3]]


def test_more_rows_than_a_batch_takes_are_sliced_and_joined() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"] * 2})
    engine = loaded(
        "Arrays", EngineOptions(batching="always", max_batch_size=8, warmup=False), predict=predict
    )
    x = rows(20)
    (answer,) = engine.run({"x": x})
    assert [len(call["x"]) for call in calls] == [8, 8, 4]
    assert np.array_equal(answer["y"], x * 2)


def test_a_long_list_of_items_runs_in_several_batches() -> None:
    predict, calls = recorded(lambda items: [item * 2 for item in items])
    engine = loaded("Items", EngineOptions(batching="always", max_batch_size=8), predict=predict)
    assert engine.run(list(range(20))) == [[item * 2 for item in range(20)]]
    assert [len(call) for call in calls] == [8, 8, 4]


def test_an_artifact_exported_for_a_fixed_batch_always_gets_that_batch() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"] * 2})
    engine = loaded(
        "Arrays",
        EngineOptions(batching="always", max_batch_size=1, warmup=False),
        predict=predict,
        signature=FIXED,
    )
    for count in (1, 4, 5, 11):
        x = rows(count, width=2)
        (answer,) = engine.run({"x": x})
        assert np.array_equal(answer["y"], x * 2)
    answers = engine.run({"x": rows(1, 5, 2)}, {"x": rows(2, 50, 2)})
    assert [answer["y"].tolist() for answer in answers] == [
        (rows(1, 5, 2) * 2).tolist(),
        (rows(2, 50, 2) * 2).tolist(),
    ]
    assert {call["x"].shape for call in calls} == {(4, 2)}


def test_an_empty_list_of_items_is_answered_without_a_run() -> None:
    predict, calls = recorded(list)
    assert loaded("Items", predict=predict).run([]) == [[]]
    assert calls == []


def test_who_was_in_a_dying_batch_runs_alone() -> None:
    predict, calls = recorded(list)
    engine = loaded("Items", predict=predict)
    engine.run([1], Asked([2, 3], alone=True), [4])
    assert sorted(calls) == [[1, 4], [2], [3]]


def test_every_request_is_told_how_many_share_its_batch() -> None:
    requests = [Asked([1, 2]), Asked([3]), Asked([4], alone=True)]
    loaded("Items").run(*requests)
    assert [set(request.batches[2:]) for request in requests] == [{3}, {3}, {1}]


def test_a_request_is_known_to_be_alone_only_while_it_is_prepared() -> None:
    first, second = Asked(["first"]), Asked(["second"])
    marks = []

    def preprocess(item: Any) -> Any:
        marks.append((item, first.batches[-1:], second.batches[-1:]))
        return item

    loaded("Items", preprocess=preprocess).run(first, second)
    assert marks == [("first", [1], []), ("second", [0], [1])]


# Items of a model of tensors.


def test_items_are_rows_without_the_batch() -> None:
    engine = loaded("Arrays")
    (results,) = engine.run([{"x": [1, 2, 3, 4]}, {"x": [0.5, 0, 0, 0]}])
    assert [result["y"].tolist() for result in results] == [[2, 4, 6, 8], [1, 0, 0, 0]]


def test_an_item_may_be_the_only_input_by_itself() -> None:
    (results,) = loaded("Arrays").run([[1, 2, 3, 4]])
    assert results[0]["y"].tolist() == [2, 4, 6, 8]


def test_items_and_tensors_share_batches() -> None:
    predict, calls = recorded(lambda inputs: {"y": inputs["x"] * 2})
    engine = loaded("Arrays", EngineOptions(batching="always", warmup=False), predict=predict)
    items, tensors = engine.run([[1, 2, 3, 4]] * 3, {"x": rows(2)})
    assert [call["x"].shape for call in calls] == [(5, 4)]
    assert len(items) == 3
    assert tensors["y"].shape == (2, 4)


def test_preprocess_and_postprocess_of_a_model_of_tensors() -> None:
    engine = loaded(
        "Arrays",
        preprocess=lambda text: {"x": [float(word) for word in text.split()]},
        postprocess=lambda outputs: outputs["y"].sum().item(),
    )
    assert engine.run(["1 2 3 4", "0 0 0 1"]) == [[20.0, 2.0]]


def test_an_item_that_does_not_fit_is_named() -> None:
    engine = loaded("Arrays")
    for item, word in (([1, 2], "[1, 2]"), ({"z": 1}, "given: z"), ([[1], [2, 3]], "item")):
        (outcome,) = engine.run([[1, 2, 3, 4], item])
        assert isinstance(outcome, InvalidInput)
        assert outcome.message.startswith("item 1: ")
        assert word in outcome.message


def test_tensors_for_a_model_of_items_are_refused() -> None:
    (outcome,) = loaded("Items").run({"x": rows(1)})
    assert isinstance(outcome, InvalidInput)
    assert "predict_one()" in outcome.message


# Poison.


def faulty(items: list[Any]) -> list[Any]:
    if any(item == "bad" for item in items):
        raise ValueError("bad is bad")
    return [item * 2 for item in items]


def test_one_bad_request_of_32_gets_the_error_and_the_others_their_answers() -> None:
    engine = loaded("Items", predict=faulty)
    payloads: list[Any] = [[index] for index in range(32)]
    payloads[13] = ["bad"]
    outcomes = engine.run(*payloads)
    failure = outcomes.pop(13)
    assert outcomes == [[index * 2] for index in range(32) if index != 13]
    assert isinstance(failure, PredictionFailed)
    assert failure.alias == "m"
    assert failure.message == "ValueError: bad is bad"
    assert "in faulty" in failure.details
    assert engine.statistics.requests == 32
    assert engine.statistics.failures == 1


def test_a_refusal_by_preprocess_costs_the_others_nothing() -> None:
    def preprocess(item: Any) -> Any:
        if item == 13:
            raise InvalidInput("thirteen is not an image")
        return item

    predict, calls = recorded(list)
    engine = loaded("Items", predict=predict, preprocess=preprocess)
    outcomes = engine.run(*([index] for index in range(32)))
    failure = outcomes.pop(13)
    assert isinstance(failure, InvalidInput)
    assert str(failure) == "Predictor 'm': thirteen is not an image"
    assert outcomes == [[index] for index in range(32) if index != 13]
    assert [len(call) for call in calls] == [31]
    assert engine.reports == []


def test_a_bad_request_of_tensors_among_good_ones() -> None:
    def predict(inputs: Any) -> Any:
        if np.isnan(inputs["x"]).any():
            raise InvalidInput("NaN")
        return {"y": inputs["x"] * 2}

    engine = loaded("Arrays", predict=predict)
    payloads = [{"x": rows(1 + index % 3, index)} for index in range(20)]
    payloads[7] = {"x": np.full((2, 4), np.nan)}
    outcomes = engine.run(*payloads)
    assert isinstance(outcomes[7], InvalidInput)
    for index, (payload, outcome) in enumerate(zip(payloads, outcomes, strict=True)):
        if index != 7:
            assert np.array_equal(outcome["y"], payload["x"] * 2)


def test_several_bad_requests_get_their_own_errors() -> None:
    def predict(items: list[int]) -> list[int]:
        for item in items:
            if item % 5 == 0:
                raise ValueError(f"{item} is a multiple of five")
        return items

    outcomes = loaded("Items", predict=predict).run(*([index] for index in range(1, 30)))
    for index, outcome in enumerate(outcomes, 1):
        if index % 5 == 0:
            assert outcome.message == f"ValueError: {index} is a multiple of five"
        else:
            assert outcome == [index]


@pytest.mark.parametrize("error", [ValueError("refused"), InvalidInput("refused")])
@pytest.mark.parametrize("where", ["preprocess", "predict", "postprocess"])
def test_the_item_of_a_list_is_named_wherever_it_fails(where: str, error: Exception) -> None:
    def check(item: Any) -> Any:
        if item == "bad":
            raise error
        return item

    hooks: dict[str, Any] = {where: check}
    if where == "predict":
        hooks = {"predict": lambda items: [check(item) for item in items]}
    (outcome,) = loaded("Items", **hooks).run(["a", "b", "c", "bad", "d"])
    assert isinstance(outcome, InferenceError)
    assert outcome.message.startswith("item 3: ")
    assert outcome.message.endswith("refused")
    assert outcome.message.count("item") == 1


@pytest.mark.parametrize("where", ["preprocess", "predict", "postprocess"])
def test_an_item_by_itself_needs_no_number(where: str) -> None:
    def check(item: Any) -> Any:
        raise InvalidInput("refused")

    hooks: dict[str, Any] = {where: check}
    (outcome,) = loaded("Items", **hooks).run(["bad"])
    assert outcome.message == "refused"


def test_an_error_that_a_model_raises_again_and_again_keeps_its_message() -> None:
    error = InvalidInput("refused")

    def check(item: Any) -> Any:
        raise error

    engine = loaded("Items", preprocess=check)
    outcomes = [engine.run(["a", "b"])[0], engine.run(["a", "b"])[0]]
    assert [outcome.message for outcome in outcomes] == ["item 0: refused"] * 2


def test_results_that_do_not_match_the_items_are_an_error_of_the_model() -> None:
    (outcome,) = loaded("Items", predict=lambda items: items[:-1]).run([1, 2])
    assert isinstance(outcome, PredictionFailed)
    assert "0 results for 1 items" in outcome.message


def test_a_model_that_leaves_the_interpreter_fails_the_prediction_only() -> None:
    def predict(items: list[Any]) -> list[Any]:
        if "bad" in items:
            raise SystemExit(2)
        return items

    outcomes = loaded("Items", predict=predict).run(["good"], ["bad"])
    assert outcomes[0] == ["good"]
    assert isinstance(outcomes[1], PredictionFailed)
    assert "SystemExit" in outcomes[1].message


def test_the_models_errors_are_reported_and_refusals_are_not() -> None:
    def predict(items: list[Any]) -> list[Any]:
        raise items[0]

    engine = loaded("Items", predict=predict)
    engine.run([ValueError("broken")], [InvalidInput("refused")])
    (report,) = engine.reports
    assert report.message == "ValueError: broken"
    assert "in predict" in report.traceback
    assert report.at == pytest.approx(time.time(), abs=60)


# Deadlines.


def test_an_expired_request_is_never_run() -> None:
    predict, calls = recorded(list)
    preprocess, prepared = recorded(lambda item: item)
    engine = loaded("Items", predict=predict, preprocess=preprocess)
    late = Asked(["late"], deadline=time.monotonic() - 1)
    outcome, answer = engine.run(late, ["in time"])
    assert isinstance(outcome, PredictionTimeout)
    assert outcome.alias == "m"
    assert answer == ["in time"]
    assert prepared == ["in time"]
    assert calls == [["in time"]]
    assert engine.statistics.expired == 1


def test_a_request_that_expires_while_others_run_is_dropped() -> None:
    def sleep(items: list[float]) -> list[float]:
        time.sleep(sum(items))
        return items

    predict, calls = recorded(sleep)
    engine = loaded("Items", EngineOptions(batching="always", max_batch_size=1), predict=predict)
    outcomes = engine.run([0.05], Asked([0.0], deadline=time.monotonic() + 0.02), [0.001])
    assert calls == [[0.05], [0.001]]
    assert outcomes[0] == [0.05]
    assert isinstance(outcomes[1], PredictionTimeout)
    assert outcomes[2] == [0.001]


# Counting.


def test_what_is_counted() -> None:
    engine = loaded("Items", EngineOptions(batching="always", max_batch_size=4), predict=faulty)
    engine.run(*([index] for index in range(6)), list(range(9)))
    counts = engine.statistics
    assert (counts.requests, counts.failures, counts.rows) == (7, 0, 15)
    assert counts.batches == 4
    assert counts.batch_sizes["4"] == 4
    assert sum(counts.latencies.values()) == 7
    assert counts.run_seconds > 0
    engine.run(["bad"])
    assert engine.statistics.failures == 1
    assert engine.statistics.requests == 8


def test_what_callers_get_wrong_is_no_failure_of_the_model() -> None:
    def predict(inputs: Any) -> Any:
        if inputs["x"][0, 0] < 0:
            raise InvalidInput("x is negative")
        return {"y": inputs["x"]}

    engine = loaded("Arrays", predict=predict)
    outcomes = engine.run({"x": [["a"] * 4]}, {"x": [[-1.0] * 4]}, {"x": [[1.0] * 4]})
    assert [isinstance(outcome, InvalidInput) for outcome in outcomes] == [True, True, False]
    counts = engine.statistics
    assert (counts.requests, counts.invalid, counts.failures, counts.successes) == (3, 2, 0, 1)
    assert engine.reports == []


def test_the_run_that_is_under_way_can_be_seen_from_outside() -> None:
    engine: Engine
    seen: list[float] = []

    def predict(items: list[Any]) -> list[Any]:
        seen.append(engine.page.run_started)
        return items

    engine = Engine(spec("Items", predict=predict))
    engine.runner.load()
    before = time.monotonic()
    engine.run([1])
    assert before <= seen[0] <= time.monotonic()
    assert engine.page.run_started == 0.0


def test_the_run_ends_for_the_watcher_when_it_raises_too() -> None:
    engine = loaded("Items", predict=faulty)
    engine.run(["bad"])
    assert engine.page.run_started == 0.0
    assert engine.statistics.batches == 1


def test_a_signature_is_the_models() -> None:
    assert loaded("Arrays").runner.signature == FLOATS
    assert loaded("Items").runner.signature is None
