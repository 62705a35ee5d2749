from __future__ import annotations

import os
import subprocess
import sys


def test_the_view_is_imported_without_numpy_and_the_app_without_the_rest_framework() -> None:
    # A web worker that has not predicted yet has no use for numpy, and a project without
    # an API none for Django REST framework.
    code = (
        "import sys, django; django.setup()\n"
        "import django_inference.checks, django_inference.middleware\n"
        "from django_inference import predictors\n"
        "print('rest_framework.views' in sys.modules)\n"
        "import django_inference.rest.urls\n"
        "import django_inference.rest.async_urls\n"
        "import django_inference.rest.jobs.async_urls\n"
        "import django_inference.rest.jobs.pages.urls\n"
        "print('rest_framework.views' in sys.modules)\n"
        "print([name for name in ('numpy', 'PIL', 'drf_spectacular') if name in sys.modules])\n"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False", "True", "[]"], done.stderr
