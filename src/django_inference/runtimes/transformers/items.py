"""What callers may send, by the kind of task, and what they get."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.transformers.tasks import PICTURES, SOUNDS
from django_inference.runtimes.vision.pictures import PictureReader

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of a character, each of which may be a token of its own; and tokens around a text.
MOST_BYTES, FRAME = 4, 8
#: Of a picture; what a file of a few kilobytes claims to hold may fill the memory.
MAX_PIXELS = 50_000_000
#: Lengths of an axis that the library takes for that of the colours.
_CHANNELS = (1, 3)

_TEXT_OR_CHAT = (
    "a text is wanted, or a chat: a list of messages, each with the texts `role` and `content`"
)
_SOUND = (
    "a sound is wanted: an array float32 [samples], as often a second as the model takes, or "
    '{"raw": such an array, "sampling_rate": its rate}'
)


def checker(task: str, pipeline: Any, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return what makes an item of a task into what its pipeline takes, or refuses it.

    Pipelines take texts for addresses and paths too, and would fetch what a stranger names.
    """
    if task in PICTURES:
        return _Pictures()
    if task in SOUNDS:
        return _sound
    return _Texts(task, pipeline, may_be_long="truncation" in options)


def examples(task: str) -> list[Any]:
    """Return two items of different lengths to try a model with; none where there are no such."""
    import numpy as np

    rng = np.random.default_rng(0)
    if task in PICTURES:
        return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 64), (96, 64))]
    if task in SOUNDS:
        return [rng.standard_normal(count).astype(np.float32) for count in (4_000, 16_000)]
    # What is to be filled in has to be marked, and what is generated differs by chance.
    if task in ("fill-mask", "text-generation"):
        return []
    return ["one", "another one, which has more words than the first"]


class _Pictures:
    def __init__(self) -> None:
        self._reader = PictureReader(max_pixels=MAX_PIXELS)

    def __call__(self, item: Any) -> Any:
        picture = self._reader.read(item)
        if len(picture) in _CHANNELS:
            # Whatever its type, the processors would take the first axis for the colours.
            raise InvalidInput(
                f"a picture that is {len(picture)} pixels high is not taken: the model would take "
                "its rows for its colours."
            )
        from transformers.image_transforms import to_pil_image

        return to_pil_image(picture)


def _sound(item: Any) -> Any:
    import numpy as np

    given = item if isinstance(item, Mapping) else {"raw": item}
    array = given.get("raw")
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != 1:
        raise InvalidInput(f"{_SOUND}; given: {_described(item)}.")
    array = array.astype(np.float32)
    return {**given, "raw": array} if given is item else array


class _Texts:
    """Texts, and for text generation chats: lists of messages with `role` and `content`.

    Args:
        task: of the pipeline.
        pipeline: that gets them.
        may_be_long: it cuts off what is too long.
    """

    def __init__(self, task: str, pipeline: Any, *, may_be_long: bool) -> None:
        self._is_generation = task == "text-generation"
        self._tokenizer = pipeline.tokenizer
        self._must_hold = self._tokenizer.mask_token if task == "fill-mask" else ""
        self._most = sys.maxsize if may_be_long else _most_tokens(pipeline)

    def __call__(self, item: Any) -> Any:
        if self._is_generation and _is_chat(item):
            count = self._tokens_of_chat(item)
        else:
            self._check(item)
            # Nearly all are so short that they need not be counted.
            is_short = MOST_BYTES * len(item) + FRAME <= self._most
            count = 0 if is_short else len(self._tokenizer(item, verbose=False)["input_ids"])
        # A token too many would be looked up beyond the end of a table: an error on the CPU,
        # and on a GPU the end of everything that this process could do there.
        if count > self._most:
            raise InvalidInput(
                f"the text has {count} tokens, and the model takes {self._most} at the most; "
                'with {"truncation": True} among its `options`, the rest is cut off.'
            )
        return item

    def _check(self, item: Any) -> None:
        if not isinstance(item, str):
            wanted = _TEXT_OR_CHAT if self._is_generation else "a text is wanted"
            raise InvalidInput(f"{wanted}; given: {_described(item)}.")
        try:
            item.encode()
        except UnicodeEncodeError:
            raise InvalidInput("the text is not Unicode: half a surrogate pair.") from None
        if self._is_generation and not item:
            raise InvalidInput("the text is empty: there is nothing to go on from.")
        if self._must_hold not in item:
            raise InvalidInput(f"the text must hold {self._must_hold} where a word is missing.")

    def _tokens_of_chat(self, chat: list[dict[str, Any]]) -> int:
        if not self._tokenizer.chat_template:
            raise InvalidInput("the model takes texts, not chats: it has no chat template.")
        try:
            tokens = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True)
        except Exception as error:
            # Templates are programs of the model's makers, and raise what they like.
            raise InvalidInput(f"the model's chat template refuses this: {error}") from error
        return len(tokens["input_ids"] if isinstance(tokens, Mapping) else tokens)


def plain(value: Any) -> Any:
    """Return a result as values that can be sent: no scalars of numpy, no tensors of torch."""
    if isinstance(value, str | bytes | int | float | bool) or value is None:
        return value
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    import numpy as np

    # A mask or a map of depths comes as a picture.
    array = np.asarray(value)
    return array if array.ndim else array.item()


def _is_chat(item: Any) -> bool:
    return (
        isinstance(item, list)
        and bool(item)
        and all(
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
            for message in item
        )
    )


def _most_tokens(pipeline: Any) -> int:
    config = pipeline.model.config
    limits = (
        getattr(config, "max_position_embeddings", None),
        pipeline.tokenizer.model_max_length,
    )
    return min(int(limit) for limit in limits if limit)


def _described(item: Any) -> str:
    kind = type(item).__name__
    return f"an array {item.dtype} {list(item.shape)}" if kind == "ndarray" else f"a {kind}"
