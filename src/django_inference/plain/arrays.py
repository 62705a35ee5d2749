"""Between arrays and the nested lists that JSON has."""

from __future__ import annotations

from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from django_inference.words import place_said

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

#: What becomes of NaN and the infinities, for which JSON has no word: `null`, or the texts
#: "NaN", "Infinity" and "-Infinity".
NonFinite: TypeAlias = Literal["null", "string"]

_DEEPEST = 32
_NUMBERS = frozenset({bool, int, float, NoneType})
_SCALARS = _NUMBERS | {str, bytes}
_NAMES: dict[type, str] = {
    dict: "objects",
    list: "lists",
    str: "texts",
    bytes: "bytes",
    bool: "numbers",
    int: "numbers",
    float: "numbers",
    NoneType: "null",
}


def to_array(value: Any, *, mixed: bool = False) -> Array:
    """Turn nested lists into an array; null among numbers is NaN.

    Level by level, so that a deep nesting costs no stack, and with texts as objects:
    numpy gives every text the room of the longest, which a short body could turn into
    gigabytes.

    Args:
        value: lists of equal lengths within a level, with the batch as the outermost.
        mixed: take values of different types side by side, and null among texts, as the
            columns of a table have them. They stay as they are.

    Returns:
        An array of bool, int64, float64, or of str or bytes objects; of any with `mixed`.

    Raises:
        ValueError: it is no such thing; the message says why.
    """
    import numpy as np

    if not isinstance(value, list):
        raise ValueError("Expected a list with one entry for each row of the batch.")
    shape = [len(value)]
    level = value
    while (kinds := set(map(type, level))) == {list}:
        lengths = set(map(len, level))
        if len(lengths) > 1:
            other = next(at for at, each in enumerate(level) if len(each) != len(level[0]))
            raise ValueError(
                f"The lists differ in length: {len(level[other])} at {place_said(other, shape)}, "
                f"{len(level[0])} at {place_said(0, shape)}."
            )
        if len(shape) == _DEEPEST:
            raise ValueError(f"The lists are nested deeper than {_DEEPEST} levels.")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    if not kinds:
        return np.zeros(shape)
    if kinds <= _NUMBERS:
        return _numbers(level, kinds).reshape(shape)
    if kinds in ({str}, {bytes}) or (mixed and kinds <= _SCALARS):
        texts = np.empty(len(level), dtype=object)
        texts[:] = level
        return texts.reshape(shape)
    found = ", ".join(sorted({_NAMES.get(kind, "other values") for kind in kinds}))
    raise ValueError(f"Expected numbers or texts side by side, found: {found}.")


def _numbers(values: list[Any], kinds: set[type]) -> Array:
    import numpy as np

    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    try:
        return np.array(values, dtype=np.int64 if kinds <= {bool, int} else np.float64)
    except OverflowError:
        raise ValueError("There is a number of more than 64 bits.") from None


def to_lists(array: Array, non_finite: NonFinite) -> Any:
    """Turn an array of numbers or times into nested lists, without a step for each element.

    A complex one becomes `{"real": …, "imag": …}`. What has another dtype comes back as
    `tolist()` leaves it.
    """
    import numpy as np

    kind = array.dtype.kind
    if kind == "f":
        return _floats(array, non_finite)
    if kind == "c":
        return {
            "real": _floats(array.real, non_finite),
            "imag": _floats(array.imag, non_finite),
        }
    if kind == "m":
        return _floats(np.asanyarray(array / np.timedelta64(1, "s")), non_finite)
    if kind == "M":
        plain = np.asarray(np.datetime_as_string(array)).astype(object)
        plain[np.isnat(array)] = None
        return plain.tolist()
    if kind == "V" and np.can_cast(array.dtype, np.float32):
        # bfloat16 and the like, which numpy knows from an extension only.
        return _floats(array.astype(np.float32), non_finite)
    return array.tolist()


def _floats(array: Array, non_finite: NonFinite) -> Any:
    import numpy as np

    if array.dtype.itemsize > 8:  # tolist() would give numpy's own numbers
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    finite = np.isfinite(array)
    if finite.all():
        return array.tolist()
    plain = array.astype(object)
    if non_finite == "null":
        plain[~finite] = None
    else:
        plain[np.isnan(array)] = "NaN"
        plain[np.isposinf(array)] = "Infinity"
        plain[np.isneginf(array)] = "-Infinity"
    return plain.tolist()
