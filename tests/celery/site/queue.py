"""The Celery app; it reads what begins with `CELERY_` in the site's settings."""

from __future__ import annotations

import celery

app = celery.Celery("site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
