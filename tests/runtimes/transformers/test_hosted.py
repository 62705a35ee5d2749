"""A writer in the model host, read by several at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from django_inference.exceptions import InvalidInput
from tests.hosts import Host, eventually
from tests.runtimes.transformers.test_text_generation import after

pytestmark = pytest.mark.heavy


async def test_words_for_several_readers_at_once(module_host: Host, writer_folder: Path) -> None:
    spec = module_host.spec(
        "writer",
        "tests.runtimes.transformers.hosted.Writer",
        artifact=writer_folder,
    )
    options = {"threads": 1, "options": {"max_new_tokens": 60, "do_sample": False}}
    client = module_host.client(msgspec.structs.replace(spec, runtime_options=options))

    async def read(word: str) -> str:
        return "".join([chunk async for chunk in client.achunks(f" {word}")])

    async def glance(word: str) -> Any:
        async for chunk in client.achunks(f" {word}"):
            return chunk

    words = ["one", "three", "six", "nine"]
    texts, first, answer = await asyncio.gather(
        asyncio.gather(*map(read, words)), glance("two"), client.aone(" four")
    )
    assert texts == [after(word, 60) for word in words]
    assert first.strip() in ("", "three")
    assert answer == [{"generated_text": " four" + after("four", 60)}]
    with pytest.raises(InvalidInput, match="a text is wanted"):
        await anext(client.achunks(5))

    def streams() -> int:
        status = module_host.status("writer")
        assert status
        return status.replicas[0].statistics.streams

    # Who has only glanced at it has left nothing behind.
    await asyncio.to_thread(eventually, lambda: streams() == 0)
    assert await read("one") == after("one", 60)
