"""Tokens of Django REST framework, in a database of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio
from django.conf import settings

settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "rest_framework.authtoken",
        "django_inference",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    INFERENCE_SERVE={"AUTHENTICATION": "django_inference.serving.tokens.DatabaseTokens"},
)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token
from django_inference.serving.access import Caller, NotAuthenticated, gate

for name in ("anna", "gone"):
    user = User.objects.create(username=name, is_active=name == "anna")
    Token.objects.create(user=user, key=f"token-of-{name}")


async def admitted(said):
    try:
        return str(await gate().admit(Caller(metadata={"authorization": said} if said else {})))
    except NotAuthenticated:
        return None


async def main():
    for said in (
        "Token token-of-anna", "bearer token-of-anna", "Token token-of-gone", "Token x",
        "Basic token-of-anna", "Token a\\0b", "",
    ):
        print(await admitted(said))

asyncio.run(main())
"""


def test_tokens_of_the_database(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["anna", "anna", "None", "None", "None", "None", "None"]
