"""Requests share runs only where each gets the answer that it gets alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.specs import EngineOptions, Golden
from django_inference.tensors import Signature, TensorSpec
from tests.engine.engines import Asked, Engine, loaded, recorded, spec

X, Y = TensorSpec("x", "float32", (-1, 2)), TensorSpec("y", "float32", (-1, 2))
PLAIN = Signature((X,), (Y,))
STEPS_FIRST = Signature(
    (TensorSpec("x", "float32", (-1, -1, 2)),), (TensorSpec("y", "float32", (-1, -1, 2)),)
)
NONE_AT_LOAD = EngineOptions(warmup=False)


def engine(
    predict: Callable[[Any], Any],
    signature: Signature | None = PLAIN,
    options: EngineOptions | None = None,
    **more: Any,
) -> Engine:
    return loaded(
        "Arrays", options or EngineOptions(), predict=predict, signature=signature, **more
    )


def steps(count: int, rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((count, rows, 2)).astype(np.float32)


def cumulated(inputs: Any) -> Any:
    return {"y": inputs["x"].cumsum(axis=0)}


def doubled(inputs: Any) -> Any:
    return {"y": inputs["x"] * 2}


def test_a_batch_is_proven_at_load_and_by_three_shared_runs() -> None:
    predict, calls = recorded(doubled)
    model = engine(predict)
    assert len(calls) == 5
    assert model.runner.proof.status == "proven at load"
    for _ in range(3):
        calls.clear()
        payloads = [{"x": steps(1, 1)[0] + n} for n in range(4)]
        for payload, outcome in zip(payloads, model.run(*payloads), strict=True):
            assert np.array_equal(outcome["y"], payload["x"] * 2)
        assert [len(each["x"]) for each in calls] == [1, 1, 1, 1, 4]
    assert model.runner.proof.status == "proven"
    calls.clear()
    model.run(*[{"x": np.ones((1, 2))}] * 32)
    assert [len(each["x"]) for each in calls] == [32]


@pytest.mark.parametrize("options", [EngineOptions(), NONE_AT_LOAD])
@pytest.mark.parametrize("signature", [STEPS_FIRST, None])
def test_an_axis_of_time_is_not_taken_for_the_batch(
    signature: Signature | None, options: EngineOptions
) -> None:
    model = engine(cumulated, signature, options)
    (outcome,) = model.run({"x": np.ones((100, 1, 2), np.float32)})
    assert outcome["y"][-1, 0, 0] == 100
    payloads = [{"x": steps(3, 1, seed)} for seed in range(180)]
    for payload, outcome in zip(payloads, model.run(*payloads), strict=True):
        np.testing.assert_allclose(outcome["y"], payload["x"].cumsum(axis=0), rtol=1e-5)
    assert model.runner.proof.status.startswith("not batched: ")
    assert "y" in model.runner.proof.reason


def test_a_declared_axis_is_joined_and_cut() -> None:
    predict, calls = recorded(cumulated)
    model = engine(predict, STEPS_FIRST, batch_axis={"x": 1, "y": 1})
    assert model.runner.proof.status == "proven at load"
    payloads = [{"x": steps(7, 1, seed)} for seed in range(40)]
    for payload, outcome in zip(payloads, model.run(*payloads), strict=True):
        np.testing.assert_allclose(outcome["y"], payload["x"].cumsum(axis=0), rtol=1e-5)
    assert [each["x"].shape for each in calls[-2:]] == [(7, 20, 2), (7, 8, 2)]
    (outcome,) = model.run({"x": steps(7, 100)})
    np.testing.assert_allclose(outcome["y"], steps(7, 100).cumsum(axis=0), rtol=1e-5)
    assert [each["x"].shape[1] for each in calls[-4:]] == [32, 32, 32, 4]
    (outcome,) = model.run([{"x": steps(5, 1)[:, 0]}])
    np.testing.assert_allclose(outcome[0]["y"], steps(5, 1)[:, 0].cumsum(axis=0), rtol=1e-5)


def test_as_many_rows_as_were_found_are_given_to_the_caller_whole() -> None:
    def found(inputs: Any) -> Any:
        return {"where": np.argwhere(inputs["x"] > 0).astype(np.float32)}

    output = TensorSpec("where", "float32", (-1, 2))
    for options in (EngineOptions(), NONE_AT_LOAD):
        model = engine(found, Signature((X,), (output,)), options)
        one, two = model.run({"x": [[1, 1]]}, {"x": [[-1, -1]]})
        assert one["where"].tolist() == [[0, 0], [0, 1]]
        assert two["where"].shape == (0, 2)
        (items,) = model.run([{"x": [1, 1]}, {"x": [-1, -1]}])
        assert [len(item["where"]) for item in items] == [2, 0]
        assert model.runner.proof.reason


def test_what_cannot_be_divided_is_run_again_one_by_one_and_never_shared_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def drops_negative(inputs: Any) -> Any:
        return {"y": inputs["x"][inputs["x"][:, 0] >= 0]}

    predict, calls = recorded(drops_negative)
    model = engine(predict, options=NONE_AT_LOAD)
    for _ in range(3):
        model.run(*({"x": [[n, 1.0]]} for n in range(4)))
    assert model.runner.proof.status == "proven"
    with caplog.at_level(logging.WARNING):
        outcomes = model.run(*({"x": [[n, 1.0]]} for n in (1, -1, 2)))
    assert [outcome["y"].tolist() for outcome in outcomes] == [[[1, 1]], [], [[2, 1]]]
    assert "not batched alias=m" in caplog.text
    assert "the output 'y' has the shape [2, 2] for 3 rows" in model.runner.proof.reason
    calls.clear()
    model.run(*({"x": [[n, 1.0]]} for n in range(4)))
    assert [len(each["x"]) for each in calls] == [1, 1, 1, 1]


def test_values_that_depend_on_the_neighbours_end_batching_at_the_first_proof_run() -> None:
    model = engine(lambda inputs: {"y": inputs["x"] - inputs["x"].mean(axis=0)}, None)
    outcomes = model.run(*({"x": np.array([[n, 1], [0, 0]], np.float32)} for n in range(8)))
    for n, outcome in enumerate(outcomes):
        assert outcome["y"].tolist() == [[n / 2, 0.5], [-n / 2, -0.5]]
    assert "y differs by" in model.runner.proof.reason
    assert "batch_axis" in model.runner.proof.reason


def test_equal_requests_prove_nothing_of_a_model_that_nothing_is_known_of() -> None:
    model = engine(lambda inputs: {"y": inputs["x"] - inputs["x"].max(axis=0)}, None)
    for _ in range(5):
        model.run(*[{"x": np.ones((1, 2), np.float32)}] * 4)
    assert model.runner.proof.status == "unproven"
    one, two = model.run(
        {"x": np.array([[1, 1]], np.float32)}, {"x": np.array([[9, 9]], np.float32)}
    )
    assert one["y"].tolist() == two["y"].tolist() == [[0, 0]]


def test_a_new_combination_of_shapes_is_proven_before_it_is_shared() -> None:
    def fails_for_long(inputs: Any) -> Any:
        x = inputs["x"]
        return {"y": x * 2 if x.shape[1] < 5 else x * 2 + len(x)}

    predict, calls = recorded(fails_for_long)
    signature = Signature(
        (TensorSpec("x", "float32", (-1, -1)),), (TensorSpec("y", "float32", (-1, -1)),)
    )
    model = engine(predict, signature, NONE_AT_LOAD)
    for _ in range(3):
        model.run(*({"x": np.full((1, 3), n, np.float32)} for n in range(4)))
    assert model.runner.proof.status == "proven"
    outcomes = model.run(*({"x": np.full((1, 6), n, np.float32)} for n in range(4)))
    assert [outcome["y"][0, 0] for outcome in outcomes] == [1, 3, 5, 7]
    assert model.runner.proof.reason


def test_an_audit_finds_out_later_what_the_proof_has_not_seen() -> None:
    def centres_large(inputs: Any) -> Any:
        x = inputs["x"]
        return {"y": x - x.mean() if x.max() > 100 else x}

    model = engine(centres_large, options=EngineOptions(audit=1.0))
    for _ in range(4):
        model.run(*({"x": np.full((1, 2), n, np.float32)} for n in range(4)))
    assert model.runner.proof.status == "proven"
    one, two = model.run({"x": [[1000, 1000]]}, {"x": [[3, 3]]})
    assert (one["y"].tolist(), two["y"].tolist()) == ([[0, 0]], [[3, 3]])
    assert model.runner.proof.reason


def test_parameters_of_the_whole_call_are_shared_only_where_they_are_equal() -> None:
    rate = TensorSpec("rate", "int64", ())
    scales = TensorSpec("scales", "float32", (2,), None)

    def scaled(inputs: Any) -> Any:
        return {"y": inputs["x"] * inputs["scales"] * inputs["rate"], "rate": inputs["rate"]}

    predict, calls = recorded(scaled)
    model = engine(predict, Signature((X, rate, scales), (Y, rate)))
    assert model.runner.proof.status == "proven at load"

    def asked(n: int) -> dict[str, Any]:
        return {"x": [[n, n]], "rate": 1 + n % 2, "scales": [1.0, 2.0]}

    for _ in range(4):
        calls.clear()
        for n, outcome in enumerate(model.run(*map(asked, range(8)))):
            assert outcome["y"].tolist() == [[n * (1 + n % 2), 2 * n * (1 + n % 2)]]
            assert outcome["rate"] == 1 + n % 2
    assert sorted(len(each["x"]) for each in calls) == [4, 4]
    (items,) = model.run([{"x": [1, 1], "rate": 3, "scales": [1, 1]}])
    assert items[0]["y"].tolist() == [3, 3]
    assert items[0]["rate"] == 3


def test_a_state_has_its_batch_on_another_axis() -> None:
    state = TensorSpec("state", "float32", (2, -1, 3), 1)

    def stepped(inputs: Any) -> Any:
        return {"y": inputs["x"], "state": inputs["state"] + inputs["x"][:, :1]}

    model = engine(stepped, Signature((X, state), (Y, state)))
    assert model.runner.proof.status == "proven at load"
    for _ in range(4):
        payloads = [{"x": [[n, 0]], "state": np.full((2, 1, 3), 10 * n)} for n in range(5)]
        for n, outcome in enumerate(model.run(*payloads)):
            assert (outcome["state"] == 11 * n).all()
            assert outcome["state"].shape == (2, 1, 3)


def test_inputs_without_one_number_of_rows_are_one_run_of_their_own() -> None:
    model = engine(lambda inputs: {"y": inputs["x"] * inputs["z"]}, None)
    (outcome,) = model.run({"x": np.ones((3, 2)), "z": np.full((1, 2), 5.0)})
    assert outcome["y"].tolist() == [[5, 5]] * 3
    (refused,) = model.run({"x": np.ones((3, 2)), "z": np.ones((2, 2))})
    assert isinstance(refused, InvalidInput)
    assert "x [3, 2], z [2, 2]" in refused.message


def test_single_values_and_sums_are_given_whole() -> None:
    model = engine(lambda inputs: {"sum": inputs["x"].sum()}, None)
    one, two = model.run({"x": np.ones((3, 2))}, {"x": np.ones((1, 2))})
    assert (one["sum"], two["sum"]) == (6, 2)


def test_a_fixed_number_of_rows_is_filled_up_only_where_that_is_harmless() -> None:
    fixed = Signature((TensorSpec("x", "float32", (4, 2)),), (TensorSpec("y", "float32", (4, 2)),))
    model = engine(doubled, fixed)
    assert model.runner.proof.status == "proven at load"
    (outcome,) = model.run({"x": np.ones((7, 2))})
    assert outcome["y"].shape == (7, 2)

    def backwards(inputs: Any) -> Any:
        return {"y": inputs["x"][::-1].cumsum(axis=0)[::-1]}

    for options in (EngineOptions(), NONE_AT_LOAD):
        model = engine(backwards, fixed, options)
        (whole,) = model.run({"x": np.ones((4, 2))})
        assert whole["y"][:, 0].tolist() == [4, 3, 2, 1]
        for count in (3, 5):
            (refused,) = model.run({"x": np.ones((count, 2))})
            assert isinstance(refused, InvalidInput)
            assert f"4 rows a call, not {count}" in refused.message


@pytest.mark.parametrize("outputs", [(), (TensorSpec("y", "float32", ()),)])
def test_one_row_a_run_whose_outputs_have_none_is_one_row_a_call(outputs: Any) -> None:
    signature = Signature((TensorSpec("x", "float32", (1, 2)),), outputs)
    model = engine(lambda inputs: {"y": inputs["x"].sum()}, signature)
    (refused,) = model.run({"x": np.ones((3, 2))})
    assert isinstance(refused, InvalidInput)
    assert "1 rows a call, and no more: the output 'y' has no rows" in refused.message
    one, items = model.run({"x": np.ones((1, 2))}, [{"x": [1, 1]}, {"x": [2, 2]}])
    assert one["y"] == 2
    assert [item["y"] for item in items] == [2, 4]


def test_never_and_none_run_each_request_by_itself_and_whole() -> None:
    predict, calls = recorded(cumulated)
    for options, more in (
        (EngineOptions(batching="never"), {}),
        (EngineOptions(), {"batch_axis": None}),
    ):
        model = engine(predict, STEPS_FIRST, options, **more)
        calls.clear()
        for outcome in model.run(*[{"x": np.ones((50, 1, 2), np.float32)}] * 3):
            assert outcome["y"][-1, 0, 0] == 50
        assert len(calls) == 3
        assert model.runner.proof.status.startswith("not batched: ")


def test_always_takes_it_for_granted() -> None:
    predict, calls = recorded(doubled)
    model = engine(predict, options=EngineOptions(batching="always", warmup=False))
    model.run(*[{"x": np.ones((1, 2))}] * 5)
    assert [len(each["x"]) for each in calls] == [5]
    assert model.runner.proof.status == "always"


def test_a_tolerance_allows_for_rounding() -> None:
    def rough(inputs: Any) -> Any:
        return {"y": inputs["x"] + 0.2 * len(inputs["x"])}

    assert engine(rough).runner.proof.reason
    assert not engine(rough, options=EngineOptions(batch_tolerance=0.5)).runner.proof.reason


def test_small_differences_of_made_up_inputs_are_left_to_the_first_requests() -> None:
    model = engine(lambda inputs: {"y": inputs["x"] * (1 + 1e-3 * len(inputs["x"]))})
    assert model.runner.proof.status == "unproven"
    outcomes = model.run(*({"x": [[n, 1.0]]} for n in range(4)))
    assert [outcome["y"][0, 1] for outcome in outcomes] == pytest.approx([1.001] * 4)
    assert "y differs by" in model.runner.proof.reason


def test_answers_that_differ_from_run_to_run_are_said_to() -> None:
    rng = np.random.default_rng()
    model = engine(lambda inputs: {"y": inputs["x"] + rng.standard_normal()})
    assert "differ from run to run" in model.runner.proof.reason


def test_a_name_that_the_model_lacks_fails_the_load() -> None:
    with pytest.raises(ValueError, match=r"`batch_axis` names 'z'.*x, y"):
        engine(doubled, batch_axis={"z": 1})
    with pytest.raises(ValueError, match=r"says 2 of 'x'.*\[-1, 2\]"):
        engine(doubled, batch_axis={"x": 2})


def test_items_are_proven_on_the_first_requests() -> None:
    def ranked(items: list[Any]) -> list[Any]:
        return [sorted(items).index(item) for item in items]

    predict, calls = recorded(ranked)
    model = loaded("Items", EngineOptions(), predict=predict)
    assert model.run([5], [3, 9]) == [[0], [0, 0]]
    assert model.runner.proof.reason
    assert calls == [[5], [3], [9], [5, 3, 9]]


def test_the_golden_questions_are_examples() -> None:
    about = spec("Items", EngineOptions(), predict=lambda items: [max(items)] * len(items))
    about = msgspec.structs.replace(about, golden=(Golden(1, 1), Golden(5, 5)))
    model = Engine(about)
    model.runner.load()
    assert model.runner.proof.reason
    assert model.run([2, 7]) == [[2, 7]]


def test_a_request_that_fails_by_itself_fails_alone_in_a_proof_run() -> None:
    def faulty(items: list[Any]) -> list[Any]:
        if "bad" in items:
            raise ValueError("broken")
        return [item * 2 for item in items]

    model = loaded("Items", EngineOptions(), predict=faulty)
    good, bad, other = model.run(["a"], ["bad"], ["b"])
    assert (good, other) == (["aa"], ["bb"])
    assert "broken" in bad.message
    assert not model.runner.proof.reason


def test_buffers_that_a_runtime_uses_again_do_not_change_an_answer() -> None:
    buffer = np.zeros((32, 2), np.float32)

    def into_buffer(inputs: Any) -> Any:
        rows = len(inputs["x"])
        buffer[:rows] = inputs["x"]
        return {"y": buffer[:rows]}

    model = engine(into_buffer)
    seen: list[Any] = []
    for n, outcome in enumerate(model.run(*({"x": [[n, n]]} for n in range(4)))):
        seen.append((n, outcome["y"].tolist()))
    assert seen == [(n, [[n, n]]) for n in range(4)]


def test_a_request_in_pieces_keeps_its_first_answers_when_buffers_are_used_again() -> None:
    buffer = np.zeros((4, 2), np.float32)

    def into_buffer(inputs: Any) -> Any:
        rows = len(inputs["x"])
        buffer[:rows] = inputs["x"]
        return {"y": buffer[:rows]}

    model = engine(into_buffer, options=EngineOptions(max_batch_size=4, batching="always"))
    rows = steps(10, 1)[:, 0]
    assert np.array_equal(model.run({"x": rows})[0]["y"], rows)
    (results,) = model.run(list(rows))
    assert [result["y"].tolist() for result in results] == rows.tolist()


def from_the_mean(inputs: Any) -> Any:
    return {"y": inputs["x"] - inputs["x"].mean(axis=0, keepdims=True)}


@pytest.mark.parametrize("options", [EngineOptions(), NONE_AT_LOAD])
def test_zeros_filled_up_with_zeros_prove_nothing(options: EngineOptions) -> None:
    fixed = Signature((TensorSpec("x", "float32", (4, 2)),), (TensorSpec("y", "float32", (4, 2)),))
    model = engine(from_the_mean, fixed, options)
    for _ in range(4):
        model.run({"x": np.zeros((1, 2))})
    for outcome in model.run({"x": np.ones((1, 2))}, {"x": np.full((1, 2), 5)}):
        assert isinstance(outcome, InvalidInput)
    (cut,) = model.run({"x": steps(8, 1)[:, 0]})
    assert isinstance(cut, InvalidInput)


def test_more_rows_of_the_same_prove_nothing_of_a_model_that_nothing_is_known_of() -> None:
    model = engine(from_the_mean, None)
    for _ in range(4):
        model.run({"x": np.ones((1, 2))}, {"x": np.ones((2, 2))})
    assert model.runner.proof.status == "unproven"
    for outcome in model.run({"x": np.ones((1, 2))}, {"x": np.full((1, 2), 5)}):
        assert outcome["y"].tolist() == [[0, 0]]


def test_what_runs_alone_is_filled_up_only_where_that_is_harmless() -> None:
    fixed = Signature((TensorSpec("x", "float32", (4, 2)),), (TensorSpec("y", "float32", (4, 2)),))
    for predict in (from_the_mean, lambda inputs: {"y": inputs["x"].sum(axis=0)}):
        for options in (EngineOptions(), NONE_AT_LOAD):
            model = engine(predict, fixed, options)
            (outcome,) = model.run(Asked({"x": np.ones((1, 2))}, alone=True))
            assert isinstance(outcome, InvalidInput)


def test_unequal_numbers_of_rows_are_refused_where_the_number_is_fixed() -> None:
    specs = tuple(TensorSpec(name, "float32", (4, 2)) for name in "ab")
    model = engine(
        lambda inputs: {"y": inputs["a"]}, Signature(specs, (TensorSpec("y", "float32", (4, 2)),))
    )
    for a, b in ((1, 0), (1, 4), (4, 8)):
        (outcome,) = model.run({"a": np.ones((a, 2)), "b": np.ones((b, 2))})
        assert isinstance(outcome, InvalidInput)
        assert "different numbers of rows" in outcome.message


@pytest.mark.parametrize("whole", [np.float32(7), np.arange(3)])
@pytest.mark.parametrize("options", [{}, {"warmup": False}, {"batching": "always"}])
def test_a_long_request_runs_whole_where_an_output_has_no_rows(whole: Any, options: Any) -> None:
    def predict(inputs: Any) -> Any:
        return {"y": inputs["x"] * 2, "z": whole}

    outputs = (Y, TensorSpec("z", str(whole.dtype), whole.shape, None))
    model = engine(predict, Signature((X,), outputs), EngineOptions(max_batch_size=4, **options))
    for n in range(4):
        model.run(*({"x": np.full((1, 2), n + k)} for k in range(4)))
    rows = steps(10, 1)[:, 0]
    (outcome,) = model.run({"x": rows})
    assert np.array_equal(outcome["y"], rows * 2)
    assert np.array_equal(outcome["z"], whole)
    assert not model.runner.proof.reason


@pytest.mark.parametrize("axis", [True, -1, 1.0, "x", [0], {"x": "0"}, {"x": True}, {"x": -1}])
@pytest.mark.parametrize("signature", [PLAIN, None])
def test_what_is_no_axis_fails_the_load(axis: Any, signature: Signature | None) -> None:
    with pytest.raises(ValueError, match="`batch_axis`.*given"):
        engine(doubled, signature, batch_axis=axis)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, BaseException])
def test_what_is_no_exception_does_not_end_the_thread(kind: type[BaseException]) -> None:
    def predict(inputs: Any) -> Any:
        if (inputs["x"] == 7).any():
            raise kind("no")
        return {"y": inputs["x"] * 2}

    model = engine(predict)
    good, bad = model.run({"x": np.ones((1, 2))}, {"x": np.full((1, 2), 7)})
    assert good["y"].tolist() == [[2, 2]]
    assert isinstance(bad, PredictionFailed)
    assert kind.__name__ in bad.message


def test_declared_axes_of_outputs_hold_where_only_inputs_are_in_the_signature() -> None:
    def predict(inputs: Any) -> Any:
        return {"y": inputs["x"] * 2, "h": inputs["x"].T[None, 0]}

    model = engine(predict, Signature((X,)), batch_axis={"x": 0, "y": 0, "h": 1})
    for n in range(4):
        payloads = [{"x": steps(2, 1, n * 4 + k)[:, 0]} for k in range(4)]
        for payload, outcome in zip(payloads, model.run(*payloads), strict=True):
            assert np.array_equal(outcome["h"], payload["x"].T[None, 0])
    assert model.runner.proof.status == "proven"


def test_what_is_learnt_of_an_output_is_not_believed_of_an_input_of_the_same_name() -> None:
    model = engine(lambda inputs: {"x": np.arange(3.0), "n": inputs["x"].ndim * np.ones(1)}, None)
    for _ in range(2):
        ((result,),) = model.run([{"x": [1.0, 2.0]}])
        assert result["x"].tolist() == [0, 1, 2]
        assert result["n"] == 2


@pytest.mark.parametrize("results", ["a", b"a", {"label": "cat"}, {"cat"}])
def test_what_is_no_list_of_results_is_no_answer(results: Any) -> None:
    model = loaded("Items", EngineOptions(), predict=lambda items: results)
    (outcome,) = model.run(["one"])
    assert isinstance(outcome, PredictionFailed)
    assert f"returned a {type(results).__name__}, not a list" in outcome.message
