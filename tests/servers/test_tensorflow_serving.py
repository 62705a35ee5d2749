"""TensorFlow Serving's REST interface from real servers: with Django, and without."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.servers.model import answer
from tests.servers.running import Site

X = [[float(8 * row + column) for column in range(8)] for row in range(2)]
Y = answer({"x": X})["y"]
#: With a site around it at the root and at a prefix, and alone.
SERVED = (
    ("gunicorn gthread", ""),
    ("gunicorn gthread", "/some/prefix"),
    ("granian alone", ""),
)


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, httpx.Client]]:
    """By the name of the server."""
    site = Site("mlp", SITE_TENSORFLOW_SERVING="1")
    try:
        servers = {name: site.serve(name) for name in dict.fromkeys(name for name, _ in SERVED)}
        for server in servers.values():
            server.wait_listening("/v1/models/mlp")
        yield {name: server.client for name, server in servers.items()}
    finally:
        wrong = site.end()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("name", "prefix"), SERVED)
def test_it_answers_as_tensorflow_serving_does(
    clients: dict[str, httpx.Client], name: str, prefix: str
) -> None:
    client, model = clients[name], f"{prefix}/v1/models/mlp"

    def post(path: str, body: bytes | None = None, **said: Any) -> httpx.Response:
        # Neither a Content-Type nor a slash at the end.
        return client.post(path, content=body) if body is not None else client.post(path, json=said)

    y = [pytest.approx(row) for row in Y]
    assert post(f"{model}:predict", instances=X).json()["predictions"] == y
    assert post(f"{model}:predict", inputs={"x": X}).json()["outputs"] == y
    assert post(f"{model}:predict", b'{"instances": %a}' % X).json()["predictions"] == y
    examples = [{"x": row} for row in X]
    found = post(f"{model}:classify", examples=examples).json()["results"]
    assert [[score for _, score in classes] for classes in found] == y
    (version,) = client.get(model).json()["model_version_status"]
    assert version["state"] == "AVAILABLE"
    pinned = f"{model}/versions/{version['version']}"
    assert post(f"{pinned}:predict", instances=X).json()["predictions"] == y
    metadata = client.get(f"{pinned}/metadata").json()
    assert metadata["model_spec"]["version"] == version["version"]

    refused = {
        400: post(f"{model}:predict", b"{"),
        404: post(f"{prefix}/v1/models/none:predict", instances=X),
        405: client.get(f"{model}:predict"),
    }
    assert {status: each.status_code for status, each in refused.items()} == {
        status: status for status in refused
    }
    assert all(list(each.json()) == ["error"] for each in refused.values())
    malformed = client.get(f"{prefix}/v1/guess")
    assert malformed.status_code == 400
    assert malformed.json() == {"error": "Malformed request: GET /v1/guess"}


def test_a_crowd(clients: dict[str, httpx.Client]) -> None:
    def ask(name: str) -> Any:
        client = clients[name]
        return client.post("/v1/models/mlp:predict", json={"instances": X}).json()["predictions"]

    names = [name for name, _ in SERVED] * 20
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(ask, names):
            assert found == [pytest.approx(row) for row in Y]
