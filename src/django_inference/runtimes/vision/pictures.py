"""From what a caller sends to the pixels of a picture."""

from __future__ import annotations

import base64
import binascii
import io
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from django_inference.exceptions import InvalidInput
from django_inference.pixels import pixels_of, unreadable
from django_inference.runtimes.vision.addresses import AllowedAddresses

if TYPE_CHECKING:
    import numpy as np

    #: uint8 [height, width, 3], the channels red, green and blue.
    Picture: TypeAlias = np.ndarray[Any, Any]

#: What Pillow may take a file for. Others start programs (EPS), or nobody uploads them.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_EXPECTED = (
    "a picture is wanted: the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file, a data: URL "
    "with one, an array uint8 [height, width, 3] of red, green and blue, or a PIL image"
)


class PictureReader:
    """Reads one picture at a time, the right way up.

    Args:
        max_pixels: that a picture may have. A file of a few kilobytes can claim to hold
            billions of them.
        allow_urls: what the address of a picture on a web server must begin with.
    """

    def __init__(self, *, max_pixels: int, allow_urls: Sequence[str] = ()) -> None:
        self._max_pixels = max_pixels
        self._addresses = AllowedAddresses(allow_urls)

    def read(self, item: Any) -> Picture:
        """Return the picture.

        Args:
            item: the bytes of a file, a `data:` URL, an array, a PIL image, or an address
                where those are allowed.

        Raises:
            InvalidInput: it is none of them, too large, or cannot be read or fetched.
        """
        if isinstance(item, str):
            item = self._named(item)
        if isinstance(item, bytes | bytearray | memoryview):
            return self._decode(bytes(item))
        # Nobody can have made one without these modules.
        numpy, pil = sys.modules.get("numpy"), sys.modules.get("PIL.Image")
        if numpy is not None and isinstance(item, numpy.ndarray):
            return _checked(item)
        if pil is not None and isinstance(item, pil.Image):
            return self._upright(item)
        hint = ", whose read() would return such bytes" if hasattr(item, "read") else ""
        raise InvalidInput(f"{_EXPECTED}; given: a {type(item).__name__}{hint}.")

    def _named(self, text: str) -> bytes:
        if text.startswith("data:"):
            head, _, data = text.partition(",")
            if not head.endswith(";base64"):
                raise InvalidInput("a data: URL with a picture must be in base64.")
            try:
                return base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError) as error:
                raise InvalidInput(f"the data: URL is not base64: {error}.") from error
        if text.startswith(("http://", "https://")):
            return self._addresses.fetch(text)
        raise InvalidInput(f"{_EXPECTED}; given: a text. Paths of files are never read.")

    def _decode(self, data: bytes) -> Picture:
        from PIL import Image, UnidentifiedImageError

        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except (UnidentifiedImageError, ImportError) as error:
            # ultralytics has Pillow look for one more module before it gives up.
            raise InvalidInput(
                f"{_EXPECTED}; given: {len(data)} bytes of none of these."
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise self._too_large(str(error)) from error
        except MemoryError:
            raise
        except Exception as error:
            # Decoders raise whatever a broken file leads them to.
            raise unreadable(error) from error
        return self._upright(image)

    def _upright(self, image: Any) -> Picture:
        if image.width * image.height > self._max_pixels:
            raise self._too_large(f"it has {image.width} x {image.height}")
        return pixels_of(image)

    def _too_large(self, found: str) -> InvalidInput:
        return InvalidInput(
            f"the picture may have {self._max_pixels} pixels at the most (max_pixels): {found}."
        )


def cropped(picture: Picture, size: tuple[int, int]) -> Picture:
    """The middle of a picture, scaled so that no more than needed is cut off.

    Args:
        picture: of any size.
        size: height and width of the result.
    """
    import numpy as np
    from PIL import Image

    height, width = size
    have = picture.shape[:2]
    if height == width:
        short = min(have)
        have = (int(height * have[0] / short), int(height * have[1] / short))
    else:
        have = size
    scaled = Image.fromarray(picture).resize(have[::-1], Image.Resampling.BILINEAR)
    top, left = round((have[0] - height) / 2), round((have[1] - width) / 2)
    return np.asarray(scaled)[top : top + height, left : left + width]


def grouped(shapes: Sequence[Any], most: int | None) -> Iterator[list[int]]:
    """The places of equal shapes, in lists of at most so many."""
    places: dict[Any, list[int]] = {}
    for place, shape in enumerate(shapes):
        places.setdefault(shape, []).append(place)
    for same in places.values():
        step = most or len(same)
        for start in range(0, len(same), step):
            yield same[start : start + step]


def _checked(array: Any) -> Picture:
    if array.dtype.name != "uint8" or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        given = f"an array {array.dtype.name} {list(array.shape)}"
        raise InvalidInput(f"{_EXPECTED}; given: {given}.")
    return array  # type: ignore[no-any-return]
