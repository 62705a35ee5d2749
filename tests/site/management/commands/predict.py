"""`manage.py predict`: the same prediction as the views, from a command."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_inference import predictors
from tests.site.views import from_json, to_json


class Command(BaseCommand):
    """Predict what is given as JSON, and print the result as JSON."""

    def add_arguments(self, parser: CommandParser) -> None:
        """The predictor, and its inputs."""
        parser.add_argument("alias")
        parser.add_argument("body", type=json.loads)

    def handle(self, *args: Any, alias: str, body: Any, **options: Any) -> None:
        """Predict once."""
        result = predictors[alias].predict(from_json(body))
        self.stdout.write(json.dumps(to_json(result)))
