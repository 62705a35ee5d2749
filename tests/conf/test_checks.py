from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from django.conf import settings
from django.core.checks import CheckMessage, Warning, registry, run_checks
from django.core.management import CommandError, call_command
from django.test import override_settings
from rest_framework.permissions import IsAdminUser, IsAuthenticatedOrReadOnly

from django_inference import checks
from django_inference.backends import loading
from django_inference.backends.base import BackendOptions, BaseBackend
from django_inference.conf import PredictorSettings
from tests.jobs.carriers import KEEPING

ROOT = Path(__file__).parents[2]
DUMMY = "django_inference.backends.dummy.DummyBackend"
LOCAL = "django_inference.backends.local.LocalBackend"
OPEN_INFERENCE = "django_inference.backends.open_inference.OpenInferenceBackend"
TENSORFLOW = "django_inference.backends.tensorflow_serving.TensorFlowServingBackend"
MIDDLEWARE = "django_inference.middleware.InferenceMiddleware"
FILES = "django.core.files.storage.FileSystemStorage"

MODELS = """
from __future__ import annotations

import functools

from django_inference import Runtime, TensorRuntime
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.runtimes.sklearn import SklearnRuntime as Sklearn

raise SystemExit("a check has imported this module")


class Detector(Runtime):
    def __init__(self, threshold, *, labels=()):
        pass

    def predict(self, items):
        return items


class Simple(TensorRuntime):
    pass


class NeedsFramework(Runtime):
    requires = ("no_such_framework", "json")


class NeedsExtra(Runtime):
    requires: tuple[str, ...] = ("no_such_framework",)
    extra = "onnx"


class NeedsArtifact(Simple):
    needs_artifact = True


class Cropped(OnnxRuntime):
    pass


class Cropping(OnnxRuntime):
    def __init__(self, margin, **options):
        super().__init__(**options)


class Pickled(Sklearn):
    pass


class Homemade(Runtime):
    runs_code = [".custom"]


@functools.total_ordering
class Decorated(Runtime):
    pass


class Circle(Circle):
    pass


class NotARuntime:
    pass


def sentiment(texts, language="en", *, strict):
    return texts


async def slow(items):
    return items


@functools.cache
def cached(*anything):
    return anything


def anything(items, **options):
    return items


class Computed(Runtime):
    requires = tuple(["no_such_framework"])


class Mixed(functools.partial, Runtime):
    pass


class Made(functools.partial(anything)):
    pass


chosen = lambda items: [inner for inner in items]

if Runtime:
    partial = functools.partial(sentiment, strict=True)
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with models of the user's own; importing them would end the tests."""
    package = tmp_path / "code/shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "models.py").write_text(MODELS)
    (package / "broken.py").write_text("def detect(:\n")
    (package / "again.py").write_text(
        "from . import models\n"
        "from .models import Detector as Again, sentiment\n"
        "class Sub(models.NeedsArtifact): pass\n"
        "try:\n    from missing import Other\nexcept ImportError:\n    Other = None\n"
    )
    (package / "open.py").write_text("from .models import *\n")
    (package / "lazy.py").write_text("def __getattr__(name): return 1\n")
    (tmp_path / "code/folder/inner").mkdir(parents=True)
    (tmp_path / "code/folder/inner/models.py").write_text("def detect(items): return items\n")
    monkeypatch.syspath_prepend(tmp_path / "code")
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] in {"shop", "folder"}]:
        del sys.modules[name]


def problems(
    predictors: Any = None,
    *,
    host: Any = None,
    serve: Any = None,
    jobs: Any = None,
    storages: Any = None,
    middleware: list[str] | None = None,
    caches: Any = None,
    missing: str | None = None,
) -> list[CheckMessage]:
    # None is how Python itself marks a module that cannot be imported.
    not_there = {} if missing is None else {missing: None}
    with (
        patch.dict(sys.modules, not_there),
        override_settings(
            INFERENCE={} if predictors is None else predictors,
            INFERENCE_HOST={} if host is None else host,
            INFERENCE_SERVE={} if serve is None else serve,
            INFERENCE_JOBS=settings.INFERENCE_JOBS if jobs is None else jobs,
            STORAGES=settings.STORAGES if storages is None else storages,
            MIDDLEWARE=[MIDDLEWARE] if middleware is None else middleware,
            CACHES=settings.CACHES if caches is None else caches,
        ),
    ):
        return run_checks(tags=[checks.TAG])


def problems_of(**entry: Any) -> list[str]:
    found = problems({"detector": {"BACKEND": LOCAL, **entry}})
    for message in found:
        assert "'detector'" in message.msg
    return [
        f"{number_of(message)} {message.msg} {message.hint or ''}".rstrip() for message in found
    ]


def number_of(message: CheckMessage) -> str:
    return (message.id or "").removeprefix("django_inference.")


EITHER = IsAdminUser | IsAuthenticatedOrReadOnly


class Endpoints(BackendOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    endpoints: list[str]


class RemoteBackend(BaseBackend):
    """A backend of the user's own, with a check that finds something."""

    options_class = Endpoints

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        return [Warning(f"{settings.alias} is far away", id="shop.W001")]


def remote(backend: str = OPEN_INFERENCE, **options: Any) -> dict[str, Any]:
    options.setdefault("endpoints", ["grpcs://models:8001"])
    return {"detector": {"BACKEND": backend, "OPTIONS": options}}


#: One mistake for each ID.
MISTAKES: dict[str, dict[str, Any]] = {
    "E001": {"predictors": ["detector"]},
    "E002": {"predictors": {"detector": "models/detector.onnx"}},
    "E003": {"predictors": {"detector": {"RUNTIM": "shop.models.Simple", "BACKEND": LOCAL}}},
    "E004": {"predictors": {"detector": {"MODEL": 3}}},
    "E005": {"predictors": {"detector": {"BACKEND": "django_inference.backends.hots.HostBackend"}}},
    "E006": {"predictors": {"detector": {"BACKEND": "pathlib.Path"}}},
    "E007": {
        "predictors": {
            "detector": {
                "RUNTIME": "shop.models.Simple",
                "BACKEND": LOCAL,
                "OPTIONS": {"max_batchsize": 3},
            }
        }
    },
    "E008": {
        "predictors": {
            "detector": {
                "RUNTIME": "shop.models.Simple",
                "BACKEND": LOCAL,
                "OPTIONS": {"max_batch_size": "many"},
            }
        }
    },
    "E009": {"predictors": {"detector": {"BACKEND": f"{__name__}.RemoteBackend"}}},
    "E010": {"predictors": {"detector": {"RUNTIME": "onxx", "BACKEND": LOCAL}}},
    "E011": {"predictors": {"detector": {"RUNTIME": "shop.modles.Detector", "BACKEND": LOCAL}}},
    "E012": {"predictors": {"detector": {"RUNTIME": "shop.models.Detectr", "BACKEND": LOCAL}}},
    "E014": {
        "predictors": {
            "detector": {
                "MODEL": __file__,
                "RUNTIME": "transformers",
                "RUNTIME_OPTIONS": {"task": "fil-mask"},
            }
        }
    },
    "E013": {
        "predictors": {
            "detector": {
                "RUNTIME": "shop.models.Simple",
                "RUNTIME_OPTIONS": {"threshold": 1},
                "BACKEND": LOCAL,
            }
        }
    },
    "W002": {
        "predictors": {
            "detector": {"RUNTIME": "shop.models.Simple", "MODEL": "/missing", "BACKEND": LOCAL}
        }
    },
    "E015": {"predictors": {"detector": {"RUNTIME": "onnx", "BACKEND": LOCAL}}},
    "E016": {
        "predictors": {
            "detector": {"RUNTIME": "shop.models.anything", "MODEL": __file__, "BACKEND": LOCAL}
        }
    },
    "E017": {"predictors": {"detector": {"RUNTIME": "shop.models.NeedsExtra", "BACKEND": LOCAL}}},
    "E018": {
        "predictors": {"detector": {"RUNTIME": "sklearn", "MODEL": "x.pkl", "BACKEND": LOCAL}}
    },
    "E019": {
        "predictors": {
            "detector": {
                "RUNTIME": "shop.models.anything",
                "RUNTIME_OPTIONS": {"labels": Path("labels.txt")},
            }
        }
    },
    "E020": {"host": ["LINGER"]},
    "E021": {"host": {"LINGR": 3}},
    "E022": {"host": {"LINGER": -3}},
    "E023": {"host": {"RUNTIME_DIR": "/" + "x" * 100}},
    "E024": {"host": {"PYTHON": "/no/such/python"}},
    "E025": {"predictors": {"detector": {"RUNTIME": "shop.models.slow", "BACKEND": LOCAL}}},
    "E026": {"predictors": {"detector": {"MODEL": __file__, "BACKEND": LOCAL}}},
    "E027": {"predictors": {"detector": {"MODEL": "storage:", "BACKEND": LOCAL}}},
    "E028": {"predictors": {"detector": {"MODEL": "cache:defualt/a", "BACKEND": LOCAL}}},
    "E029": {
        "predictors": {
            "detector": {"MODEL": "s3://bucket/a.onnx", "RUNTIME": "onnx", "BACKEND": LOCAL}
        }
    },
    "E030": {"predictors": {"detector": {"MODEL": "cache:default/a", "BACKEND": LOCAL}}},
    "E031": {"predictors": {"detector": {"OPTIONS": {"cache": "defualt"}}}},
    "E032": {
        "predictors": {"detector": {"OPTIONS": {"cache": "table"}}},
        "caches": {
            "table": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "a"}
        },
    },
    "W003": {
        "predictors": {
            "detector": {
                "RUNTIME": "shop.models.anything",
                "BACKEND": LOCAL,
                "OPTIONS": {"share_weights": True},
            }
        }
    },
    "E033": {"predictors": {"detector": {"REST": {"permision_classes": []}}}},
    "E034": {"predictors": {"detector": {"REST": {"throttle": {"rows": "many"}}}}},
    "E035": {"predictors": {"detector": {"REST": {"permission_classes": ["shop.Nobody"]}}}},
    "E036": {"predictors": {"detector": {"REST": {"serializer_class": "pathlib.Path"}}}},
    "E040": {"serve": ["127.0.0.1:1"]},
    "E041": {"serve": {"GRCP": "127.0.0.1:1"}},
    "E042": {"serve": {"GRPC": 1}},
    "E043": {"serve": {"API_KEYS": {"site": {}}}},
    "E044": {"serve": {"CERTIFICATE": __file__}},
    "E045": {"serve": {"AUTHENTICATION": "shop.nobody"}},
    "E050": {"predictors": {"detector": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "x"}}}},
    "E051": {"predictors": {"detector": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "detector"}}}},
    "E052": {"predictors": remote(endpoints=["grcp://models:8001"])},
    "E053": {"predictors": remote(), "missing": "stamina"},
    "E054": {"predictors": remote(tls_key=__file__)},
    "E055": {"predictors": remote(token_from="shop.models.nobody")},
    "E056": {"predictors": remote(tls_ca="/nowhere/ca.pem")},
    "E060": {"jobs": ["django_inference.jobs.engines.celery.CeleryEngine"]},
    "E061": {"jobs": {"ENGINE": KEEPING, "LEASES": 15}},
    "E062": {"jobs": {"ENGINE": KEEPING, "LEASE": 0}},
    "E063": {"predictors": {"detector": {"JOBS": {"que": "slow"}}}},
    "E064": {"predictors": {"detector": {"JOBS": {"timeout": "long"}}}},
    "E065": {"jobs": {"ENGINE": "pathlib.Path"}},
    "E066": {"jobs": {"ENGINE": KEEPING, "ENGINE_OPTIONS": {"app": "shop"}}},
    "E067": {"jobs": {"ENGINE": KEEPING, "STORAGE": "defualt"}},
    "W060": {
        "jobs": {"ENGINE": KEEPING},
        "storages": {"default": {"BACKEND": FILES, "OPTIONS": {"location": ""}}},
    },
    "W006": {"predictors": remote(token="t", endpoints=["http://models:8000"])},
    "W007": {
        "predictors": {"detector": {**remote()["detector"], "RUNTIME": "shop.models.anything"}}
    },
    "W005": {"serve": {"GRPC": "0.0.0.0:1"}},
    "W001": {"predictors": {"detector": {}}, "middleware": []},
}

#: Of Celery, of columns, of Django's tasks and of files: their own tests make these mistakes.
ELSEWHERE = [
    "W008",
    *("E075", "E076", "E077", "E078", "E079"),
    *("E080", "E081", "E082", "E083", "W080"),
    *("E090", "E091", "E092", "W090"),
]


@pytest.mark.parametrize(("number", "mistake"), MISTAKES.items())
def test_each_mistake_is_reported_under_its_id(number: str, mistake: dict[str, Any]) -> None:
    assert f"django_inference.{number}" in [message.id for message in problems(**mistake)]


def test_each_mistake_in_the_settings_of_jobs_is_said() -> None:
    said = [
        f"{number_of(message)} {message.msg} {message.hint or ''}".rstrip()
        for message in problems(
            jobs={
                "ENGINE": "django_inference.jobs.engines.celry.CeleryEngine",
                "STORAGE": "defualt",
                "MAX_ATEMPTS": 3,
                "LEASE": "long",
            }
        )
    ]
    assert said == [
        "E061 INFERENCE_JOBS has no key 'MAX_ATEMPTS'. Did you mean 'MAX_ATTEMPTS'?",
        "E062 INFERENCE_JOBS['LEASE']: expected float, given 'long' (str).",
        "E067 INFERENCE_JOBS['STORAGE']: STORAGES has no 'defualt'. Did you mean 'default'?",
        "E065 INFERENCE_JOBS['ENGINE']: 'django_inference.jobs.engines.celry.CeleryEngine' cannot "
        "be imported: No module named 'django_inference.jobs.engines.celry'.",
    ]


def test_the_table_lists_each_id_once_and_no_other() -> None:
    table = (ROOT / "docs/reference/checks.md").read_text()
    listed = re.findall(r"^\| `django_inference\.([EW]\d{3})` \|", table, re.MULTILINE)
    used = {
        number
        for file in (ROOT / "src").rglob("*.py")
        for number in re.findall(r"(?<!noqa: )\b[EW]\d{3}\b", file.read_text())
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == used == {*MISTAKES, *ELSEWHERE}


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (
            {"permision_classes": []},
            "E033 INFERENCE['detector']['REST'] has no key 'permision_classes'. "
            "Did you mean 'permission_classes'?",
        ),
        (
            {"throttle": {"row": "1/min"}},
            "E033 INFERENCE['detector']['REST']['throttle'] has no key 'row'. Did you mean 'rows'?",
        ),
        (
            {"throttle": {"rows": "many"}},
            "E034 INFERENCE['detector']['REST']['throttle']['rows']: expected a number and a "
            "period (str), such as '100/min', given 'many' (str).",
        ),
        (
            {"permission_classes": "rest_framework.permissions.AllowAny"},
            "E034 INFERENCE['detector']['REST']['permission_classes']: expected a list of dotted "
            "paths of classes (str) or None, given 'rest_framewo...ions.AllowAny' (str).",
        ),
        (
            {"max_body_bytes": 0},
            "E034 INFERENCE['detector']['REST']['max_body_bytes']: expected a number of bytes "
            "(int >= 1) or None, given 0 (int).",
        ),
        (
            {"permission_classes": ["rest_framework.permissions.Nobody"]},
            "E035 INFERENCE['detector']['REST']['permission_classes']: "
            "'rest_framework.permissions.Nobody' cannot be imported: Module "
            '"rest_framework.permissions" does not define a "Nobody" attribute/class',
        ),
        (
            {"throttle_classes": ["rest_framework.permissions.AllowAny"]},
            "E036 INFERENCE['detector']['REST']['throttle_classes']: "
            "'rest_framework.permissions.AllowAny' is not a throttle class: it has no method "
            "allow_request().",
        ),
    ],
)
def test_a_mistake_in_rest_is_described(rest: dict[str, Any], expected: str) -> None:
    assert problems_of(BACKEND=DUMMY, REST=rest) == [expected]


def test_rest_takes_classes_by_name_and_what_two_permissions_make() -> None:
    rest = {
        "enabled": False,
        "authentication_classes": ["rest_framework.authentication.BasicAuthentication"],
        "permission_classes": ["rest_framework.permissions.IsAuthenticated", f"{__name__}.EITHER"],
        "throttle_classes": [],
        "throttle": {"requests": "1/s", "rows": "100/day"},
        "parser_classes": ["rest_framework.parsers.JSONParser"],
        "renderer_classes": None,
        "serializer_class": "rest_framework.serializers.Serializer",
        "max_body_bytes": None,
    }
    assert problems_of(BACKEND=DUMMY, REST=rest) == []


@pytest.mark.heavy
def test_settings_without_a_mistake_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.joblib"):
        (tmp_path / name).touch()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").touch()
    found = problems(
        {
            "onnx": {"MODEL": tmp_path / "a.onnx", "BACKEND": LOCAL},
            "trusted": {"MODEL": tmp_path / "a.joblib", "TRUSTED": True, "BACKEND": LOCAL},
            "pinned": {"MODEL": tmp_path / "a.joblib", "SHA256": "0" * 64, "BACKEND": LOCAL},
            "folder": {"MODEL": tmp_path / "saved", "BACKEND": LOCAL},
            "own": {
                "RUNTIME": "shop.models.Detector",
                "RUNTIME_OPTIONS": {"threshold": 0.5, "labels": ["cat"]},
                "BACKEND": LOCAL,
                "OPTIONS": {"max_batch_size": 8, "timeout": 3},
            },
            "function": {
                "RUNTIME": "shop.models.sentiment",
                "RUNTIME_OPTIONS": {"strict": True, "batched": False},
                "BACKEND": LOCAL,
            },
            "long": {
                "RUNTIME": "callable",
                "RUNTIME_OPTIONS": {"function": "shop.models.sentiment", "strict": True},
                "BACKEND": LOCAL,
            },
            "dummy": {"BACKEND": "django_inference.backends.dummy.DummyBackend"},
        }
    )
    assert found == []


@pytest.mark.parametrize(
    "runtime",
    [
        "shop.again.Again",  # imported there from another module
        "shop.again.Other",  # from one that is not installed
        "shop.models.partial",  # assigned, in an if
        "shop.open.Whatever",  # from a star import
        "shop.lazy.Whatever",  # from a module's __getattr__
        "shop.models.Circle",
        "shop.models.Decorated",
        "shop.models.cached",
        "shop.models.Computed",
        "shop.models.Made",
        "shop.models.chosen",
        "folder.inner.models.detect",  # folders without __init__.py
        "math.sqrt",  # no source to look at
    ],
)
def test_what_the_source_does_not_rule_out_is_left_alone(runtime: str) -> None:
    options = {"threshold": 1} if runtime == "shop.again.Again" else {}
    assert problems_of(RUNTIME=runtime, RUNTIME_OPTIONS=options) == []


def test_the_options_of_a_class_with_a_base_that_nobody_knows_are_left_alone() -> None:
    assert problems_of(RUNTIME="shop.models.Mixed", RUNTIME_OPTIONS={"func": "len"}) == []


def test_a_module_without_a_file_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typed_in_a_shell", ModuleType("typed_in_a_shell"))
    assert problems_of(RUNTIME="typed_in_a_shell.detect") == []


def test_a_package_that_cannot_be_imported_is_described(shop: Path) -> None:
    (shop / "__init__.py").write_text("import no_such_framework")
    # Where the file can be found without the package, nothing is imported.
    assert problems_of(RUNTIME="shop.models.Simple") == []
    (found,) = problems_of(RUNTIME="shop.other.Simple")
    assert found == (
        "E011 INFERENCE['detector']['RUNTIME']: 'shop.other.Simple': a package around the module "
        "'shop.other' cannot be imported: ModuleNotFoundError(\"No module named "
        "'no_such_framework'\")."
    )


def test_a_file_that_is_no_text_is_described(shop: Path) -> None:
    for content, why in ((b"detect = 1\0", "null bytes"), (b"a = 1\n" * 9 + b"\xe9", "decode")):
        (shop / "binary.py").write_bytes(content)
        (found,) = problems_of(RUNTIME="shop.binary.detect")
        assert found.startswith("E011 INFERENCE['detector']['RUNTIME']: 'shop.binary.detect': ")
        assert why in found


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"RUNTIME": "shop.modles.Detector"},
            "E011 INFERENCE['detector']['RUNTIME']: 'shop.modles.Detector': there is no module "
            "'shop.modles'. Did you mean 'shop.models.Detector'?",
        ),
        (
            {"RUNTIME": "shoop.models.Detector"},
            "E011 INFERENCE['detector']['RUNTIME']: 'shoop.models.Detector': there is no module "
            "'shoop.models'.",
        ),
        (
            {"RUNTIME": "shop.broken.detect"},
            "E011 INFERENCE['detector']['RUNTIME']: 'shop.broken.detect': invalid syntax "
            "(broken.py, line 1).",
        ),
        (
            {"RUNTIME": "shop.models.Detectr"},
            "E012 INFERENCE['detector']['RUNTIME']: the module 'shop.models' defines no 'Detectr'. "
            "Did you mean 'Detector'?",
        ),
        (
            {"RUNTIME": "folder.inner.models"},
            "E012 INFERENCE['detector']['RUNTIME']: 'folder.inner.models' is a module. Add the "
            "name of a Runtime or of a function in it: 'folder.inner.models.…'.",
        ),
        (
            {"RUNTIME": "callable", "RUNTIME_OPTIONS": {"function": "shop.models.sentimnt"}},
            "E012 INFERENCE['detector']['RUNTIME_OPTIONS']: the module 'shop.models' defines no "
            "'sentimnt'. Did you mean 'sentiment'?",
        ),
        (
            {"RUNTIME": "callable", "RUNTIME_OPTIONS": {"function": "sentiment"}},
            "E011 INFERENCE['detector']['RUNTIME_OPTIONS']: 'sentiment' is no dotted path: "
            "package.module.name.",
        ),
        (
            {
                "RUNTIME": "torch",
                "MODEL": __file__,
                "RUNTIME_OPTIONS": {"model": "shop.models.Smple"},
            },
            "E012 INFERENCE['detector']['RUNTIME_OPTIONS']: the module 'shop.models' defines no "
            "'Smple'. Did you mean 'Simple'?",
        ),
        (
            {"RUNTIME": "callable"},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: CallableRuntime needs the option "
            "'function'.",
        ),
        (
            {"RUNTIME": "django_inference.runtimes.onnx.OnxRuntime"},
            "E012 INFERENCE['detector']['RUNTIME']: the module 'django_inference.runtimes.onnx' "
            "defines no 'OnxRuntime'. Did you mean 'OnnxRuntime'?",
        ),
        (
            {"RUNTIME": "shop.models.Detector", "RUNTIME_OPTIONS": {"threshold": 1, "label": []}},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: Detector takes no option 'label'. "
            "Did you mean 'labels'?",
        ),
        (
            {"RUNTIME": "shop.models.Detector"},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: Detector needs the option 'threshold'.",
        ),
        (
            {"RUNTIME": "shop.models.Cropping", "RUNTIME_OPTIONS": {"threads": 1}, "MODEL": "/"},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: Cropping needs the option 'margin'.",
        ),
        (
            {"RUNTIME": "shop.models.Cropped", "RUNTIME_OPTIONS": {"thread": 1}, "MODEL": "/"},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: Cropped takes no option 'thread'. "
            "Did you mean 'threads'?",
        ),
        (
            {"RUNTIME": "shop.models.sentiment", "RUNTIME_OPTIONS": {"lang": "de", "strict": 1}},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: sentiment takes no option 'lang'. "
            "Did you mean 'language'?",
        ),
        (
            {"RUNTIME": "shop.again.sentiment"},
            "E013 INFERENCE['detector']['RUNTIME_OPTIONS']: sentiment needs the option 'strict'.",
        ),
        (
            {"RUNTIME": "onnx"},
            "E015 INFERENCE['detector']['MODEL']: OnnxRuntime needs an artifact. Set it to the "
            "path of the file or folder that the model is loaded from.",
        ),
        (
            {"RUNTIME": "shop.again.Sub"},
            "E015 INFERENCE['detector']['MODEL']: Sub needs an artifact. Set it to the path of "
            "the file or folder that the model is loaded from.",
        ),
        (
            {"RUNTIME": "shop.models.anything", "MODEL": __file__},
            "E016 INFERENCE['detector']['MODEL']: anything is a plain function, which is given no "
            "artifact. Remove MODEL, or write a subclass of django_inference.Runtime and its "
            "load().",
        ),
        (
            {"RUNTIME": "shop.models.NeedsFramework"},
            "E017 INFERENCE['detector']['RUNTIME']: NeedsFramework needs the module "
            "'no_such_framework', which is not installed.",
        ),
        (
            {"RUNTIME": "shop.models.NeedsExtra"},
            "E017 INFERENCE['detector']['RUNTIME']: NeedsExtra needs the module "
            "'no_such_framework', which is not installed. "
            'pip install "django-inference[onnx]"',
        ),
        (
            {"RUNTIME": "shop.models.NotARuntime"},
            "E025 INFERENCE['detector']['RUNTIME']: NotARuntime is a class, but not a subclass of "
            "django_inference.Runtime or TensorRuntime.",
        ),
        (
            {"RUNTIME": "shop.models.slow"},
            "E025 INFERENCE['detector']['RUNTIME']: slow is async, but a model runs on a thread "
            "without an event loop.",
        ),
    ],
)
def test_a_mistake_in_a_model_is_described(entry: dict[str, Any], expected: str) -> None:
    assert problems_of(**entry) == [expected]


def test_a_runtime_that_is_not_known_is_described() -> None:
    (found,) = problems_of(RUNTIME="onxx")
    assert found.startswith("E010 INFERENCE['detector']['RUNTIME']: there is no runtime 'onxx'")
    assert "'onnx'" in found


def test_an_artifact_that_does_not_tell_its_runtime_is_described(tmp_path: Path) -> None:
    (tmp_path / "model.bin").touch()
    (found,) = problems_of(MODEL=tmp_path / "model.bin")
    assert found.startswith("E026 INFERENCE['detector']['RUNTIME']: no runtime is known for ")


def test_a_missing_artifact_is_described(tmp_path: Path) -> None:
    (tmp_path / "yolo.onnx").touch()
    place = "W002 INFERENCE['detector']['MODEL']: there is no"
    file, folder = f"{tmp_path}/yolo8.onnx", f"{tmp_path}/saved_model"
    right = f"{tmp_path}/yolo.onnx"
    assert problems_of(MODEL=file) == [f"{place} {file!r}. Did you mean {right!r}?"]
    assert problems_of(MODEL=f"{folder}/a.onnx") == [
        f"{place} {folder + '/a.onnx'!r}. There is no folder {folder!r}."
    ]
    # What the runtime would have been cannot be told, and need not be.
    assert problems_of(MODEL=folder) == [f"{place} {folder!r}."]


@pytest.mark.parametrize("runtime", ["sklearn", "shop.models.Pickled", None])
def test_an_artifact_that_runs_code_must_be_trusted_or_pinned(
    runtime: str | None, tmp_path: Path
) -> None:
    model = tmp_path / "digits.joblib"
    model.touch()
    (found,) = problems_of(RUNTIME=runtime, MODEL=model)
    assert found.startswith(
        f"E018 INFERENCE['detector']['MODEL']: loading {str(model)!r} runs code that is in the "
        "file. If you know where it comes from"
    )
    # In a folder, the file to load is found by its suffix.
    assert problems_of(RUNTIME=runtime, MODEL=tmp_path) == [found]
    assert problems_of(RUNTIME=runtime, MODEL=model, TRUSTED=True) == []
    assert problems_of(RUNTIME=runtime, MODEL=model, SHA256="0" * 64) == []
    model.rename(tmp_path / "digits.skops")
    assert problems_of(RUNTIME=runtime, MODEL=tmp_path / "digits.skops") == []


@pytest.mark.parametrize(
    ("runtime", "can"), [("sklearn", True), ("litert", True), ("tensorflow", False)]
)
def test_weights_that_no_runtime_can_share_are_warned_of(runtime: str, can: bool) -> None:
    found = problems_of(
        RUNTIME=runtime, MODEL=__file__, OPTIONS={"share_weights": True}, SHA256="0" * 64
    )
    warning = (
        "W003 INFERENCE['detector']['OPTIONS']['share_weights']: TensorFlowRuntime cannot share "
        "its weights, so each replica has its own. Use one replica: the framework's own threads "
        "run it on all cores."
    )
    assert found == ([] if can else [warning])


def test_a_format_of_the_users_own_that_runs_code_must_be_trusted(tmp_path: Path) -> None:
    model = tmp_path / "a.custom"
    model.touch()
    (found,) = problems_of(RUNTIME="shop.models.Homemade", MODEL=model)
    assert found.startswith("E018")


@pytest.mark.parametrize(
    ("runtime", "module", "extra"),
    [
        ("onnx", "onnxruntime", "onnx"),
        ("tensorflow", "tensorflow", "tensorflow"),
        ("sklearn", "sklearn", "sklearn"),
        ("shop.models.Cropped", "onnxruntime", "onnx"),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_its_extra(
    runtime: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # To Python's import system, this is a module that does not exist.
    monkeypatch.setitem(sys.modules, module, None)
    (found,) = problems_of(RUNTIME=runtime, MODEL=tmp_path)
    assert f"needs the module {module!r}, which is not installed" in found
    assert found.endswith(f'pip install "django-inference[{extra}]"')


def test_a_framework_need_not_be_installed_here_for_an_interpreter_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    hosted = {"detector": {"RUNTIME": "onnx", "MODEL": tmp_path}}
    assert [number_of(message) for message in problems(hosted)] == ["E017"]
    assert problems(hosted, host={"PYTHON": python}) == []
    local = {"detector": {**hosted["detector"], "BACKEND": LOCAL}}
    assert [number_of(message) for message in problems(local, host={"PYTHON": python})] == ["E017"]


def test_runtime_options_for_another_process_must_be_plain() -> None:
    entry = {
        "RUNTIME": "shop.models.anything",
        "RUNTIME_OPTIONS": {"labels": Path("labels.txt"), "count": 3, "names": ["a", {"b": None}]},
    }
    (found,) = problems({"detector": entry})
    assert found.msg == (
        "INFERENCE['detector']['RUNTIME_OPTIONS']: 'labels' is PosixPath('labels.txt') "
        "(PosixPath), which cannot be sent to the model's process."
    )
    assert problems({"detector": {**entry, "BACKEND": LOCAL}}) == []


@pytest.mark.parametrize(
    ("backend", "number", "nearest"),
    [
        (
            "django_inference.backends.hots.HostBackend",
            "E005",
            "django_inference.backends.host.HostBackend",
        ),
        (
            "django_inference.backends.local.LocallBackend",
            "E005",
            "django_inference.backends.local.LocalBackend",
        ),
        ("LocalBackend", "E005", "django_inference.backends.local.LocalBackend"),
        (f"{__name__}.RemotBackend", "E005", f"{__name__}.RemoteBackend"),
        (
            "django_inference.backends.dummy.Call",
            "E006",
            "django_inference.backends.dummy.DummyBackend",
        ),
    ],
)
def test_a_backend_that_is_none_is_described(backend: str, number: str, nearest: str) -> None:
    (found,) = problems_of(BACKEND=backend)
    assert found.startswith(f"{number} INFERENCE['detector']['BACKEND']: expected the dotted path ")
    assert f"given {backend!r}" in found
    assert found.endswith(f"Did you mean {nearest!r}?")


def test_a_backend_whose_module_raises_is_described(shop: Path) -> None:
    (shop / "remote.py").write_text("1 / 0\n")
    (found,) = problems_of(BACKEND="shop.remote.Backend")
    assert "ZeroDivisionError: division by zero" in found


def test_the_backends_that_hints_name_are_all_there_are() -> None:
    found = [
        f"django_inference.backends.{file.stem}.{name}"
        for file in sorted((ROOT / "src/django_inference/backends").glob("*.py"))
        for name in re.findall(
            r"^class (\w+)\((?:Base|Remote)Backend\)", file.read_text(), re.MULTILINE
        )
    ]
    assert sorted(loading.BUILT_IN) == found


def test_a_backend_is_asked_for_what_is_particular_to_it() -> None:
    backend = f"{__name__}.RemoteBackend"
    (found,) = problems({"far": {"BACKEND": backend, "OPTIONS": {"endpoints": ["a"]}}})
    assert (found.id, found.msg) == ("shop.W001", "far is far away")


def test_one_mistake_does_not_hide_the_others(tmp_path: Path) -> None:
    found = problems(
        {
            "a": {
                "MODLE": "a.onnx",
                "TRUSTED": "yes",
                "RUNTIME": "shop.models.Detectr",
                "BACKEND": LOCAL,
                "OPTIONS": {"max_batchsize": 3, "timeout": "long"},
            },
            "b": None,
            "c": {"BACKEND": "nowhere.Backend", "SHA265": "x"},
            "d": {"MODEL": tmp_path / "missing.joblib", "BACKEND": LOCAL},
            "e": {"MODLE": "a.onnx", "RUNTIME": "onxx", "BACKEND": LOCAL},
        },
        host={"LINGR": 1, "AUTOSTART": 1, "PYTHON": "/no/such/python"},
        middleware=[],
    )
    assert sorted(map(number_of, found)) == sorted(
        [
            *("E003", "E004", "E002", "E003"),
            *("E007", "E008", "E012", "E005", "W002", "E018"),
            *("E003", "E010"),
            *("E021", "E022", "E024"),
            "W001",
        ]
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"RUNTIME": "onnx", "MODLE": "/a.onnx"},
        {"RUNTIME": "onnx", "MODEL": 3},
        {"RUNTIM": "shop.models.Simple"},
        {"RUNTIME": "sklearn", "MODEL": __file__, "TRUSTED": "yes"},
        {"RUNTIME": "sklearn", "MODEL": "x.pkl", "SHA256": "abc"},
        {"RUNTIME": "shop.models.Detector", "RUNTIME_OPTION": {"threshold": 1}},
    ],
)
def test_what_only_follows_from_a_mistake_is_not_reported(entry: dict[str, Any]) -> None:
    found = sorted(line[:4] for line in problems_of(**entry))
    assert found in (["E003"], ["E004"], ["E004", "W002"])
    assert ("W002" in found) == (entry.get("MODEL") == "x.pkl")


def test_the_middleware_may_be_a_subclass_and_is_not_asked_for_without_predictors() -> None:
    dummy = {"detector": {"BACKEND": "django_inference.backends.dummy.DummyBackend"}}
    (found,) = problems(dummy, middleware=["django.middleware.common.CommonMiddleware"])
    assert found.id == "django_inference.W001"
    assert isinstance(found, Warning)
    assert MIDDLEWARE in found.msg
    assert problems({}, middleware=[]) == []
    assert problems(dummy, middleware=[f"{__name__}.OwnMiddleware"]) == []
    assert len(problems(dummy, middleware=["shop.no_such.Middleware"])) == 1


def __getattr__(name: str) -> Any:
    if name != "OwnMiddleware":
        raise AttributeError(name)
    from django_inference.middleware import InferenceMiddleware

    return type(name, (InferenceMiddleware,), {})


def test_the_checks_are_registered_under_their_tag() -> None:
    found = {
        getattr(check, "__name__", "")
        for check in registry.registry.get_checks()
        if checks.TAG in check.tags
    }
    assert found == {
        "check_predictors",
        "check_backends",
        "check_host",
        "check_serve",
        "check_jobs",
        "check_middleware",
        "check_rest",
    }


def test_manage_py_check_fails_with_all_that_is_wrong() -> None:
    with (
        override_settings(
            INFERENCE={"a": {"MODLE": "x"}, "b": {"RUNTIME": "shop.modles.Detector"}}
        ),
        pytest.raises(CommandError) as caught,
    ):
        call_command("check")
    text = str(caught.value)
    assert "(django_inference.E003) INFERENCE['a'] has no key 'MODLE'." in text
    assert "HINT: Did you mean 'MODEL'?" in text


@pytest.mark.heavy
def test_a_check_imports_no_framework_and_no_module_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "frozen.onnx").touch()
    (tmp_path / "digits.joblib").touch()
    (tmp_path / "saved.keras").touch()
    predictors = {
        "onnx": {"MODEL": str(tmp_path / "frozen.onnx")},
        "sklearn": {"MODEL": str(tmp_path / "digits.joblib"), "TRUSTED": True},
        "keras": {"MODEL": str(tmp_path / "saved.keras")},
        "own": {"RUNTIME": "shop.models.Detector", "RUNTIME_OPTIONS": {"threshold": 1}},
    }
    code = (
        "import json, os, sys, django\n"
        "from django.conf import settings\n"
        "settings.configure(\n"
        "    INSTALLED_APPS=['django_inference'], INFERENCE=json.loads(sys.argv[1]),\n"
        f"    MIDDLEWARE=[{MIDDLEWARE!r}], DEFAULT_AUTO_FIELD='django.db.models.BigAutoField',\n"
        ")\n"
        "django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('check', '--fail-level', 'WARNING')\n"
        "heavy = 'numpy onnxruntime sklearn joblib tensorflow keras shop'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    environment = {key: os.environ[key] for key in os.environ if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(predictors)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
