from __future__ import annotations

import enum
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_inference.conf import (
    InvalidPredictor,
    PredictorSettings,
    default_artifact_dir,
    default_python,
    default_runtime_dir,
    examine_host,
    examine_options,
    examine_predictor,
    host_settings,
    parse_options,
    parse_predictor,
    predictor_settings,
)
from django_inference.specs import HostSettings

KEYS = ["MODEL", "RUNTIME", "RUNTIME_OPTIONS", "BACKEND", "OPTIONS", "TRUSTED", "SHA256"]
SHA256 = "0123456789abcdefABCDEF" + "0" * 42


def test_an_entry_is_read_with_its_defaults() -> None:
    with override_settings(INFERENCE={"detector": {"RUNTIME": "shop.ml.Detector"}}):
        assert predictor_settings() == {
            "detector": PredictorSettings(
                alias="detector",
                model=None,
                runtime="shop.ml.Detector",
                runtime_options={},
                backend="django_inference.backends.host.HostBackend",
                options={},
                trusted=False,
                sha256=None,
            )
        }


def test_every_key_is_read() -> None:
    found = parse_predictor(
        "detector",
        {
            "MODEL": "/models/detector.joblib",
            "RUNTIME": "sklearn",
            "RUNTIME_OPTIONS": {"method": "predict_proba"},
            "BACKEND": "django_inference.backends.local.LocalBackend",
            "OPTIONS": {"max_batch_size": 8},
            "TRUSTED": True,
            "SHA256": SHA256,
        },
    )
    assert found == PredictorSettings(
        alias="detector",
        model="/models/detector.joblib",
        runtime="sklearn",
        runtime_options={"method": "predict_proba"},
        backend="django_inference.backends.local.LocalBackend",
        options={"max_batch_size": 8},
        trusted=True,
        sha256=SHA256,
    )


def test_settings_are_read_on_every_call() -> None:
    with override_settings(INFERENCE={"a": {}}, INFERENCE_HOST={"LINGER": 1}):
        assert list(predictor_settings()) == ["a"]
        assert host_settings().linger == 1
        with override_settings(INFERENCE={"b": {}, "c": {}}, INFERENCE_HOST={"LINGER": 2}):
            assert list(predictor_settings()) == ["b", "c"]
            assert host_settings().linger == 2
        assert list(predictor_settings()) == ["a"]
        assert host_settings().linger == 1


def test_there_are_no_predictors_where_the_setting_is_missing(settings: Any) -> None:
    del settings.INFERENCE
    assert predictor_settings() == {}


def test_a_predictor_cannot_be_changed_after_it_was_read() -> None:
    found = parse_predictor("detector", {})
    with pytest.raises(AttributeError):
        found.trusted = True  # type: ignore[misc]


def test_a_relative_model_is_looked_for_in_base_dir(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BASE_DIR = tmp_path / "project"
    assert parse_predictor("a", {"MODEL": "models/../a.onnx"}).model == str(
        tmp_path / "project/a.onnx"
    )
    settings.BASE_DIR = str(tmp_path)
    assert parse_predictor("a", {"MODEL": Path("a.onnx")}).model == str(tmp_path / "a.onnx")
    del settings.BASE_DIR
    monkeypatch.chdir(tmp_path)
    assert parse_predictor("a", {"MODEL": "b.onnx"}).model == os.path.join(os.getcwd(), "b.onnx")


def test_a_link_to_the_current_release_of_a_model_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "current").symlink_to("v1")
    found = parse_predictor("a", {"MODEL": tmp_path / "current/a.onnx"})
    assert found.model == str(tmp_path / "current/a.onnx")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {"MODLE": "a.onnx"},
            "INFERENCE['detector'] has no key 'MODLE'. Did you mean 'MODEL'?",
        ),
        (
            {"runtime_options": {}},
            "INFERENCE['detector'] has no key 'runtime_options'. Did you mean 'RUNTIME_OPTIONS'?",
        ),
        (
            {"COLOUR": "red"},
            "INFERENCE['detector'] has no key 'COLOUR'. It takes BACKEND, GOLDEN, JOBS, MODEL, "
            "OPTIONS, REST, RUNTIME, RUNTIME_OPTIONS, SHA256, TRUSTED.",
        ),
        (
            {"MODEL": 3},
            "INFERENCE['detector']['MODEL']: expected a path (str or pathlib.Path) or None, "
            "given 3 (int).",
        ),
        (
            {"MODEL": ""},
            "INFERENCE['detector']['MODEL']: expected a path (str or pathlib.Path) or None, "
            "given '' (str).",
        ),
        (
            {"RUNTIME": dict},
            "INFERENCE['detector']['RUNTIME']: expected a short name, a dotted path (str) or None, "
            "given <class 'dict'> (type).",
        ),
        (
            {"RUNTIME_OPTIONS": None},
            "INFERENCE['detector']['RUNTIME_OPTIONS']: expected dict, given None (NoneType).",
        ),
        (
            {"OPTIONS": ["timeout"]},
            "INFERENCE['detector']['OPTIONS']: expected dict, given ['timeout'] (list).",
        ),
        (
            {"BACKEND": None},
            "INFERENCE['detector']['BACKEND']: expected the dotted path of a class (str), "
            "given None (NoneType).",
        ),
        (
            {"TRUSTED": "yes"},
            "INFERENCE['detector']['TRUSTED']: expected bool, given 'yes' (str).",
        ),
        (
            {"SHA256": SHA256 + "\n"},
            "INFERENCE['detector']['SHA256']: expected 64 hexadecimal digits (str) or None, "
            "given '0123456789ab...00000000000\\n' (str).",
        ),
        (
            {"SHA256": "g" * 64},
            "INFERENCE['detector']['SHA256']: expected 64 hexadecimal digits (str) or None, "
            "given 'gggggggggggg...ggggggggggggg' (str).",
        ),
    ],
)
def test_a_mistake_is_described(raw: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidPredictor) as caught:
        parse_predictor("detector", raw)
    assert str(caught.value) == expected
    assert caught.value.alias == "detector"
    assert caught.value.key in raw
    assert isinstance(caught.value, ImproperlyConfigured)


def test_a_mistake_in_one_predictor_is_raised_with_its_alias() -> None:
    with (
        override_settings(INFERENCE={"good": {}, "bad": {"TRUSTED": 1}}),
        pytest.raises(InvalidPredictor, match="'bad'") as caught,
    ):
        predictor_settings()
    assert (caught.value.alias, caught.value.key) == ("bad", "TRUSTED")


def test_all_mistakes_of_a_predictor_are_found_and_the_rest_is_read() -> None:
    found, mistakes = examine_predictor(
        "a", {"MODEL": "/a.onnx", "TRUSTED": 1, "OPTION": {}, "RUNTIME": "onnx"}
    )
    assert [(mistake.key, mistake.meant) for mistake in mistakes] == [
        ("TRUSTED", ""),
        ("OPTION", "OPTIONS"),
    ]
    assert found == PredictorSettings(alias="a", model="/a.onnx", runtime="onnx")


@pytest.mark.parametrize("raw", [None, "a.onnx", [], ("a",)])
def test_inference_must_be_a_dict(raw: Any) -> None:
    with (
        override_settings(INFERENCE=raw),
        pytest.raises(InvalidPredictor, match="expected a dict of dicts") as caught,
    ):
        predictor_settings()
    assert caught.value.check_id == "django_inference.E001"


@pytest.mark.parametrize(("alias", "raw"), [("a", "a.onnx"), ("a", None), (3, {}), ("", {})])
def test_an_entry_must_be_a_dict_with_a_name(alias: Any, raw: Any) -> None:
    with (
        override_settings(INFERENCE={alias: raw}),
        pytest.raises(InvalidPredictor) as caught,
    ):
        predictor_settings()
    assert caught.value.check_id == "django_inference.E002"


@given(key=st.sampled_from(KEYS), at=st.integers(0, 20))
def test_a_key_that_lacks_a_letter_is_recognised(key: str, at: int) -> None:
    misspelt = key[: at % len(key)] + key[at % len(key) + 1 :]
    _, (mistake,) = examine_predictor("a", {misspelt: {}})
    assert mistake.meant == key


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
    max_leaves=5,
)


@given(raw=st.dictionaries(st.sampled_from(KEYS) | st.text() | st.integers(), _values))
def test_whatever_is_written_is_read_or_described(raw: dict[Any, Any]) -> None:
    found, mistakes = examine_predictor("a", raw)
    assert {mistake.key for mistake in mistakes} <= {str(key) for key in raw}
    # Sent to another process and back, what was read is the same.
    if not mistakes and not _has_odd_values(raw):
        assert msgspec.convert(msgspec.to_builtins(found), PredictorSettings) == found


def _has_odd_values(value: Any) -> bool:
    """NaN is not equal to itself; bytes and tuples become other types."""
    if isinstance(value, dict):
        return any(map(_has_odd_values, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(_has_odd_values, value))
    return value != value or isinstance(value, bytes | tuple | int)


class Mode(enum.StrEnum):
    FAST = "fast"


class Anything(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model_name: Any


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    endpoints: list[str]
    max_batch_size: Annotated[int, msgspec.Meta(ge=1)] = 32
    device: Literal["cpu", "cuda"] = "cpu"
    timeout: float = 10.0
    mode: Mode = Mode.FAST

    def __post_init__(self) -> None:
        if self.device == "cuda" and self.max_batch_size > 100:
            raise ValueError("no more than 100 rows fit on the device")


def options_of(**options: Any) -> PredictorSettings:
    return PredictorSettings(alias="detector", options=options)


def test_options_become_the_structure_of_the_backend() -> None:
    found = parse_options(options_of(endpoints=["a"], timeout=3, mode="fast"), Options)
    assert found == Options(endpoints=["a"], timeout=3.0, mode=Mode.FAST)


@pytest.mark.parametrize(
    ("options", "check_id", "expected"),
    [
        (
            {"endpoints": [], "max_batchsize": 3},
            "E007",
            "INFERENCE['detector']['OPTIONS'] has no key 'max_batchsize'. "
            "Did you mean 'max_batch_size'?",
        ),
        (
            {"endpoints": [], "max_batch_size": 0},
            "E008",
            "INFERENCE['detector']['OPTIONS']['max_batch_size']: expected int >= 1, given 0 (int).",
        ),
        (
            {"endpoints": [], "max_batch_size": True},
            "E008",
            "INFERENCE['detector']['OPTIONS']['max_batch_size']: expected int, given True (bool).",
        ),
        (
            {"endpoints": "a"},
            "E008",
            "INFERENCE['detector']['OPTIONS']['endpoints']: expected list, given 'a' (str).",
        ),
        (
            {"endpoints": [], "device": "gpu"},
            "E008",
            "INFERENCE['detector']['OPTIONS']['device']: expected one of 'cpu', 'cuda', "
            "given 'gpu' (str).",
        ),
        (
            {"endpoints": [], "mode": "slow"},
            "E008",
            "INFERENCE['detector']['OPTIONS']['mode']: expected one of 'fast', given 'slow' (str).",
        ),
        (
            {"endpoints": ["a", 3]},
            "E008",
            "INFERENCE['detector']['OPTIONS']['endpoints']: expected str at [1], "
            "given ['a', 3] (list).",
        ),
        (
            {},
            "E009",
            "INFERENCE['detector']['OPTIONS'] lacks the key 'endpoints': expected list.",
        ),
        (
            {"endpoints": [], "device": "cuda", "max_batch_size": 200},
            "E008",
            "INFERENCE['detector']['OPTIONS']: no more than 100 rows fit on the device",
        ),
    ],
)
def test_a_mistake_in_the_options_is_described(
    options: dict[str, Any], check_id: str, expected: str
) -> None:
    with pytest.raises(InvalidPredictor) as caught:
        parse_options(options_of(**options), Options)
    assert str(caught.value) == expected
    assert caught.value.check_id == f"django_inference.{check_id}"
    assert caught.value.alias == "detector"


def test_an_option_that_may_be_anything_may_be_required() -> None:
    with pytest.raises(InvalidPredictor, match="lacks the key 'model_name': expected a value"):
        parse_options(options_of(), Anything)
    assert parse_options(options_of(model_name=None), Anything).model_name is None


def test_all_mistakes_in_the_options_are_found() -> None:
    mistakes = examine_options(options_of(max_batch_size="many", timeot=3), Options)
    assert [mistake.key for mistake in mistakes] == ["max_batch_size", "timeot", "endpoints"]


def test_the_host_has_defaults(settings: Any) -> None:
    assert not hasattr(settings, "INFERENCE_HOST")
    assert host_settings() == HostSettings(
        runtime_dir=default_runtime_dir(),
        python=default_python(),
        artifact_dir=default_artifact_dir(),
    )
    settings.INFERENCE_HOST = {"RUNTIME_DIR": None, "PYTHON": None, "ARTIFACT_DIR": None}
    assert host_settings().runtime_dir == default_runtime_dir()
    assert host_settings().python == default_python()


def test_every_key_of_the_host_is_read(settings: Any) -> None:
    settings.BASE_DIR = "/srv/site"
    settings.INFERENCE_HOST = {
        "AUTOSTART": False,
        "RUNTIME_DIR": Path("run"),
        "LINGER": 1,
        "GRACEFUL_TIMEOUT": 2.5,
        "START_TIMEOUT": 3,
        "PYTHON": Path("/opt/models/bin/python"),
        "ARTIFACT_DIR": "copies",
        "ARTIFACT_LIMIT": 1000,
    }
    assert host_settings() == HostSettings(
        autostart=False,
        runtime_dir="/srv/site/run",
        linger=1.0,
        graceful_timeout=2.5,
        start_timeout=3.0,
        python="/opt/models/bin/python",
        artifact_dir="/srv/site/copies",
        artifact_limit=1000,
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (["LINGER"], "INFERENCE_HOST: expected a dict, given ['LINGER'] (list)."),
        (
            {"AUTO_START": False},
            "INFERENCE_HOST has no key 'AUTO_START'. Did you mean 'AUTOSTART'?",
        ),
        ({"LINGER": -1}, "INFERENCE_HOST['LINGER']: expected float >= 0.0, given -1 (int)."),
        (
            {"AUTOSTART": "no"},
            "INFERENCE_HOST['AUTOSTART']: expected bool, given 'no' (str).",
        ),
        (
            {"RUNTIME_DIR": b"/run"},
            "INFERENCE_HOST['RUNTIME_DIR']: expected a path (str or pathlib.Path) or None, "
            "given b'/run' (bytes).",
        ),
        (
            {"LINGER": None},
            "INFERENCE_HOST['LINGER']: expected float, given None (NoneType).",
        ),
    ],
)
def test_a_mistake_in_the_settings_of_the_host_is_described(raw: Any, expected: str) -> None:
    with override_settings(INFERENCE_HOST=raw), pytest.raises(InvalidPredictor) as caught:
        host_settings()
    assert str(caught.value) == expected


def test_the_sockets_must_fit_in_the_longest_name_that_a_system_takes() -> None:
    socket = len("/workers99/ffffffffffff.sock")
    just_fits = "/" + "é" * 35 + "x"
    assert len(just_fits.encode()) + socket == 100
    with override_settings(INFERENCE_HOST={"RUNTIME_DIR": just_fits}):
        assert host_settings().runtime_dir == just_fits
    with (
        override_settings(INFERENCE_HOST={"RUNTIME_DIR": just_fits + "y"}),
        pytest.raises(InvalidPredictor, match="101 bytes.*shorter path") as caught,
    ):
        host_settings()
    assert caught.value.check_id == "django_inference.E023"


def test_a_mistake_does_not_hide_the_length_of_the_path() -> None:
    with override_settings(INFERENCE_HOST={"LINGER": "x", "RUNTIME_DIR": "/" + "x" * 100}):
        _, mistakes = examine_host()
    assert [mistake.key for mistake in mistakes] == ["LINGER", "RUNTIME_DIR"]


def test_the_runtime_folder_is_the_same_with_and_without_a_login_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/some/folder")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder, project = os.path.split(default_runtime_dir())
    assert folder == f"/some/folder/django-inference-{os.getuid()}"
    assert len(project) == 12
    assert set(project) <= set("0123456789abcdef")


def test_each_project_has_a_runtime_folder_of_its_own(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [default_runtime_dir(), default_runtime_dir()]
    assert found[0] == found[1]
    settings.BASE_DIR = "/srv/other"
    found.append(default_runtime_dir())
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "other.settings")
    found.append(default_runtime_dir())
    monkeypatch.setattr(sys, "prefix", "/srv/venv")
    found.append(default_runtime_dir())
    assert len(set(found)) == 4


def test_the_interpreter_is_never_the_server_s_own_binary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.13")
    assert default_python() == os.path.join(sys.prefix, "bin", "python")
    monkeypatch.setattr(sys, "prefix", "/srv/venv")
    assert default_python() == "/usr/bin/python3.13"
    for wrong in ("/srv/python/uwsgi", "", None):
        monkeypatch.setattr(sys, "executable", wrong)
        assert default_python() == "/srv/venv/bin/python"


def test_reading_the_settings_imports_no_numpy() -> None:
    code = (
        "import sys; from django.conf import settings; settings.configure(INFERENCE={'a': {}})\n"
        "from django_inference import conf; conf.predictor_settings(); conf.host_settings()\n"
        "print([name for name in ('numpy', 'django.db') if name in sys.modules])"
    )
    environment = {key: os.environ[key] for key in os.environ if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "[]"
