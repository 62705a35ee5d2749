"""How a new version comes in, is tried, and is sent back."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from django_inference.exceptions import ModelLoadFailed
from django_inference.host.control import Refused
from django_inference.host.protocol import Promote, Reload, Rollback, Unload
from django_inference.specs import Golden, ModelSpec, State, Supervision
from tests.host.crowd import Crowd
from tests.hosts import Client, Host, do, eventually

WATCH = Supervision(watch=True)


def write(path: Path, text: str) -> Path:
    """Put a file in the place of another, as a deploy should."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return path


def serves(host: Host, client: Client, item: Any, answer: Any) -> None:
    """Wait until the calls are answered so, and by one version."""
    eventually(lambda: client.one(item) == answer)
    status = host.wait_status(lambda status: not status.next_version, client_alias(client))
    assert status.state is State.READY


def client_alias(client: Client) -> str:
    return client._alias


# Golden answers.


def test_a_version_that_answers_right_is_let_in(shared: Host, alias: str) -> None:
    golden = [Golden("cat", "cat"), Golden([1.0, 2.0], [1.0, 2.1], 0.2)]
    client = shared.client(shared.spec(alias, golden=golden))
    assert client.one("cat") == "cat"
    status = shared.status(alias)
    assert status
    # The golden questions are nobody's calls.
    assert status.replicas[0].statistics.requests == 1


def test_a_version_that_answers_wrong_never_takes_traffic(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    score = write(tmp_path / "score", "0.5")
    good = shared.spec(alias, artifact=score, golden=[Golden([do("score")], [0.5], 0.01)])
    client = shared.client(good, declared_at=100.0)
    assert client.one(do("score")) == 0.5
    with Crowd(client, do("score"), threads=2) as crowd:
        write(score, "0.75")
        shared.ask(Reload(alias))
        status = shared.wait_status(lambda status: status.error is not None, alias)
        time.sleep(0.2)
    assert crowd.errors == []
    assert set(crowd.answers) == {0.5}
    assert status.state is State.READY
    assert status.error
    assert status.error.message == (
        "GoldenMismatch: golden answer 1 of 1 differs by more than 0.01: "
        "expected [0.5], got [0.75]."
    )
    write(score, "0.505")
    eventually(lambda: client.one(do("score")) == 0.505)


def test_the_first_version_that_answers_wrong_is_an_error_for_callers(
    shared: Host, alias: str
) -> None:
    client = shared.client(shared.spec(alias, golden=[Golden("cat", "dog")]))
    with pytest.raises(ModelLoadFailed, match="expected 'dog', got 'cat'"):
        client.one("cat")


# Watching files.


def test_a_file_that_changes_is_a_new_version(shared: Host, alias: str, tmp_path: Path) -> None:
    artifact = write(tmp_path / "model", "one")
    client = shared.client(shared.spec(alias, artifact=artifact, supervision=WATCH))
    assert client.one(do("artifact")) == "one"
    first = shared.status(alias)
    assert first
    with Crowd(client, do("artifact"), threads=2) as crowd:
        write(artifact, "two")
        eventually(lambda: crowd.answers[-1] == "two")
    assert crowd.errors == []
    assert set(crowd.answers) == {"one", "two"}
    after = shared.wait_status(lambda status: status.version != first.version, alias)
    assert after.pid != first.pid
    assert len(shared.notes("loaded")) == 2


def test_a_file_that_is_being_written_is_not_loaded(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    artifact = write(tmp_path / "model", "one")
    client = shared.client(shared.spec(alias, artifact=artifact, supervision=WATCH))
    client.one(1)
    loads = len(shared.notes("load"))
    with artifact.open("w") as file:
        for _ in range(12):
            file.write("half ")
            file.flush()
            assert client.one(do("artifact")) == "one"
            time.sleep(0.2)
        assert len(shared.notes("load")) == loads
        file.write("whole")
    eventually(lambda: client.one(do("artifact")) == "half " * 12 + "whole")
    assert len(shared.notes("load")) == loads + 1


def test_a_file_that_is_corrupt_leaves_the_old_version_serving(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    artifact = write(tmp_path / "model", "one")
    client = shared.client(shared.spec(alias, artifact=artifact, supervision=WATCH))
    client.one(1)
    with Crowd(client, do("artifact"), threads=2) as crowd:
        write(artifact, "broken")
        status = shared.wait_status(lambda status: status.error is not None, alias)
        assert status.state is State.READY
        assert status.error
        assert status.error.message == "RuntimeError: the artifact is broken"
        assert crowd.answers[-1] == "one"
        write(artifact, "three")
        eventually(lambda: crowd.answers[-1] == "three")
    assert crowd.errors == []
    assert set(crowd.answers) == {"one", "three"}
    status = shared.wait_status(lambda status: status.error is None, alias)
    # Two more loads: the broken one (perhaps again), and the mended one, once.
    time.sleep(1.2)
    assert client.one(do("artifact")) == "three"
    assert shared.notes("loaded")[1:] == [status.pid]


def test_a_file_that_vanishes_leaves_the_old_version_serving(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    artifact = write(tmp_path / "model", "one")
    client = shared.client(shared.spec(alias, artifact=artifact, supervision=WATCH))
    client.one(1)
    artifact.unlink()
    status = shared.wait_status(lambda status: status.error is not None, alias)
    assert status.state is State.READY
    assert client.one(do("artifact")) == "one"
    write(artifact, "back")
    eventually(lambda: client.one(do("artifact")) == "back")


def test_without_watching_a_file_that_changes_waits_for_a_reload(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    artifact = write(tmp_path / "model", "one")
    client = shared.client(shared.spec(alias, artifact=artifact))
    client.one(1)
    write(artifact, "two")
    time.sleep(1.5)
    assert client.one(do("artifact")) == "one"
    shared.ask(Reload(alias))
    eventually(lambda: client.one(do("artifact")) == "two")


# The source of a runtime of the user's own.


@pytest.fixture
def source(tmp_path: Path, alias: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / f"runtime_{alias.replace('-', '_')}.py"


def program(path: Path, answer: str) -> None:
    path.write_text(f"def predict(items):\n    return [{answer!r} for item in items]\n")
    # Within a second, Python would take the compiled file for up to date.
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)


@pytest.mark.parametrize("how", ["reload", "declaration"])
def test_a_changed_source_is_a_new_version(
    shared: Host, alias: str, source: Path, how: str
) -> None:
    program(source, "one")
    spec = shared.spec(alias, f"{source.stem}.predict", source=source)
    assert str(source.parent) in sys.path
    client = shared.client(spec, declared_at=100.0)
    assert client.one(1) == "one"
    with Crowd(client, 1, threads=2) as crowd:
        program(source, "two!")
        # An older process declares nothing new, and neither does one of the same time.
        shared.declare(spec, 100.0)
        shared.declare(spec, 50.0)
        time.sleep(0.3)
        assert client.one(1) == "one"
        if how == "reload":
            shared.ask(Reload(alias))
        else:
            shared.declare(spec, 200.0)
        eventually(lambda: crowd.answers[-1] == "two!")
    assert crowd.errors == []
    assert set(crowd.answers) == {"one", "two!"}


# Rolling back.


def refused(host: Host, message: Any) -> str:
    with pytest.raises(Refused) as caught:
        host.ask(message)
    return str(caught.value)


def test_a_roll_back_withdraws_the_newest_declaration(shared: Host, alias: str) -> None:
    old, new = shared.spec(alias, salt="old"), shared.spec(alias, salt="new")
    client = shared.client(old, declared_at=100.0)
    serves(shared, client, do("salt"), "old")
    shared.declare(new, 200.0)
    serves(shared, client, do("salt"), "new")
    with Crowd(client, do("salt"), threads=2) as crowd:
        shared.ask(Rollback(alias))
        eventually(lambda: crowd.answers[-1] == "old")
    assert crowd.errors == []
    # Whoever starts now still has the settings that were withdrawn.
    shared.declare(new, time.time() + 5)
    time.sleep(0.3)
    assert client.one(do("salt")) == "old"
    assert f"rollback alias={alias}" in shared.log()
    # Other settings are another matter.
    newest = shared.spec(alias, salt="newest")
    shared.declare(newest, time.time() + 10)
    serves(shared, client, do("salt"), "newest")


def test_what_was_rolled_back_does_not_come_again_after_an_unload(shared: Host, alias: str) -> None:
    old, new = shared.spec(alias, salt="old"), shared.spec(alias, salt="new")
    client = shared.client(old, declared_at=100.0)
    serves(shared, client, do("salt"), "old")
    shared.declare(new, 200.0)
    serves(shared, client, do("salt"), "new")
    shared.ask(Rollback(alias))
    serves(shared, client, do("salt"), "old")
    shared.ask(Unload(alias))
    newer = shared.client(new, declared_at=time.time() + 5)
    assert newer.one(do("salt")) == "old"


def test_an_unload_makes_an_old_declaration_no_newer(shared: Host, alias: str) -> None:
    old, new = shared.spec(alias, salt="old"), shared.spec(alias, salt="new")
    client = shared.client(old, declared_at=100.0)
    client.one(1)
    shared.declare(new, 200.0)
    serves(shared, client, do("salt"), "new")
    shared.ask(Unload(alias))
    # A web worker of yesterday is the first to call.
    assert client.one(do("salt")) == "new"


def test_there_may_be_nothing_to_roll_back_to(shared: Host, alias: str) -> None:
    said = f"{alias!r} has had no other version since the host started."
    assert refused(shared, Rollback(alias)) == said
    client = shared.client(shared.spec(alias, salt="only"))
    client.one(1)
    assert refused(shared, Rollback(alias)) == said
    # The same version again is no other one.
    shared.ask(Reload(alias))
    eventually(lambda: len(shared.notes("loaded")) == 2)
    shared.wait_status(lambda status: not status.next_version, alias)
    assert refused(shared, Rollback(alias)) == said
    assert client.one(do("salt")) == "only"


def test_files_that_were_replaced_cannot_be_rolled_back(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    artifact = write(tmp_path / "model", "one")
    facts = artifact.stat()
    client = shared.client(shared.spec(alias, artifact=artifact))
    client.one(1)
    version = shared.wait_status(lambda status: status.version, alias).version
    write(artifact, "two")
    shared.ask(Reload(alias))
    serves(shared, client, do("artifact"), "two")
    assert refused(shared, Rollback(alias)) == (
        f"the files of {alias!r} in version {version} have been replaced: restore them and reload."
    )
    assert client.one(do("artifact")) == "two"
    write(artifact, "one")
    os.utime(artifact, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    shared.ask(Reload(alias))
    serves(shared, client, do("artifact"), "one")


def test_a_version_that_is_still_being_loaded_can_be_withdrawn(shared: Host, alias: str) -> None:
    old = shared.spec(alias, salt="old")
    new = shared.spec(alias, salt="new", load_seconds=60.0)
    client = shared.client(old, declared_at=100.0)
    client.one(1)
    shared.declare(new, 200.0)
    shared.wait_status(lambda status: status.next_version, alias)
    shared.ask(Rollback(alias))
    status = shared.wait_status(lambda status: not status.next_version, alias)
    assert status.state is State.READY
    assert client.one(do("salt")) == "old"
    shared.declare(new, time.time() + 5)
    assert shared.wait_status(lambda status: status.version, alias).next_version == ""


def test_a_roll_back_goes_past_a_trial(shared: Host, alias: str) -> None:
    # The settings of both say that a new version is tried first.
    rules = Supervision(canary=0.01)
    old, new = (shared.spec(alias, supervision=rules, salt=salt) for salt in ("old", "new"))
    client = shared.client(old, declared_at=100.0)
    serves(shared, client, do("salt"), "old")
    shared.declare(new, 200.0)
    shared.wait_status(lambda status: status.trial is not None, alias)
    shared.ask(Promote(alias))
    serves(shared, client, do("salt"), "new")
    shared.ask(Rollback(alias))
    serves(shared, client, do("salt"), "old")
    assert shared.wait_status(lambda status: status.version, alias).trial is None


# Trials.


def on_trial(host: Host, alias: str, rules: Supervision, **new: Any) -> tuple[Client, ModelSpec]:
    """Have one version serve and another tried; return a client, and the new spec."""
    client = host.client(host.spec(alias, salt="old"), declared_at=100.0)
    serves(host, client, do("salt"), "old")
    spec = host.spec(alias, supervision=rules, **new)
    host.declare(spec, 200.0)
    host.wait_status(
        lambda status: status.trial and all(r.state is State.READY for r in status.trial.replicas),
        alias,
    )
    return client, spec


def test_a_canary_gets_its_share_until_it_is_promoted(shared: Host, alias: str) -> None:
    client, _ = on_trial(shared, alias, Supervision(canary=0.3), salt="new")
    answers = [client.one(do("salt")) for _ in range(400)]
    # Seven standard deviations to either side.
    assert 55 < answers.count("new") < 185
    status = shared.status(alias)
    assert status
    assert status.trial
    assert (status.trial.canary, status.trial.shadow) == (0.3, 0.0)
    counts = status.trial.replicas[0].statistics
    assert counts.requests == answers.count("new")
    serving = status.version
    shared.ask(Promote(alias))
    serves(shared, client, do("salt"), "new")
    status = shared.wait_status(lambda status: status.trial is None, alias)
    assert status.version not in ("", serving)
    assert [client.one(do("salt")) for _ in range(50)] == ["new"] * 50
    assert refused(shared, Promote(alias)) == f"{alias!r} has no version on trial."


def test_a_canary_that_is_rolled_back_does_not_come_again(shared: Host, alias: str) -> None:
    client, spec = on_trial(shared, alias, Supervision(canary=0.5), salt="new")
    with Crowd(client, do("salt"), threads=2) as crowd:
        eventually(lambda: "new" in crowd.answers)
        shared.ask(Rollback(alias))
        eventually(lambda: set(crowd.answers[-30:]) == {"old"})
    assert crowd.errors == []
    shared.declare(spec, time.time() + 5)
    time.sleep(0.3)
    status = shared.status(alias)
    assert status
    assert (status.trial, status.next_version) == (None, "")


def test_a_canary_that_dies_costs_no_call(shared: Host, alias: str) -> None:
    client, _ = on_trial(shared, alias, Supervision(canary=0.5), salt="new")
    with Crowd(client, do("salt"), threads=3) as crowd:
        killed = [0]
        for _ in range(3):
            eventually(lambda: "new" in crowd.answers[-50:])
            # The supervisor may not have seen yet that the last one is gone.
            trial = shared.wait_status(
                lambda s: s.trial and s.trial.replicas[0].pid not in killed, alias
            ).trial
            assert trial
            killed.append(trial.replicas[0].pid)
            psutil.Process(killed[-1]).kill()
    assert crowd.errors == []


def test_a_canary_that_hangs_is_replaced(shared: Host, alias: str, tmp_path: Path) -> None:
    rules = Supervision(canary=1.0, run_timeout=0.5)
    client, _ = on_trial(shared, alias, rules, salt="new")
    first = shared.wait_status(lambda status: status.trial, alias).trial
    assert first
    # Given up by the canary's worker, it is run by the one that serves, until it may end.
    eventually(lambda: client.one(do("salt")) == "new")
    gate = tmp_path / "gate"
    from tests.host.crowd import Later

    hung = Later(client, do("hang unless", str(gate)))
    eventually(lambda: "a run took longer than run_timeout=0.5 s" in shared.log())
    gate.touch()
    assert not isinstance(hung.result(), Exception)


def test_a_load_that_hangs_is_begun_again(shared: Host, alias: str, tmp_path: Path) -> None:
    gates = tmp_path / "gate"
    (tmp_path / "gate2").touch()
    rules = Supervision(load_timeout=3.0)
    spec = shared.spec(alias, supervision=rules, gates=str(gates))
    with pytest.raises(ModelLoadFailed, match="the load took longer than load_timeout=3 s"):
        shared.client(spec).one("hello")
    assert eventually(lambda: shared.declare(spec).sockets)
    assert shared.client(spec).one("hello") == "hello"


def test_replicas_are_loaded_one_by_one_beside_a_version_that_answers(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    spec = shared.spec(alias, replicas=2)
    client = shared.client(spec)
    eventually(lambda: len(shared.declare(spec).sockets) == 2)
    before = len(shared.notes("load"))
    gates = tmp_path / "gate"
    shared.declare(shared.spec(alias, replicas=2, salt="new", gates=str(gates)))
    eventually(lambda: len(shared.notes("load")) == before + 1)
    # Time enough for the second to begin, if it did not wait.
    time.sleep(1.0)
    assert len(shared.notes("load")) == before + 1
    for number in (1, 2):
        (tmp_path / f"gate{number}").touch()
    eventually(lambda: client.one(do("salt")) == "new")
    assert len(shared.notes("load")) == before + 2


def test_a_shadow_is_compared_and_never_answers(shared: Host, alias: str, tmp_path: Path) -> None:
    client, _ = on_trial(shared, alias, Supervision(shadow=1.0), salt="new")
    for index in range(12):
        assert client.one(index) == index
        time.sleep(0.02)
    assert [client.one(do("salt")) for _ in range(5)] == ["old"] * 5
    status = shared.wait_status(
        lambda s: s.trial and s.trial.equal >= 12 and s.trial.different >= 5, alias
    )
    assert status.trial
    # Nothing else was called: no copy is counted twice.
    time.sleep(1.2)
    status = shared.wait_status(lambda s: s.trial, alias)
    assert status.trial
    assert (status.trial.equal, status.trial.different) == (12, 5)
    assert status.trial.example == "['new'] instead of ['old']"


def test_numbers_of_a_shadow_may_differ_by_the_tolerance(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    one, other = write(tmp_path / "one", "0.5"), write(tmp_path / "other", "0.52")
    client = shared.client(shared.spec(alias, artifact=one), declared_at=100.0)
    assert client.one(do("score")) == 0.5
    for at, (tolerance, equal) in enumerate(((0.05, True), (0.01, False)), 2):
        rules = Supervision(shadow=1.0, tolerance=tolerance)
        # Another salt makes another version of it.
        spec = shared.spec(alias, artifact=other, supervision=rules, salt=str(at))
        shared.declare(spec, at * 100.0)
        version = shared.wait_status(lambda s: not s.next_version and s.trial, alias).trial
        assert version
        eventually(lambda: len(shared.notes("loaded")) == at)  # noqa: B023
        eventually(lambda: current_trial(shared, alias) == (0, 0))
        assert client.one(do("score")) == 0.5
        assert client.one({"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
        expected = (2, 0) if equal else (1, 1)
        eventually(lambda: current_trial(shared, alias) == expected)  # noqa: B023


def current_trial(host: Host, alias: str) -> tuple[int, int]:
    status = host.status(alias)
    assert status
    return (status.trial.equal, status.trial.different) if status.trial else (-1, -1)


def test_a_shadow_that_fails_or_dies_is_a_difference(shared: Host, alias: str) -> None:
    client, _ = on_trial(shared, alias, Supervision(shadow=1.0), load_seconds=0.0, salt="new")
    trial = shared.wait_status(lambda status: status.trial, alias).trial
    assert trial
    psutil.Process(trial.replicas[0].pid).kill()
    for index in range(20):
        assert client.one(index) == index
        time.sleep(0.02)
    eventually(lambda: sum(current_trial(shared, alias)) > 0)


def test_watched_files_are_tried_once(shared: Host, alias: str, tmp_path: Path) -> None:
    artifact = write(tmp_path / "model", "one")
    rules = Supervision(watch=True, canary=0.5)
    client = shared.client(shared.spec(alias, artifact=artifact, supervision=rules))
    client.one(1)
    write(artifact, "two")
    shared.wait_status(lambda status: status.trial is not None, alias)
    loads = len(shared.notes("load"))
    time.sleep(2.0)
    assert len(shared.notes("load")) == loads == 2
    # Rolled back, the same files are not tried again; others are.
    shared.ask(Rollback(alias))
    time.sleep(2.0)
    assert len(shared.notes("load")) == 2
    assert {client.one(do("artifact")) for _ in range(20)} == {"one"}
    write(artifact, "three")
    eventually(lambda: client.one(do("artifact")) == "three")
