"""The page that describes the API, under the demo's own settings: they are read at imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SITE = Path(__file__).parents[2] / "examples" / "site"

PROGRAM = """
import re, django
django.setup()
from django.conf import settings
# Nothing shall be loaded.
settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "InferenceMiddleware" not in each]
settings.ALLOWED_HOSTS = ["testserver"]
from django.test import Client
client = Client()
response = client.get("/docs/")
page = response.content.decode()
assert "script-src 'self';" in response["Content-Security-Policy"]
assert not re.search(r"<script[^>]*>[^<]*[^<\\s]", page), page
sources = re.findall(r'(?:src|href)="([^"]+)"', page)
assert len(sources) >= 4, page
for source in sources:
    assert source.startswith("/"), source
    found = client.get(source)
    assert found.status_code == 200, source
    print(source, len(b"".join(found.streaming_content) if found.streaming else found.content))
document = client.get("/openapi/").json()
assert "/api/faces/" in document["paths"] and "/api/types/stream/" in document["paths"]
listed = client.get("/api/").json()["predictors"]
assert [predictor["alias"] for predictor in listed] == ["faces", "notes", "types"]
assert "File" in client.get("/api/types/", headers={"Accept": "text/html"}).content.decode()
index = client.post("/v2/repository/index", {}, "application/json").json()
assert [model["name"] for model in index] == ["faces", "notes", "types"]
assert client.get("/v2").json()["name"] == "django-inference"
assert client.get("/v1/models/types").json()["model_version_status"]
print("well")
"""


def test_the_api_is_described_by_a_page_with_scripts_of_its_own_site(tmp_path: Path) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "demo_site.settings",
        "DEMO_RUNTIME_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=SITE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout.endswith("well\n"), done.stdout + done.stderr
    assert "swagger-ui-bundle" in done.stdout
