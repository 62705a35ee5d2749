"""Whether a site does what its OpenAPI document says: schemathesis asks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings

#: What is held of each answer.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def statuses_of(
    document: Any, phase: str, *, examples: int, asks: Callable[[str], bool]
) -> set[int]:
    """Ask every operation of a document, and hold the answers to it.

    Args:
        document: as OpenAPI has it.
        phase: `positive` asks what it allows, `negative` what it does not.
        examples: requests for each operation.
        asks: whether operations of a method are asked.

    Returns:
        The statuses of the answers.
    """
    schema: Any = schemathesis.openapi.from_dict(document)
    schema.app = get_wsgi_application()
    mode = schemathesis.GenerationMode(phase)
    schemathesis.checks.load_all_checks()
    checks = [schemathesis.checks.CHECKS.get_one(name) for name in CHECKS]
    statuses: set[int] = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if not asks(operation.method):
            continue

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case: Any) -> None:
            response = case.call()
            statuses.add(response.status_code)
            assert response.status_code < 500
            case.validate_response(response, checks=checks)

        holds()
    return statuses
