"""Fresh projects with the settings of pages: `python fresh_projects.py FOLDER…`.

Each folder holds a project called mysite. What is printed is a line of JSON for each: its
name, and what went wrong or null. The imports are made once; the projects run in forks.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path

import django.contrib.admin
import django.core.management
import django.test
import rest_framework  # noqa: F401
from django.conf import settings

#: Of a model that a page takes for given.
CONTENTS = b"the model of the page"


def try_project(folder: Path) -> str | None:
    """Check a project, and ask it for a page; return what went wrong."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            django.setup()
            provide_models()
            # The middleware would start a model host.
            settings.INFERENCE_HOST = {
                **getattr(settings, "INFERENCE_HOST", {}),
                "AUTOSTART": False,
            }
            django.core.management.call_command("check", fail_level="WARNING")
            response = django.test.Client(SERVER_NAME="localhost").get("/admin/login/")
            assert response.status_code == 200, response
    except BaseException:
        return f"{said.getvalue()}\n{traceback.format_exc()}"
    return None


def provide_models() -> None:
    """Put something where the settings say that models are, and nothing is."""
    for declared in getattr(settings, "INFERENCE", {}).values():
        model = declared.get("MODEL")
        path = Path(settings.BASE_DIR, model or "")
        if model and ":" not in str(model) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CONTENTS)


def main() -> None:
    """Try every project in a process of its own."""
    for name in sys.argv[1:]:
        pid = os.fork()
        if not pid:
            print(json.dumps([name, try_project(Path(name))]), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
