"""A picture with what was found on it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_inference.runtimes.vision.pictures import Picture

#: Told apart on light and on dark pictures, white text on them included.
_COLOURS = ("#d6221f", "#1565c0", "#2e7d32", "#8e24aa", "#c75300", "#00727f", "#ad1457", "#5d4037")
_QUALITY = 90


def annotated(
    picture: Picture, result: Mapping[str, Any], form: Literal["JPEG", "PNG"] = "JPEG"
) -> bytes:
    """Return a file of the picture with a result drawn on it.

    Args:
        picture: as the model saw it.
        result: a `Result`.
        form: of the file.
    """
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    # What can be seen when the whole picture is.
    width = max(2, round(max(image.size) / 400))
    font = ImageFont.load_default(size=6 * width)
    # The surest on top.
    for box in reversed(result.get("boxes", [])):
        _draw_box(draw, box, width, font)
    for line, guess in enumerate(result.get("classes", [])):
        _write(draw, (0, line * 8 * width), guess, font)
    file = io.BytesIO()
    if form == "PNG":
        image.save(file, form)
    else:
        # Thin lines would lose their colour with a coarser one.
        image.save(file, form, quality=_QUALITY, subsampling=0)
    return file.getvalue()


def _draw_box(draw: Any, box: Mapping[str, Any], width: int, font: Any) -> None:
    colour = _COLOURS[box["class"] % len(_COLOURS)]
    left, top, right, bottom = box["box"]
    if "corners" in box:
        _outline(draw, box["corners"], colour, width)
    else:
        _outline(draw, [(left, top), (right, top), (right, bottom), (left, bottom)], colour, width)
    for polygon in box.get("polygons", ()):
        _outline(draw, polygon, colour, width)
    for x, y, *confidence in box.get("keypoints", ()):
        # A model places those that it does not see as well.
        if not confidence or confidence[0] > 0.5:
            draw.ellipse((x - width, y - width, x + width, y + width), fill=colour)
    _write(draw, (left, top), box, font)


def _outline(draw: Any, points: Any, colour: str, width: int) -> None:
    points = [tuple(point) for point in points]
    draw.line([*points, *points[:2]], fill=colour, width=width, joint="curve")


def _write(draw: Any, where: tuple[float, float], guess: Mapping[str, Any], font: Any) -> None:
    text = f"{guess['label']} {guess['confidence']:.2f}"
    _, _, width, height = draw.textbbox((0, 0), text, font=font)
    # Above the box, but on the picture.
    left, top = max(where[0], 0), max(where[1] - height, 0)
    colour = _COLOURS[guess["class"] % len(_COLOURS)]
    draw.rectangle((left, top, left + width, top + height), fill=colour)
    draw.text((left, top), text, fill="white", font=font)
