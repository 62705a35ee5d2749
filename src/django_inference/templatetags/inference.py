"""Answers of models in templates."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.utils.html import json_script
from django.utils.safestring import SafeString

from django_inference.json import InferenceJSONEncoder

register = template.Library()


@register.filter
def inference_json(value: Any) -> str:
    """Write an answer as JSON; the template escapes it as it does any text.

    It can stand in an element and in an attribute, such as `data-answer`.
    """
    return json.dumps(value, cls=InferenceJSONEncoder, ensure_ascii=False)


@register.filter
def inference_json_script(value: Any, element_id: str | None = None) -> SafeString:
    """Write an answer into a `<script type="application/json">`, as `json_script` does.

    Args:
        value: the answer.
        element_id: of the element.
    """
    return json_script(value, element_id, encoder=InferenceJSONEncoder)
