"""Jobs in the queue of a real database, run by real workers."""

from __future__ import annotations

import signal

import pytest

from tests.hosts import eventually
from tests.tasks.conftest import OfficeIn

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


def test_a_queue_of_the_database(office_in: OfficeIn) -> None:
    # Longer than any machine stands still: nothing is run twice.
    office = office_in("sqlite", TASKS_LEASE="60")
    for value, priority in ((1, "low"), (2, "normal"), (3, "high"), (4, "normal")):
        office.ask("submit_one", value, priority)
    assert office.ask("jobs") == {"queued": 4}
    assert [task["priority"] for task in office.ask("tasks")] == [10, 0, 0, -10]
    # What is cancelled is taken back.
    assert office.ask("cancel", 4) is True
    assert sorted(task["status"] for task in office.ask("tasks")) == ["FAILED", *["READY"] * 3]
    worker = office.hire()
    office.wait_until("are_done", 4)
    assert office.ask("jobs") == {"cancelled": 1, "succeeded": 3}
    # Urgent ones first.
    assert office.ask("order") == [3, 2, 1]
    worker.send_signal(signal.SIGTERM)
    assert eventually(lambda: worker.poll() is not None, 60.0)
    assert worker.returncode == 0, office.log


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_workers_look_for_what_was_lost_while_nobody_asks(office_in: OfficeIn, name: str) -> None:
    office = office_in(name)
    # A worker dies between its two claims: of the task, and of the job.
    office.ask("submit", 1)
    assert office.ask("claim_tasks") == 1
    # A web process dies between its commit and the queue.
    with pytest.raises(EOFError, match=f"{-signal.SIGKILL}"):
        office.ask("submit_and_die")
    assert office.ask("jobs") == {"queued": 1, "waiting": 1}
    # And one dies amid a job, which would take ten minutes.
    office.ask("submit", 1, 600.0)
    worker = office.hire()
    office.wait_until("is_running", 600.0)
    office.ask("hurry")
    office.replace(worker)
    # Nothing is submitted, awaited or run meanwhile: the worker itself has to look for them.
    office.wait_until("are_done", 3)
    assert office.ask("report")["wrong"] == []
    # No task of a dead worker stays behind as one that runs: neither of those, nor one whose
    # worker died when the job was done.
    office.wait_until("is_queue_over")
    assert office.ask("claim_tasks", "SUCCESSFUL") >= 3
    office.wait_until("is_queue_over")
