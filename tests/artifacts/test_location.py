from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_inference.artifacts.location import Location, is_remote, locate


@pytest.mark.parametrize(
    ("text", "scheme", "alias", "path", "name"),
    [
        ("/models/yolo.onnx", "", "", "/models/yolo.onnx", "yolo.onnx"),
        ("/odd:name/yolo.onnx", "", "", "/odd:name/yolo.onnx", "yolo.onnx"),
        ("C:\\models\\yolo.onnx", "", "", "C:\\models\\yolo.onnx", "C:\\models\\yolo.onnx"),
        ("storage:models/3/", "storage", "default", "models/3/", "3"),
        ("storage:backups:a/b.onnx", "storage", "backups", "a/b.onnx", "b.onnx"),
        ("storage:default:a:b.onnx", "storage", "default", "a:b.onnx", "a:b.onnx"),
        ("cache:models/detector", "cache", "models", "detector", "detector"),
        ("cache:models/a/b:c", "cache", "models", "a/b:c", "b:c"),
        ("s3://bucket/a/b.onnx", "s3", "", "s3://bucket/a/b.onnx", "b.onnx"),
        (
            "HTTPS://h/m%20n.onnx?sig=/x.zip",
            "https",
            "",
            "HTTPS://h/m%20n.onnx?sig=/x.zip",
            "m n.onnx",
        ),
        ("memory://m.tgz", "memory", "", "memory://m.tgz", "m.tgz"),
        ("zip://m.onnx::s3://b/c.zip", "zip", "", "zip://m.onnx::s3://b/c.zip", "m.onnx"),
    ],
)
def test_what_a_model_may_say(text: str, scheme: str, alias: str, path: str, name: str) -> None:
    found = locate(text)
    assert found == (text, scheme, alias, path)
    assert found.name == name
    assert found.is_remote == is_remote(text) == bool(scheme)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("storage:", "storage:ALIAS:path"),
        ("storage::a", "storage:ALIAS:path"),
        ("storage:backups:", "storage:ALIAS:path"),
        ("storage:/etc/passwd", "storage:ALIAS:path"),
        ("storage://default/a", "storage:ALIAS:path"),
        ("storage:a/../../b", "storage:ALIAS:path"),
        ("cache:", "cache:ALIAS/key"),
        ("cache:default", "cache:ALIAS/key"),
        ("cache:/key", "cache:ALIAS/key"),
        ("cache:default/a b", "cache:ALIAS/key"),
        ("cache:default/" + "k" * 151, "1 to 150"),
        ("s3://", "names no file"),
        ("https://example.com", "https://host/path"),
        ("https://example.com/models/", "https://host/path"),
        ("http:///m.onnx", "http://host/path"),
    ],
)
def test_what_names_nothing_is_refused_with_the_right_spelling(text: str, said: str) -> None:
    assert is_remote(text)
    with pytest.raises(ValueError, match="names no") as caught:
        locate(text)
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/models/a.onnx", "/models/a.onnx"),
        ("cache:default/a", "cache:default/a"),
        ("https://me:secret@h/m.onnx?X-Signature=secret#x", "https://…@h/m.onnx?…"),
        ("https://secret@h/m.onnx", "https://…@h/m.onnx"),
        ("abfs://container@account/m.onnx", "abfs://container@account/m.onnx"),
        ("ftp://me:secret@h/m.onnx", "ftp://…@h/m.onnx"),
        ("zip://m.onnx::ftp://me:secret@h/c.zip", "zip://m.onnx::ftp://…@h/c.zip"),
        ("https://h/a@b.onnx", "https://h/a@b.onnx"),
    ],
)
def test_secrets_in_a_url_are_not_shown(text: str, shown: str) -> None:
    assert str(locate(text)) == shown


def test_archives_are_those_that_are_fetched() -> None:
    assert locate("s3://b/m.tar.gz").is_archive
    assert locate("https://h/M.ZIP?x=1").is_archive
    assert not locate("/models/m.zip").is_archive
    assert not locate("s3://b/m.keras").is_archive


def test_a_chain_has_every_scheme() -> None:
    assert locate("zip://m.onnx::s3://b/c.zip").schemes == ["zip", "s3"]
    assert locate("simplecache::S3://b/c.zip").schemes == ["simplecache", "s3"]


@given(st.one_of(st.text(), st.from_regex(r"(storage|cache|https?|s3|\w+)(:|::|://).*")))
@example("storage:a:")
@example("x:://y")
def test_any_text_is_a_location_or_a_value_error(text: str) -> None:
    try:
        found = locate(text)
    except ValueError:
        assert is_remote(text)
        return
    assert isinstance(found, Location)
    assert found.is_remote == is_remote(text)
    assert str(found) and isinstance(found.name, str) or not text
    assert all(scheme == scheme.lower() for scheme in found.schemes)
