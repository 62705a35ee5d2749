"""Answers of models as JSON: in a view, in a template, in Django REST framework."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any

import numpy as np
import pytest
from django.http import JsonResponse
from django.template import engines
from django.utils.translation import gettext_lazy
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from django_inference.json import InferenceJSONEncoder
from django_inference.rest import InferenceJSONRenderer

ANSWER = {
    "scores": np.array([[0.5, np.nan], [np.inf, 1.0]], dtype="float32"),
    "label": np.str_("cat"),
    "count": np.int64(3),
    "is_cat": np.bool_(True),
    "mean": float("nan"),
    "raw": b"\x00\xff",
    "boxes": [{"box": (np.float32(1.5), 2)}],
    7: None,
}
PLAIN = {
    "scores": [[0.5, None], [None, 1.0]],
    "label": "cat",
    "count": 3,
    "is_cat": True,
    "mean": None,
    "raw": {"b64": "AP8="},
    "boxes": [{"box": [1.5, 2]}],
    "7": None,
}


def test_a_view_answers_with_json_response() -> None:
    assert json.loads(JsonResponse(ANSWER, encoder=InferenceJSONEncoder).content) == PLAIN
    one = JsonResponse(np.array([1, 2]), encoder=InferenceJSONEncoder, safe=False)
    assert json.loads(one.content) == [1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32("nan"), "null"),
        (np.datetime64("2026-12-01"), '"2026-12-01"'),
        (datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC), '"2026-12-01T00:00:00Z"'),
        (decimal.Decimal("1.5"), "1.5"),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (gettext_lazy("cat"), '"cat"'),
        ({1, 2}, "[1, 2]"),
        ("text", '"text"'),
    ],
)
def test_what_json_dumps_makes_of_it(value: Any, text: str) -> None:
    assert json.dumps(value, cls=InferenceJSONEncoder) == text


class Own:
    """Something of a project's own."""


class OwnEncoder(InferenceJSONEncoder):
    def default(self, o: Any) -> Any:
        return "own" if isinstance(o, Own) else super().default(o)


def test_a_subclass_may_know_more() -> None:
    value = {"own": Own(), "scores": np.array([1, 2])}
    assert json.loads(json.dumps(value, cls=OwnEncoder)) == {"own": "own", "scores": [1, 2]}
    with pytest.raises(TypeError, match="Own is not JSON serializable"):
        json.dumps(value, cls=InferenceJSONEncoder)


def rendered(source: str, **context: Any) -> str:
    return engines.all()[0].from_string("{% load inference %}" + source).render(context)


def test_the_filters_of_templates_let_no_markup_through() -> None:
    answer = {"text": "</script><b a='1' c=\"2\">&", "scores": np.array([1.5, np.nan])}
    script = rendered('{{ answer|inference_json_script:"answer" }}', answer=answer)
    opened, closed = '<script id="answer" type="application/json">', "</script>"
    assert script.startswith(opened) and script.endswith(closed)
    held = script.removeprefix(opened).removesuffix(closed)
    assert "<" not in held and ">" not in held
    assert json.loads(held) == {"text": answer["text"], "scores": [1.5, None]}
    text = rendered('<p data-answer="{{ answer|inference_json }}">', answer=answer)
    assert text.count("<") == text.count(">") == 1
    assert text.count('"') == 2


def test_a_view_of_rest_framework() -> None:
    class View(APIView):
        renderer_classes = [InferenceJSONRenderer]
        authentication_classes: list[Any] = []
        permission_classes: list[Any] = []

        def get(self, request: Any) -> Response:
            return Response(ANSWER)

    response = View.as_view()(APIRequestFactory().get("/"))
    assert json.loads(response.render().content) == PLAIN
