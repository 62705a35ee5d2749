"""The pixels of a picture that Pillow has opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput

if TYPE_CHECKING:
    import numpy as np

#: Tags of a TIFF file: how many bits a number has, and whether 0 is white.
_BITS, _PHOTOMETRIC = 258, 262


def pixels_of(image: Any) -> np.ndarray[Any, Any]:
    """Return the pixels uint8 [height, width, 3], turned as the camera was held.

    Of numbers with 9 to 16 bits, the upper 8 are taken. Transparency is dropped.

    Args:
        image: of PIL.

    Raises:
        InvalidInput: it cannot be read, or its numbers have no known range, as those of
            32 bits and floats.
    """
    import numpy as np
    from PIL import ImageOps

    # A copy, as the next line makes, does not know of its file.
    tags, is_png = getattr(image, "tag_v2", None) or {}, image.format == "PNG"
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16") or (image.mode == "I" and is_png):
            # Pillow would cut off all that is brighter than 255.
            bits = int(tags[_BITS][0]) if _BITS in tags else 16
            grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
            grey = 255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            kind = "integers of 32 bits" if image.mode == "I" else "floats"
            raise InvalidInput(
                f"a picture of {kind} does not say which of them is white: give it as an array "
                "uint8 [height, width, 3]"
            )
        if "transparency" in image.info:
            # Without this step, Pillow warns of palettes.
            image = image.convert("RGBA")
        return np.asarray(image.convert("RGB"))
    except (MemoryError, InvalidInput):
        raise
    except Exception as error:
        # Decoders raise whatever a broken file leads them to.
        raise unreadable(error) from error


def unreadable(error: Exception) -> InvalidInput:
    """Return what is said of a file that a decoder has choked on."""
    return InvalidInput(f"the picture cannot be read: {type(error).__name__}: {error}.")
