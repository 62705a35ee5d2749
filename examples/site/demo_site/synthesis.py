"""Sounds made of sines, so that the demo has something to listen to.

Plain Python: a web worker has no use for numpy.
"""

from __future__ import annotations

import io
import math
import wave
from array import array
from collections.abc import Iterable

RATE = 44_100
#: Strength of each partial of a tone: enough to sound struck rather than beeped.
PARTIALS = (1.0, 0.2, 0.12, 0.06)


def wav(notes: Iterable[tuple[int, float, float]], seconds: float) -> bytes:
    """Play notes into a WAV file, 16 bits, mono, 44,100 Hz.

    Args:
        notes: MIDI number, start and length in seconds, of each.
        seconds: length of the sound.
    """
    sound = array("d", bytes(8 * int(seconds * RATE)))
    for midi, start, length in notes:
        first = int(start * RATE)
        for offset, value in enumerate(_tone(midi, length)):
            if first + offset < len(sound):
                sound[first + offset] += value
    loudest = max(map(abs, sound)) or 1.0
    pcm = array("h", (int(value / loudest * 26_000) for value in sound))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(pcm.tobytes())
    return file.getvalue()


def _tone(midi: int, length: float) -> Iterable[float]:
    step = 2 * math.pi * 440 * 2 ** ((midi - 69) / 12) / RATE
    count = int(length * RATE)
    fade = int(0.01 * RATE)
    for sample in range(count):
        # Ten milliseconds in and out: a hard edge would be a click on every key.
        edge = min(1.0, sample / fade, (count - sample) / fade)
        envelope = edge * math.exp(-1.2 * sample / RATE)
        yield envelope * sum(
            strength * math.sin(step * partial * sample)
            for partial, strength in enumerate(PARTIALS, start=1)
        )
