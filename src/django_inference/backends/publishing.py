"""Tasks on their way to Celery's broker, without a long wait for one that is away.

Celery is handed in, never imported: see `backends.celery`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

from django_inference.specs import NORMAL

#: Seconds that a broker has to take a connection, and then a task.
PATIENCE = 2.0
#: Seconds without heartbeats are no matter: a connection that broke is found out by its use.
_OPTIONS: dict[str, dict[str, Any]] = {
    # RabbitMQ says that it has the task; else one that is lost with its connection was never
    # missed.
    "amqp": {"confirm_publish": True, "read_timeout": PATIENCE, "write_timeout": PATIENCE},
    "redis": {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE},
}
#: By `specs.PRIORITIES`. With RabbitMQ more is more urgent, with Redis less is.
_PRIORITIES = {"amqp": (9, 5, 1), "redis": (0, 3, 6)}
#: Once more at once: the connection may have been broken since its last use.
_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class Publisher:
    """Puts tasks into queues. Threads share it, and forks are survived.

    Connections of its own, since those of the site's other tasks wait as the site likes.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._pid = 0
        self._lock = threading.Lock()
        self._pool: Any = None
        self._driver = ""

    def publish(
        self,
        task: str,
        arguments: tuple[Any, ...],
        *,
        queue: str | None,
        priority: int = NORMAL,
        **options: Any,
    ) -> str:
        """Put a task into a queue; return its id.

        Args:
            task: its name.
            arguments: plain values.
            queue: None leaves it to the app's routes.
            priority: index of `specs.PRIORITIES`.
            options: further ones of `apply_async`.

        Raises:
            Exception: of Celery, kombu or the client of the broker: the task is in no queue.
        """
        with self._connection() as connection:
            sent = self._app.send_task(
                task,
                arguments,
                producer=self._app.amqp.Producer(connection, auto_declare=False),
                serializer="json",
                retry=True,
                retry_policy=_RETRY,
                priority=_PRIORITIES.get(self._driver, (None,) * 3)[priority],
                # Nobody listens to Celery's own way of telling results.
                ignore_result=True,
                **({"queue": queue} if queue is not None else {}),
                **options,
            )
        return str(sent.id)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of kombu's that the broker has taken, for `app.control`.

        Raises:
            Exception: of kombu or the client of the broker: it has not.
        """
        with self._connection() as connection:
            connection.ensure_connection(**_RETRY)
            yield connection

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        """One that is opened by its first use."""
        connection = self._connections().acquire(block=True, timeout=PATIENCE)
        try:
            yield connection
        except BaseException:
            # Whatever state it is in, whoever has it next begins with another.
            connection.collect()
            raise
        finally:
            connection.release()

    def close(self) -> None:
        """Hang up."""
        pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.force_close_all()

    def _connections(self) -> Any:
        if self._pid != os.getpid():
            # The parent's connections are the parent's, and its lock may be held for ever.
            self._lock = threading.Lock()
            self._pool, self._pid = None, os.getpid()
        with self._lock:
            if self._pool is None:
                app = self._app
                self._driver = app.connection_for_write().transport.driver_type
                self._pool = app.connection_for_write(
                    connect_timeout=PATIENCE, transport_options=_OPTIONS.get(self._driver)
                ).Pool(app.conf.broker_pool_limit or 1)
            return self._pool
