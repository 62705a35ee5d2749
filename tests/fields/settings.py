"""The settings of the tests of jobs on each database, with models that have predicted fields."""

from __future__ import annotations

from tests.jobs.settings import *  # noqa: F403
from tests.jobs.settings import INSTALLED_APPS as JOBS_APPS

INSTALLED_APPS = [*JOBS_APPS, "tests.fields.pictures"]
