"""The names of the package, and what importing them costs; each in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import django_inference

#: What a web process must not hold before its first prediction.
UNWANTED = (
    "celery",
    "grpc",
    "httpx",
    "joblib",
    "jax",
    "keras",
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "PIL",
    "rest_framework",
    "rich",
    "scipy",
    "sklearn",
    "skops",
    "stamina",
    "tensorflow",
    "tf_keras",
    "torch",
    "transformers",
    "ultralytics",
    "xgboost",
)


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[1],
        env={key: value for key, value in os.environ.items() if not key.startswith("DJANGO_")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CONFIGURE = """
import sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_inference"],
    MIDDLEWARE=["django_inference.middleware.InferenceMiddleware"],
    INFERENCE={
        "onnx": {"MODEL": "/m.onnx"},
        "tensorflow": {"MODEL": "/m", "RUNTIME": "tensorflow"},
        "sklearn": {"MODEL": "/m.joblib", "TRUSTED": True},
        "callable": {"RUNTIME": "tests.sample_runtimes.echo"},
        "local": {
            "RUNTIME": "tests.sample_runtimes.echo",
            "BACKEND": "django_inference.backends.local.LocalBackend",
        },
        "remote": {
            "BACKEND": "django_inference.backends.open_inference.OpenInferenceBackend",
            "OPTIONS": {"endpoints": ["http://models", "grpc://models:8001"]},
        },
        "serving": {
            "BACKEND": "django_inference.backends.tensorflow_serving.TensorFlowServingBackend",
            "OPTIONS": {"endpoints": ["http://models", "grpc://models:8500"]},
        },
    },
)
django.setup()
"""


def imported_by(program: str) -> list[str]:
    """Which of the unwanted modules a program has imported in the end."""
    report = "\nimport sys\nprint(*sorted({m.partition('.')[0] for m in sys.modules}))"
    return sorted(set(UNWANTED) & set(run(textwrap.dedent(program) + report).split()))


def test_every_name_is_there_and_is_what_it_says() -> None:
    for name in django_inference.__all__:
        assert getattr(django_inference, name) is not None
    assert django_inference.__all__ == sorted(django_inference.__all__)
    assert set(django_inference.__all__) >= {
        *("predictors", "predictor", "Predictor", "Runtime", "TensorRuntime"),
        *("Signature", "TensorSpec", "InferenceError", "InvalidPredictor"),
    }
    with pytest.raises(AttributeError, match="predictorz"):
        django_inference.predictorz  # noqa: B018


def test_every_error_is_a_name_of_the_package() -> None:
    from django_inference.exceptions import BY_NAME

    assert set(BY_NAME) <= set(django_inference.__all__)


def test_names_come_when_they_are_asked_for() -> None:
    run(
        """
        import sys
        import django_inference
        assert "django" not in sys.modules
        assert not [name for name in sys.modules if name.startswith("django_inference.")]
        django_inference.Runtime, django_inference.InvalidInput, django_inference.TensorSpec
        assert "django" not in sys.modules
        django_inference.predictors
        assert "django_inference.registry" in sys.modules
        """
    )


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import django_inference.registry, django_inference.handle",
        "import django_inference.backends.host, django_inference.backends.local",
        "from django_inference import apps, checks, middleware",
        "import django_inference.host.client",
        "from django_inference import *",
    ],
)
def test_predictors_is_the_registry_whatever_was_imported_before(before: str) -> None:
    run(
        CONFIGURE
        + before
        + textwrap.dedent(
            """
            from django_inference import predictor, predictors
            from django_inference.registry import Predictors
            assert isinstance(predictors, Predictors), predictors
            assert list(predictors)[0] == "onnx"
            assert type(predictor).__name__ == "DefaultPredictor"
            import django_inference
            assert django_inference.predictors is predictors
            """
        )
    )


def test_setting_up_django_imports_nothing_heavy() -> None:
    assert imported_by(CONFIGURE) == []


def test_looking_at_the_predictors_imports_nothing_heavy() -> None:
    look = """
    from django_inference import predictors
    for alias, predictor in predictors.items():
        # Only its servers know how a remote model fares, so they are asked.
        if "endpoints" not in predictor.backend.settings.options:
            predictor.status()
    """
    assert imported_by(CONFIGURE + textwrap.dedent(look)) == []


def test_checking_the_settings_imports_nothing_heavy() -> None:
    check = """
    from django.core.checks import run_checks
    run_checks()
    """
    assert imported_by(CONFIGURE + textwrap.dedent(check)) == []


def test_writing_a_runtime_imports_nothing_heavy() -> None:
    assert imported_by("from django_inference import Runtime, TensorRuntime, Signature") == []


def test_the_package_is_typed() -> None:
    assert Path(django_inference.__file__).with_name("py.typed").exists()
