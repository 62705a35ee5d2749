"""Databases of a test's own, in the servers of this machine."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("sqlite", "postgresql", "mariadb")


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    """What `TASKS_DATABASE` says for a new, empty database, which is removed afterwards."""
    if name == "sqlite":
        yield ""
        return
    new = f"inference_{uuid.uuid4().hex[:12]}"
    with _server(name) as run:
        run(f"CREATE DATABASE {new}")
        try:
            yield json.dumps(_settings(name) | {"NAME": new})
        finally:
            forced = " WITH (FORCE)" if name == "postgresql" else ""
            run(f"DROP DATABASE {new}{forced}")


def _settings(name: str) -> dict[str, Any]:
    if name == "postgresql":
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": 5432,
            "USER": "postgres",
        }
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": "127.0.0.1",
        "PORT": 3306,
        "USER": "root",
        "OPTIONS": {"charset": "utf8mb4"},
    }


@contextlib.contextmanager
def _server(name: str) -> Iterator[Any]:
    """Runs statements in the server, or skips the test where there is none."""
    if name == "postgresql":
        psycopg = pytest.importorskip("psycopg")
        try:
            connection = psycopg.connect(
                host="127.0.0.1", user="postgres", dbname="postgres", autocommit=True
            )
        except psycopg.OperationalError as error:
            pytest.skip(f"no PostgreSQL here: {error}")
    else:
        pymysql = pytest.importorskip("pymysql")
        try:
            connection = pymysql.connect(host="127.0.0.1", user="root", autocommit=True)
        except pymysql.OperationalError as error:
            pytest.skip(f"no MariaDB here: {error}")
    with contextlib.closing(connection):
        yield connection.cursor().execute
