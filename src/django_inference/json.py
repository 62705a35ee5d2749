"""Answers of models as JSON, in views of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from django_inference.plain import to_plain


class InferenceJSONEncoder(DjangoJSONEncoder):
    """Writes what a model answers, as the endpoints do: `JsonResponse(answer, encoder=…)`.

    Arrays and numbers of numpy become lists and numbers, NaN and the infinities null, bytes
    `{"b64": "…"}`, dates and times ISO 8601. What is unknown goes to `DjangoJSONEncoder`.
    """

    def iterencode(self, o: Any, _one_shot: bool = False) -> Iterator[str]:
        """Make plain values of an object, and then text."""
        # As a whole: json does not ask about the floats of Python, and writes NaN. Where there
        # is something of the project's own in it, default() is asked.
        with suppress(TypeError):
            o = to_plain(o)
        return super().iterencode(o, _one_shot)

    def default(self, o: Any) -> Any:
        """Make plain values of an object of which json knows nothing."""
        try:
            return to_plain(o)
        except TypeError:
            return super().default(o)
