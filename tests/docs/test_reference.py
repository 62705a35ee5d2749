"""The reference lists what there is: every key, option, default, error and command."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec
import pytest

from django_inference import exceptions, runtimes
from django_inference.backends.base import BackendOptions
from django_inference.backends.celery import CeleryOptions
from django_inference.backends.dummy import DummyOptions
from django_inference.backends.host import HostOptions
from django_inference.backends.local import LocalBackend
from django_inference.backends.open_inference import OpenInferenceOptions
from django_inference.backends.tensorflow_serving import TensorFlowServingOptions
from django_inference.conf import (
    JobsSettings,
    PredictorJobs,
    PredictorSettings,
    RestSettings,
    ServeSettings,
)
from django_inference.grpc.services import SERVICERS
from django_inference.handle import Predictor
from django_inference.jobs.engines.base import BaseEngine
from django_inference.jobs.management.commands.inference_jobs import Command as JobsCommand
from django_inference.jobs.models import Job
from django_inference.jobs.querysets import JobQuerySet
from django_inference.jobs.states import JobState
from django_inference.management.commands.inference import Command
from django_inference.management.commands.inference_fill import Command as FillCommand
from django_inference.management.commands.inference_host import Command as HostCommand
from django_inference.management.commands.inference_serve import Command as ServeCommand
from django_inference.registry import Predictors
from django_inference.runtimes.base import BaseRuntime, Runtime, TensorRuntime
from django_inference.runtimes.loading import import_object
from django_inference.specs import HostSettings, ReplicaStatus, Statistics, Status
from django_inference.wire.protos.pool import methods
from tests.docs.blocks import ROOT

NO_DEFAULT = "required"


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / f"{name}.md").read_text()


def part(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level."""
    level = heading.split()[0]
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"there is no heading {heading!r}"
    return re.split(rf"^{level} ", rest, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The rows of every table in a text, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [number for number, row in enumerate(cells) if set(row[0]) <= {"-"}]
    headings = {number for rule in rules for number in (rule, rule - 1)}
    return [row for number, row in enumerate(cells) if number not in headings]


def documented(text: str) -> dict[str, str]:
    """The keys of the tables in a text, each with the default that is given for it."""
    return {row[0].strip("`"): row[1].strip("`") for row in rows(text)}


def fields(struct: type[msgspec.Struct]) -> dict[str, str]:
    return {
        field.encode_name: repr(
            field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        )
        for field in msgspec.structs.fields(struct)
        if not field.required
    }


def as_written(defaults: dict[str, str]) -> dict[str, str]:
    return {key.upper(): value.replace("'", '"') for key, value in defaults.items()}


def test_every_key_of_a_predictor() -> None:
    said = documented(part(page("settings"), "## `INFERENCE`"))
    # What is written in settings is a dict; what it becomes is compared below.
    assert said == as_written(fields(PredictorSettings)) | {"REST": "{}", "JOBS": "{}"}


def test_every_key_of_rest() -> None:
    assert documented(part(page("settings"), "## `REST`")) == fields(RestSettings)


def test_every_key_of_jobs() -> None:
    text = page("settings")
    assert documented(part(text, "## `INFERENCE_JOBS`")) == as_written(fields(JobsSettings))
    written = {key: value.replace("'", '"') for key, value in fields(PredictorJobs).items()}
    assert documented(part(text, "## `JOBS`")) == written


def test_everything_of_a_job() -> None:
    names = {name for row in rows(page("jobs")) for name in re.findall(r"`(\w+)", row[0])}
    # Where inputs and results are kept is nobody's business.
    kept = re.compile("(inputs|result|idempotency)_(json|packed|file|digest)")
    columns = {field.name for field in Job._meta.get_fields() if not kept.match(field.name)}
    assert columns <= names
    for kind in (Job, JobQuerySet, BaseEngine):
        methods = {
            name
            for name, value in vars(kind).items()
            if not name.startswith("_")
            and (inspect.isfunction(value) or isinstance(value, property))
        }
        # Django's own.
        methods -= {"as_manager"} | {f"get_{name}_display" for name in columns}
        assert methods <= names
    assert {state.value for state in JobState} <= names


def test_every_sub_command_and_option_of_jobs() -> None:
    text = part(page("commands"), "## `manage.py inference_jobs`")
    parser = JobsCommand().create_parser("manage.py", "inference_jobs")
    (actions,) = [action for action in parser._actions if action.dest == "action"]
    assert isinstance(actions.choices, dict)
    assert actions.choices.keys() == {
        row[0].split()[0].strip("`") for row in rows(text) if "--" not in row[0]
    }
    of = {row[0].strip("`"): row[1] for row in rows(text)}
    for name, action in actions.choices.items():
        flags = {flag for option in action._actions for flag in option.option_strings}
        for flag in flags - {"-h", "--help"}:
            assert f"`{name}`" in of[flag]


def test_every_option_of_every_backend() -> None:
    said = documented(part(page("settings"), "## `OPTIONS`"))
    far = fields(OpenInferenceOptions) | fields(TensorFlowServingOptions)
    # It has a row of its own, with the default of the other backends.
    assert far.pop("preload") == "False"
    near = fields(BackendOptions) | fields(HostOptions) | fields(DummyOptions)
    queued = {name: value.replace("'", '"') for name, value in fields(CeleryOptions).items()}
    assert said == queued | far | near | {
        "endpoints": NO_DEFAULT,
        "signature_name": '"serving_default"',
    }
    text = part(page("settings"), "## `OPTIONS`")
    assert "`preload` is `False` here" in text
    # It has no row of its own, so it may differ by what the text below the tables says.
    assert fields(LocalBackend.options_class) == fields(BackendOptions) | {"preload": "False"}
    assert "`preload` is `False`" in part(page("settings"), "## `OPTIONS`")


def test_every_key_of_the_host() -> None:
    said = documented(part(page("settings"), "## `INFERENCE_HOST`"))
    # These are found out where None is given.
    computed = dict.fromkeys(("RUNTIME_DIR", "PYTHON", "ARTIFACT_DIR"), "None")
    assert said == as_written(fields(HostSettings)) | computed


def test_every_key_of_serve() -> None:
    said = documented(part(page("settings"), "## `INFERENCE_SERVE`"))
    assert said == as_written(fields(ServeSettings))


@pytest.mark.parametrize("name", runtimes.BUILT_IN)
def test_every_option_of_a_runtime(name: str) -> None:
    text = page("runtimes")
    runtime = import_object(runtimes.BUILT_IN[name])
    said = documented(part(text, f"## `{name}`"))
    said.pop("any other", None)
    assert said == {
        option.name: NO_DEFAULT if option.default is option.empty else _written(option.default)
        for option in inspect.signature(runtime).parameters.values()
        if option.kind is not option.VAR_KEYWORD
    }
    (row,) = [row for row in rows(text) if row[0] == f"`{name}`"]
    assert row[1] == f"`{runtimes.BUILT_IN[name]}`"
    assert re.findall("`([^`]+)`", row[4]) == list(runtime.suffixes)


def _written(value: Any) -> str:
    return repr(value).replace("'", '"')


def test_everything_of_the_base_classes() -> None:
    text = part(page("runtimes"), "## The base classes")
    names = {re.split(r"\W", row[0].strip("`"))[0] for row in rows(text)}
    public = {
        name
        for kind in (BaseRuntime, Runtime, TensorRuntime)
        for name in vars(kind)
        if not name.startswith("_")
    }
    assert names == public
    for name, default in documented(text).items():
        if name.isidentifier():
            assert _written(getattr(TensorRuntime, name)) == default


@pytest.mark.parametrize("kind", [Predictor, Predictors])
def test_every_method_of_the_handles(kind: type) -> None:
    headings = re.findall(r"^### (.*)$|^\| `(\w+)\(", page("predictors"), re.MULTILINE)
    said = " ".join(" ".join(pair) for pair in headings)
    public = [name for name in vars(kind) if not name.startswith("_")]
    assert public
    for name in public:
        assert re.search(rf"\b{name}\b", said), name


@pytest.mark.parametrize("kind", [Status, ReplicaStatus, Statistics])
def test_everything_that_a_status_holds(kind: type[msgspec.Struct]) -> None:
    text = part(page("predictors"), "### `status()`, `astatus`")
    for name in kind.__struct_fields__:
        assert f"`{name}`" in text


def test_every_error_and_its_status() -> None:
    said = {row[0].strip("`"): row[1] for row in rows(page("errors")) if row[1].isdigit()}
    errors = exceptions.BY_NAME.items()
    assert said == {name: str(error.status_code) for name, error in errors}


def test_every_attribute_of_an_error() -> None:
    text = page("errors")
    for name in vars(exceptions.InferenceError("")):
        assert f"| `{name}` |" in text


def test_every_command_and_option() -> None:
    text = page("commands")
    parser = Command().create_parser("manage.py", "inference")
    (actions,) = [action for action in parser._actions if action.dest == "action"]
    assert isinstance(actions.choices, dict)
    listed = {row[0].split()[0].strip("`") for row in rows(text)}
    assert actions.choices.keys() <= listed
    for name, action in actions.choices.items():
        for option in action._actions:
            for flag in option.option_strings:
                if flag not in ("-h", "--help"):
                    of = [row[1] for row in rows(text) if row[0] == f"`{flag}`"]
                    assert any(f"`{name}`" in cell for cell in of), (name, flag)


def test_every_option_of_the_host_command() -> None:
    own = HostCommand().create_parser("manage.py", "inference_host")._actions
    inherited = Command().create_parser("manage.py", "inference")._actions
    flags = {flag for option in own for flag in option.option_strings}
    flags -= {flag for option in inherited for flag in option.option_strings}
    assert flags == {"--stop"}
    assert all(f"`{flag}`" in page("commands") for flag in flags)


def test_every_option_of_the_fill_command() -> None:
    text = part(page("commands"), "## `manage.py inference_fill`")
    own = FillCommand().create_parser("manage.py", "inference_fill")._actions
    inherited = Command().create_parser("manage.py", "inference")._actions
    flags = {flag for option in own for flag in option.option_strings}
    flags -= {flag for option in inherited for flag in option.option_strings}
    assert {row[0].strip("`") for row in rows(text)} == flags


def test_every_keyword_of_map() -> None:
    text = part(page("predictors"), "### `map(items, *, …)`, `amap`")
    keywords = inspect.signature(Predictor.map).parameters.values()
    assert documented(text) == {
        keyword.name: _written(keyword.default)
        for keyword in keywords
        if keyword.kind is keyword.KEYWORD_ONLY
    }


def test_every_option_of_the_serve_command_and_every_service() -> None:
    text = part(page("commands"), "## `manage.py inference_serve`")
    own = ServeCommand().create_parser("manage.py", "inference_serve")._actions
    inherited = HostCommand().create_parser("manage.py", "inference_host")._actions
    flags = {flag for option in own for flag in option.option_strings}
    flags -= {flag for option in inherited for flag in option.option_strings}
    assert {row[0].strip("`") for row in rows(text)} == flags
    said = dict(row[:2] for row in rows(part(page("commands"), "## Services by gRPC")))
    for service in SERVICERS:
        assert set(re.findall(r"`(\w+)`", said[f"`{service}`"])) == methods(service).keys()


def test_the_make_targets_in_contributing() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    table = rows((ROOT / "CONTRIBUTING.md").read_text())
    said = {name for row in table for name in re.findall("`([a-z-]+)`", row[0])}
    assert targets - {"help"} <= said
