"""An input that kills the model, sent again and again."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import InvalidInput, ModelCrashed
from django_inference.specs import Supervision
from tests.hosts import Client, Host, do, eventually

REFUSED = "this input has killed the model before and is not run for a while."


def storm(client: Client, item: Any, threads: int, seconds: float) -> list[Any]:
    """Threads that send an input again as soon as it has failed."""
    outcomes: list[Any] = []
    until = time.monotonic() + seconds

    def call() -> None:
        while time.monotonic() < until:
            try:
                outcomes.append(client.one(item))
            except Exception as error:
                outcomes.append(error)
            time.sleep(0.005)

    callers = [threading.Thread(target=call) for _ in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return outcomes


@pytest.mark.parametrize("how", ["exit", "segfault", "exit early"])
def test_a_storm_of_retries_does_not_take_the_model_down(
    shared: Host, alias: str, how: str
) -> None:
    client = shared.client(shared.spec(alias))
    client.one(1)
    # The first caller finds out.
    with pytest.raises(ModelCrashed, match="died twice"):
        client.one(do(how))
    eventually(lambda: len(shared.notes("loaded")) == 3)
    loads = 3
    outcomes = storm(client, do(how), threads=4, seconds=1.5)
    assert len(outcomes) > 50
    assert all(isinstance(outcome, ModelCrashed) for outcome in outcomes)
    assert str(outcomes[-1]) == f"Predictor {alias!r}: {REFUSED}"
    # Nobody else notices, and the model was not loaded again.
    assert client.one(do("pid")) == shared.notes("loaded")[-1]
    assert len(shared.notes("load")) == loads


def test_a_storm_that_comes_at_once_costs_a_few_restarts(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    client.one(1)
    outcomes = storm(client, do("exit"), threads=8, seconds=3.0)
    assert all(isinstance(outcome, ModelCrashed) for outcome in outcomes)
    eventually(lambda: client.one("good") == "good")
    # Each of the eight has killed it twice at the worst.
    assert len(shared.notes("load")) <= 1 + 16
    before = len(shared.notes("load"))
    assert storm(client, do("exit"), threads=8, seconds=0.5)
    assert len(shared.notes("load")) == before


def test_another_process_is_told_of_it_too(shared: Host, alias: str) -> None:
    client, other = (shared.client(shared.spec(alias)) for _ in range(2))
    other.one(1)
    with pytest.raises(ModelCrashed):
        client.one(do("exit"))
    other.one(1)
    with pytest.raises(ModelCrashed, match=REFUSED):
        other.one(do("exit"))


def test_an_input_is_let_out_after_its_time(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(quarantine=1.0)))
    with pytest.raises(ModelCrashed, match="died twice"):
        client.one(do("exit"))
    with pytest.raises(ModelCrashed, match=REFUSED):
        client.one(do("exit"))
    time.sleep(2.0)
    loads = len(shared.notes("load"))
    with pytest.raises(ModelCrashed, match="died twice"):
        client.one(do("exit"))
    assert len(shared.notes("load")) >= loads + 1


def test_without_a_quarantine_every_try_is_run(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(quarantine=0.0)))
    for _ in range(2):
        with pytest.raises(ModelCrashed, match="died twice"):
            client.one(do("exit"))


def test_while_one_input_is_refused_others_of_every_kind_are_not(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    with pytest.raises(ModelCrashed):
        client.one({"do": "exit", "x": np.arange(5)})
    with pytest.raises(ModelCrashed, match=REFUSED):
        client.one({"do": "exit", "x": np.arange(5)})
    x = client.one({"do": "something", "x": np.arange(5)})["x"]
    assert x.tolist() == [0, 1, 2, 3, 4]
    assert client.one({1: "int", "a": "text"}) == {1: "int", "a": "text"}
    assert client.one(np.array(["a", None, 3], dtype=object)).tolist() == ["a", None, 3]
    for item in (object(), 1j, 2**64, "\ud800", {"x": object()}):
        with pytest.raises(InvalidInput, match="cannot be sent"):
            client.one(item)


def test_inputs_without_a_digest_do_not_stand_for_each_other(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    # Keys of two kinds have no order.
    with pytest.raises(ModelCrashed, match="died twice"):
        client.one({"do": "exit", 1: 2})
    assert client.one({"do": "nothing", 1: 3}) == {"do": "nothing", 1: 3}
    with pytest.raises(InvalidInput):
        client.one(object())
