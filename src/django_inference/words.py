"""What a misspelt word was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: object, known: Iterable[str]) -> str:
    """The known name that looks most like a word, whatever the case; empty if none does."""
    by_folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(str(word).casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else ""


def suggestion(word: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, to go on a sentence with, or nothing when no name is near."""
    meant = nearest(word, known)
    return f" (did you mean {meant!r}?)" if meant else ""
