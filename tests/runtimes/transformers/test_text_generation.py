"""Texts that are gone on with: whole, in batches, and piece by piece."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.transformers import TransformersRuntime
from tests.runtimes.transformers.conftest import WORDS, Load

pytestmark = pytest.mark.heavy


def after(word: str, count: int) -> str:
    """The words that follow one."""
    start = WORDS.index(word) + 1
    return "".join(f" {each}" for each in islice(cycle(WORDS), start, start + count))


@contextmanager
def counted(runtime: TransformersRuntime) -> Iterator[list[Any]]:
    """Counts how often the model runs."""
    runs: list[Any] = []
    handle = runtime._pipeline.model.register_forward_hook(lambda *said: runs.append(1))
    yield runs
    handle.remove()


def test_it_goes_on_with_a_text(writer: TransformersRuntime) -> None:
    (answer,) = writer.predict([" one two"])
    assert answer == [{"generated_text": " one two" + after("two", 12)}]
    assert writer.device == "cpu"
    assert writer.framework.startswith("transformers ")
    assert ", torch " in writer.framework


def test_texts_of_several_lengths_share_a_run_and_get_the_same_answers(
    writer: TransformersRuntime,
) -> None:
    texts = [" one", " three four five six seven eight", " nine ten . one", " ten"]
    alone = [writer.predict([text])[0] for text in texts]
    with counted(writer) as runs:
        assert writer.predict(texts) == alone
    assert len(runs) == 12
    for text, (said,) in zip(texts, alone, strict=True):
        assert said["generated_text"] == text + after(text.split()[-1], 12)


def test_chats_and_texts_may_come_together(writer: TransformersRuntime) -> None:
    chat = [{"role": "user", "content": " one"}, {"role": "user", "content": "two three"}]
    items = [" six", chat, " nine", chat]
    answers = writer.predict([writer.preprocess(item) for item in items])
    assert answers[0] == [{"generated_text": " six" + after("six", 12)}]
    assert answers[1] == answers[3]
    (said,) = answers[1]
    assert said["generated_text"][:2] == chat
    assert said["generated_text"][2]["role"] == "assistant"
    assert "five six seven" in said["generated_text"][2]["content"]
    assert len(chat) == 2


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (5, "a text is wanted, or a chat.*given: a int"),
        ("", "the text is empty"),
        ([], "given: a list"),
        ([{"role": "user"}], "given: a list"),
        ([{"role": "user", "content": [{"type": "image", "url": "http://x/"}]}], "a list"),
        (" one" * 97, "has 97 tokens, and the model takes 96 at the most"),
        ([{"role": "user", "content": " one" * 97}], "and the model takes 96 at the most"),
    ],
)
def test_what_does_not_fit_is_refused(writer: TransformersRuntime, item: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        writer.preprocess(item)


def test_what_fits_is_left_as_it_is(writer: TransformersRuntime) -> None:
    for text in (" one", "ä😀" * 10, " one" * 50):
        assert writer.preprocess(text) == text


def test_a_model_without_a_chat_template_takes_no_chats(writer: TransformersRuntime) -> None:
    chat = [{"role": "user", "content": " one"}]
    tokenizer = writer._pipeline.tokenizer
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        with pytest.raises(InvalidInput, match="it has no chat template"):
            writer.preprocess(chat)
        tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
        with pytest.raises(InvalidInput, match="refuses this: roles must alternate"):
            writer.preprocess(chat)
    finally:
        tokenizer.chat_template = template


def test_an_option_that_the_library_does_not_know_fails_the_load(
    load: Load, writer_folder: Path
) -> None:
    with pytest.raises(ValueError, match="max_new_token"):
        load(writer_folder, options={"max_new_token": 5})


# Piece by piece.


def test_the_words_come_one_by_one(writer: TransformersRuntime) -> None:
    words = list(writer.stream(" one two"))
    assert "".join(words) == after("two", 12)
    assert len(words) >= 12
    assert all(words)


def test_a_chat_is_streamed_too(writer: TransformersRuntime) -> None:
    words = list(writer.stream([{"role": "user", "content": " one two three"}]))
    assert "five six seven" in "".join(words)


def test_nothing_is_made_ahead_of_who_reads(writer: TransformersRuntime) -> None:
    with counted(writer) as runs:
        words = writer.stream(" one")
        assert runs == []
        for _ in range(4):
            next(words)
            before = len(runs)
            time.sleep(0.02)
            assert len(runs) == before
        # Other calls run between two words.
        assert writer.predict([" six"])[0][0]["generated_text"] == " six" + after("six", 12)
        words.close()


def test_who_wants_no_more_ends_the_generation(writer: TransformersRuntime) -> None:
    with counted(writer) as runs:
        words = writer.stream(" one")
        for _ in range(3):
            next(words)
        words.close()
        made = len(runs)
        assert made < 12
        time.sleep(0.05)
        assert len(runs) == made
    assert all(thread.name != "inference-pulled" for thread in threading.enumerate())


def test_many_streams_at_once_keep_to_themselves(writer: TransformersRuntime) -> None:
    begins = WORDS[:10]
    streams = [writer.stream(f" {word}") for word in begins]
    said = [""] * 10
    is_over = [False] * 10
    for _ in range(40):
        for index, stream in enumerate(streams):
            chunk = next(stream, None)
            is_over[index] = chunk is None
            said[index] += chunk or ""
    assert all(is_over)
    assert said == [after(word, 12) for word in begins]


def test_what_the_library_raises_reaches_the_reader(load: Load, writer_folder: Path) -> None:
    runtime = load(writer_folder, options={"max_new_tokens": 5, "num_beams": 2})
    with pytest.raises(ValueError, match="only supports batch size 1"):
        next(runtime.stream(" one"))
    assert len(runtime.predict([" one"])) == 1
