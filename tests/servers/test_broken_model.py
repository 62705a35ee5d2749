"""A model that cannot be loaded costs a site its predictions, and nothing else."""

from __future__ import annotations

import pytest

from django_inference.specs import State
from tests.servers.conftest import SiteOf
from tests.servers.model import answer, inputs, write_mlp
from tests.servers.web import eventually


@pytest.mark.parametrize(
    ("name", "view", "content"),
    [
        ("gunicorn gthread", "predict", b"not a model"),
        ("uvicorn", "apredict", b"not a model"),
        ("gunicorn sync", "predict", None),
    ],
    ids=["corrupt under WSGI", "corrupt under ASGI", "missing"],
)
def test_a_site_with_a_broken_model_serves_the_rest_and_recovers(
    site_of: SiteOf, name: str, view: str, content: bytes | None
) -> None:
    site = site_of("mlp", "slow")
    site.expects_errors = True
    site.model.unlink()
    if content is not None:
        site.model.write_bytes(content)
    server = site.serve(name).wait_listening()
    given = inputs(5)

    for _ in range(5):
        response = server.predict(given, view=view)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) >= 1
        error = response.json()["error"]
        assert error["type"] == "ModelLoadFailed"
        assert "could not be loaded" in error["detail"]
    status = site.status()
    assert status is not None
    assert status.state in (State.FAILED, State.LOADING)
    assert status.error is not None
    assert status.error.traceback

    # Everything else works meanwhile.
    assert server.client.get("/plain/").status_code == 200
    assert server.predict([{"value": 4}], "slow", view=view).json()["result"] == [8]
    before = server.pids()
    host = site.supervisors()[0].pid

    # The file is mended, and nobody has to restart anything.
    mended = site.folder / "mended.onnx"
    write_mlp(mended)
    mended.rename(site.model)

    def look() -> bool:
        response = server.predict(given, view=view)
        assert response.status_code in (200, 503), response.text
        return response.status_code == 200 and response.json()["result"] == answer(given)

    eventually(look, lambda: f"the mended model answers; log: {site.log}", timeout=15.0)
    assert server.pids() == before
    assert [process.pid for process in site.supervisors()] == [host]
    assert site.loads()[-1] == site.wait_ready().pid
