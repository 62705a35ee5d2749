"""The browsable API's page, with a form that can be sent as it is."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.template import engines
from django.utils.safestring import SafeString
from rest_framework import parsers
from rest_framework.exceptions import APIException
from rest_framework.renderers import BrowsableAPIRenderer

from django_inference.plain import to_plain
from django_inference.rest.examples import example_of, takes_files

#: Of a body that is shown again.
_MOST_CHARACTERS = 20_000
_UPLOAD = """
<div class="form-group">
  <label class="col-sm-2 control-label" for="inference-file">{{ label }}</label>
  <div class="col-sm-10">
    <input id="inference-file" name="file" type="file" multiple{% if accept %}
           accept="{{ accept }}"{% endif %}>
    <span class="help-block">{{ help }}</span>
  </div>
</div>
"""


class PredictorRenderer(BrowsableAPIRenderer):
    """Fills the form in with an example of the model's inputs, or offers to upload files."""

    def show_form_for_method(self, view: Any, method: str, request: Any, obj: Any) -> Any:
        """Whether there is something to send: not where there is no predictor for it."""
        shown = super().show_form_for_method(view, method, request, obj)
        if shown and hasattr(view, "get_predictor"):
            try:
                view.get_predictor()
            except (APIException, Http404, PermissionDenied):
                # It is the page of this very error that is being rendered.
                return False
        return shown

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """The form for a body of any type, with an example in it."""
        form: Any = super().get_raw_data_form(data, view, method, request)
        if form and method == "POST" and hasattr(view, "get_predictor"):
            content = form.fields["_content"]
            if view.get_serializer_class() is None:
                example = example_of(view.get_predictor(), view.get_mode())
                content.initial = _sent(request) or _readable(example)
            # A text cannot hold what the others are for.
            texts = [kind for kind in form.fields["_content_type"].choices if "json" in kind[0]]
            if texts:
                form.fields["_content_type"].choices = texts
        return form

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """The fields of the serializer, or one for files where the model takes some."""
        if not hasattr(view, "get_predictor") or view.get_serializer_class() is not None:
            return super().get_rendered_html_form(data, view, method, request)
        if method != "POST" or not any(
            isinstance(parser, parsers.MultiPartParser) for parser in view.get_parsers()
        ):
            return None
        if not self.show_form_for_method(view, method, request, None):
            return None
        files = takes_files(view.get_predictor())
        if files is None:
            return None
        several = "Each file is one item" if view.get_mode() != "stream" else "One file"
        template = engines.all()[0].from_string(_UPLOAD)
        context = {"label": files.label, "accept": files.accept, "help": f"{several}: its bytes."}
        return SafeString(template.render(context))


def _sent(request: Any) -> str:
    """The JSON that this page answers, to be changed and sent again; nothing where it is long."""
    if request.method != "POST":
        return ""
    try:
        data = request.data
    except (APIException, SuspiciousOperation, OSError):
        return ""
    if not data or type(data) is not dict:
        return ""
    text = _readable(to_plain(data))
    return text if len(text) <= _MOST_CHARACTERS else ""


def _readable(example: dict[str, Any]) -> str:
    """JSON with a line for each tensor, not for each number."""
    lines = []
    for key, value in example.items():
        if isinstance(value, dict) and key == "inputs":
            rows = ",\n".join(f"    {_json(name)}: {_json(value[name])}" for name in value)
            lines.append(f"  {_json(key)}: {{\n{rows}\n  }}")
        else:
            lines.append(f"  {_json(key)}: {_json(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
