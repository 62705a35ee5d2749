"""The shape of nested lists of numbers, told from their text without reading a number."""

from __future__ import annotations

from django_inference.wire.nesting import DEEPEST

_SPACE = b" \t\r\n"
_NUMBERS = b"0123456789+-.eE" + _SPACE


def shape_of(text: bytes) -> tuple[int, ...] | None:
    """The shape that nested lists of numbers have if they are regular.

    Whether they are is not looked at: the first list of each level stands for the others.

    Args:
        text: valid JSON.

    Returns:
        The length of every axis; None for what is no list, holds other things than numbers, or
        is seen to be irregular.
    """
    # Brackets and commas; whatever else is left is no number.
    bones = text.translate(None, _NUMBERS)
    depth = len(bones) - len(bones.lstrip(b"["))
    if not 0 < depth <= DEEPEST or bones.translate(None, b"[],"):
        return None
    if text[: text.find(b"]")].rstrip(_SPACE).endswith(b"["):
        return None  # an empty list and one number have the same bones
    shape: list[int] = []
    inner = 0  # bytes of one entry of the level, which for a number are none
    for level in range(depth):
        # The first list of a level ends where so many close at once for the first time.
        end = bones.find(b"]" * (level + 1)) + level + 1
        start = depth - 1 - level
        if end <= level:
            return None
        length, rest = divmod(end - start - 1, inner + 1)
        if rest or not length:
            return None
        shape.append(length)
        inner = end - start
    return tuple(reversed(shape)) if inner == len(bones) else None
