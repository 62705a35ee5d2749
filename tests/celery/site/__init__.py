"""The test site with a Celery app, made as Celery's guide for Django says."""

from __future__ import annotations

from tests.celery.site.queue import app

__all__ = ["app"]
