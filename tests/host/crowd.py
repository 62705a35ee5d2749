"""Callers that never pause, and what they were told."""

from __future__ import annotations

import threading
from typing import Any

from tests.hosts import Client, eventually


class Crowd:
    """Threads that call all the time. A context manager."""

    def __init__(self, client: Client, item: Any, threads: int = 4) -> None:
        self.answers: list[Any] = []
        self.errors: list[Exception] = []
        self._is_over = threading.Event()
        self._client, self._item = client, item
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        eventually(lambda: len(self.answers) > 4)
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        # A little pause: on a small machine the model needs some of the time too.
        while not self._is_over.wait(0.002):
            try:
                self.answers.append(self._client.one(self._item))
            except Exception as error:
                self.errors.append(error)


class Later(threading.Thread):
    """One call, started now; what became of it is asked later."""

    def __init__(self, client: Client, item: Any, timeout: float = 30.0, **how: Any) -> None:
        super().__init__()
        self._what = (client, item, timeout, how)
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        client, item, timeout, how = self._what
        try:
            self.outcome = client.one(item, timeout, **how)
        except Exception as error:
            self.outcome = error

    def result(self) -> Any:
        """Wait for the outcome: an answer, or an error."""
        self.join()
        return self.outcome
