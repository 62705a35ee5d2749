"""How the endpoints of jobs are described; imported by `django_inference.rest.openapi`."""

from __future__ import annotations

from typing import Any, Literal

from drf_spectacular.utils import OpenApiParameter

from django_inference.jobs.states import JobState
from django_inference.rest import openapi_schemas as schemas
from django_inference.rest.openapi_operations import PredictorSchema, described

_TIME = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}
_ADDRESS = {"type": "string", "format": "uri"}
_ERROR = {
    "type": "object",
    "properties": {"detail": {"type": "string"}, "code": {"type": "string"}},
    "required": ["detail", "code"],
    "nullable": True,
}
_PROPERTIES: dict[str, Any] = {
    "id": {"type": "string", "format": "uuid"},
    "url": _ADDRESS,
    "predictor": {"type": "string"},
    "version": {"type": "string", "description": "Of the model that answered."},
    "state": {"type": "string", "enum": list(JobState.values)},
    "progress": {
        "type": "object",
        "properties": {"done": _COUNT, "total": _COUNT},
        "required": ["done", "total"],
    },
    "attempts": _COUNT,
    "created_at": _TIME,
    "started_at": {**_TIME, "nullable": True},
    "finished_at": {**_TIME, "nullable": True},
    "error": _ERROR,
    "result": {**_ADDRESS, "nullable": True, "description": "Null until there is one."},
    "events": _ADDRESS,
}
JOB = {"type": "object", "properties": _PROPERTIES, "required": list(_PROPERTIES)}
_NEXT = {**_ADDRESS, "nullable": True}
EVENTS = "event: state\ndata: {a job}\n\nevent: end\ndata: {a job}\n\n"

_CONFLICT = {409: "The job is in a state in which this cannot be done."}
#: By what is asked: the refusals like which, and those beside them.
_REFUSED: dict[str, tuple[str, dict[int, str]]] = {
    "submit": ("predict", {}),
    "list": ("describe", {400: "There is no such state."}),
    "job": ("describe", {}),
    "cancel": ("describe", _CONFLICT),
    "result": ("predict", {404: "There is no such job, or no result yet.", **_CONFLICT}),
    "events": ("describe", {}),
}
_SUMMARIES = {
    "submit": "Submit a job",
    "list": "One's own jobs",
    "job": "State of a job",
    "cancel": "Cancel a job",
    "result": "Result of a job",
    "events": "Events of a job",
}
_PARAMETERS: dict[str, list[tuple[str, Literal["header", "query"], str]]] = {
    "submit": [("Idempotency-Key", "header", "Of two equal ones, the second makes no job.")],
    "list": [
        ("state", "query", "Only jobs in this state."),
        ("cursor", "query", "Of a page; `next` has it."),
    ],
    "job": [
        ("Prefer", "header", "`wait=10` waits so many seconds for the end, or for a change."),
        ("If-None-Match", "header", "The ETag of what is known: 304 where nothing is new."),
    ],
    "result": [("If-None-Match", "header", "The ETag of what is known.")],
    "events": [("Last-Event-ID", "header", "204 where that was the end.")],
}


class JobSchema(PredictorSchema):
    """Describes one endpoint of the jobs of one predictor."""

    def get_operation_id(self) -> str:
        """As in `detector_jobs_submit`."""
        found = super().get_operation_id()
        return (
            found
            if self._predictor() is None
            else found.replace("_predict", "_jobs") + (f"_{self.asked()}")
        )

    def get_summary(self) -> str:
        """What it is for."""
        return _SUMMARIES[self.asked()]

    def get_description(self) -> str:  # type: ignore[override]  # as PredictorSchema
        """The view's own text."""
        return str(self.view.get_description() or "")

    def get_override_parameters(self) -> list[Any]:
        """Headers, and what narrows a list."""
        return [
            OpenApiParameter(name, str, place, description=text)
            for name, place, text in _PARAMETERS.get(self.asked(), ())
        ]

    def asked(self) -> str:
        """What is asked of which view: a key of the tables above."""
        kind: str = self.view.asks
        if kind == "jobs":
            return "submit" if self.method == "POST" else "list"
        return "cancel" if self.method == "DELETE" else kind

    def _what(self) -> str:
        return "predict"

    def _get_request_body(self, direction: Any = "request") -> Any:
        return super()._get_request_body(direction) if self.asked() == "submit" else None

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        asked = self.asked()
        found = {**self._successes(asked), **self._refusals()}
        like, beside = _REFUSED[asked]
        wanted = {str(status) for status in (*schemas.refusals(like), *beside)}
        error = found["503"]["content"]
        for status, why in beside.items():
            content = found.get(str(status), {}).get("content", error)
            found[str(status)] = described(why, content)
        return {k: v for k, v in sorted(found.items()) if k[0] in "23" or k in wanted}

    def _successes(self, asked: str) -> dict[str, Any]:
        job = self._component("InferenceJob", JOB)
        answer = {"application/json": {"schema": job}}
        if asked == "submit":
            location = {"description": "Where the job is.", "schema": _ADDRESS}
            return {"202": {**described("Submitted.", answer), "headers": {"Location": location}}}
        if asked == "list":
            page = {
                "type": "object",
                "properties": {
                    "next": _NEXT,
                    "previous": _NEXT,
                    "results": {"type": "array", "items": job},
                },
                "required": ["next", "previous", "results"],
            }
            return {"200": described("A page.", {"application/json": {"schema": page}})}
        nothing_new = {"304": {"description": "There is nothing new."}}
        if asked == "events":
            stream = {"schema": schemas.EVENT, "example": EVENTS}
            content = {"text/event-stream": stream}
            heard = {"204": {"description": "The client has heard the end."}}
            return {"200": described("Server-sent events.", content), **heard}
        if asked == "result":
            return {"200": self._success(self._predictor()), **nothing_new}
        return {"200": described("The job.", answer), **(nothing_new if asked == "job" else {})}
