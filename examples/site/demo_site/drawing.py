"""Where the shapes of a result go; the templates turn them into SVG.

Only numbers and texts: the templates decide on colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from demo_site.runtimes.note_events import name_of

# --- Faces -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FaceShape:
    """One face, in pixels of the photo."""

    x: float
    y: float
    width: float
    height: float
    corners: str
    points: list[tuple[float, float]]
    radius: float
    percent: str
    label_x: float
    label_y: float


@dataclass(frozen=True)
class Overlay:
    """What is drawn over a photo; `unit` is the size of its text."""

    width: int
    height: int
    unit: float
    tag_width: float
    tag_height: float
    tag_middle: float
    tag_base: float
    faces: list[FaceShape]


def overlay(result: dict[str, Any]) -> Overlay:
    """Place the boxes, landmarks and labels over the photo."""
    width, height = result["width"], result["height"]
    unit = round(max(width, height) / 38, 1)
    tag_width, tag_height = round(unit * 4.5, 1), round(unit * 1.6, 1)
    faces = []
    for face in result["faces"]:
        x, y, w, h = face["box"]
        above = y - tag_height - unit * 0.3
        faces.append(
            FaceShape(
                x=x,
                y=y,
                width=w,
                height=h,
                corners=_corners(x, y, w, h),
                points=[(px, py) for px, py in face["landmarks"].values()],
                radius=round(max(w / 36, unit / 8), 1),
                percent=percent(face["probability"]),
                # The label of a face at the upper edge goes below it, to stay in the photo.
                label_x=round(min(x, width - tag_width), 1),
                label_y=round(above if above >= 0 else y + h + unit * 0.3, 1),
            )
        )
    return Overlay(
        width=width,
        height=height,
        unit=unit,
        tag_width=tag_width,
        tag_height=tag_height,
        tag_middle=round(tag_width / 2, 1),
        tag_base=round(tag_height / 2 + unit * 0.36, 1),
        faces=faces,
    )


def _corners(x: float, y: float, w: float, h: float) -> str:
    """Four brackets: a face is seen better when nothing runs through it."""
    arm = round(min(w, h) / 4, 1)
    right, bottom = round(x + w, 1), round(y + h, 1)
    return (
        f"M{x} {y + arm:.1f}V{y}H{x + arm:.1f}"
        f"M{right - arm:.1f} {y}H{right}V{y + arm:.1f}"
        f"M{right} {bottom - arm:.1f}V{bottom}H{right - arm:.1f}"
        f"M{x + arm:.1f} {bottom}H{x}V{bottom - arm:.1f}"
    )


# --- Notes -----------------------------------------------------------------------------

ROW, KEYS, ROLL, FOOT = 20, 56, 720, 28
BLACK = {1, 3, 6, 8, 10}


@dataclass(frozen=True)
class Bar:
    """One note, or one row of the roll behind it."""

    x: float
    y: float
    width: float
    text: str
    is_black: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Roll:
    """A piano roll: time to the right, pitch upwards."""

    width: int
    height: int
    bottom: int
    row: int
    key: int
    key_end: int
    foot: int
    rows: list[Bar]
    ticks: list[tuple[float, str]]
    notes: list[Bar]


def piano_roll(result: dict[str, Any]) -> Roll:
    """Place the notes on a roll with two keys of air above and below."""
    notes = result["notes"]
    seconds = max(result["seconds"], 0.1)
    keys = [note["midi"] for note in notes] or [60]
    low, high = min(keys) - 2, max(max(keys) + 2, min(keys) + 9)
    scale = (ROLL - KEYS) / seconds
    rows = [
        Bar(KEYS, (high - midi) * ROW, ROLL - KEYS, name_of(midi), midi % 12 in BLACK)
        for midi in range(high, low - 1, -1)
    ]
    height = len(rows) * ROW
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60) if seconds / step <= 12)
    ticks = [
        (round(KEYS + tick * step * scale, 1), f"{tick * step:g} s")
        for tick in range(int(seconds / step) + 1)
    ]
    bars = [
        Bar(
            x=round(KEYS + note["start"] * scale, 1),
            y=(high - note["midi"]) * ROW + 2,
            width=round(max((note["end"] - note["start"]) * scale, 3), 1),
            text=note["name"],
            opacity=round(0.35 + 0.65 * note["probability"], 2),
        )
        for note in notes
    ]
    return Roll(
        width=ROLL,
        height=height + FOOT,
        bottom=height,
        row=ROW,
        key=KEYS,
        key_end=KEYS - 8,
        foot=height + 18,
        rows=rows,
        ticks=ticks,
        notes=bars,
    )


# --- File types ------------------------------------------------------------------------


@dataclass(frozen=True)
class Guess:
    """One label that the network considered; `share` is out of 100."""

    label: str
    share: float
    percent: str


def guesses(result: dict[str, Any], least: float = 0.001) -> list[Guess]:
    """The labels worth a bar: the best one, and those that had a chance."""
    found = result["guesses"]
    return [
        Guess(guess["label"], round(guess["score"] * 100, 2), percent(guess["score"]))
        for position, guess in enumerate(found)
        if position == 0 or guess["score"] >= least
    ]


def percent(value: float) -> str:
    """A probability, as people say it; rounded down, so that only certainty is 100."""
    return f"{math.floor(value * 1000) / 10:.1f} %"
