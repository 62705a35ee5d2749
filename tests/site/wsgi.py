"""The WSGI application; with `SITE_PREDICT=1` it predicts while it is being imported."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if os.environ.get("SITE_PREDICT") == "1":
    from django_inference import predictors
    from tests.site.views import from_json

    predictors["mlp"].predict(from_json({"x": [[1.0] * 8]}), timeout=30.0)
