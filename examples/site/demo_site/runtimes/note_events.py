"""From probabilities to notes.

A plainer cousin of basic-pitch's own `note_creation`, which would need librosa and more. A
note begins where the onset probability of a key peaks, lasts while its note probability
stays up (short dips are bridged), and ends at the latest where the same key is struck
again. What is too short is dropped, and so is what is faint all along: an overtone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

#: MIDI number of the lowest key of a piano.
FIRST_KEY = 21
NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")


class NoteEvent(NamedTuple):
    """One note.

    Attributes:
        start: frame of its onset.
        end: first frame after it.
        key: of the piano, 0 to 87.
        probability: the mean while it sounds.
    """

    start: int
    end: int
    key: int
    probability: float


def find_notes(
    note: Array,
    onset: Array,
    *,
    onset_threshold: float = 0.5,
    note_threshold: float = 0.3,
    faintest: float = 0.4,
    shortest: int = 11,
    dip: int = 11,
) -> list[NoteEvent]:
    """Find the notes, in the order they begin.

    Args:
        note: probability that a key sounds, `[frames, 88]`.
        onset: probability that a key is struck, `[frames, 88]`.
        onset_threshold: what a peak of `onset` must reach.
        note_threshold: below it, a key is silent.
        faintest: what the mean of `note` over a note must reach.
        shortest: frames (of 11.6 ms) that a note must exceed.
        dip: silent frames after which a note is over.
    """
    events = []
    for key in range(note.shape[1]):
        peaks = _peaks(onset[:, key], onset_threshold)
        for start, limit in pairwise([*peaks, len(note)]):
            end = _end(note[start:limit, key], note_threshold, dip) + start
            if end - start <= shortest:
                continue
            probability = float(note[start:end, key].mean())
            if probability >= faintest:
                events.append(NoteEvent(start, end, key, probability))
    return sorted(events, key=lambda event: (event.start, event.key))


def name_of(midi: int) -> str:
    """The name of a note, such as C4 for 60."""
    octave, step = divmod(midi, 12)
    return f"{NAMES[step]}{octave - 1}"


def _peaks(values: Array, threshold: float) -> list[int]:
    """Frames where the values peak; of a plateau, the first."""
    import numpy as np

    edged = np.concatenate([[-1.0], values, [-1.0]])
    is_peak = (edged[1:-1] > edged[:-2]) & (edged[1:-1] >= edged[2:]) & (values >= threshold)
    return [int(frame) for frame in np.flatnonzero(is_peak)]


def _end(values: Array, threshold: float, dip: int) -> int:
    """First frame after the note that begins with the first value."""
    silent = 0
    for frame, value in enumerate(values):
        silent = silent + 1 if value < threshold else 0
        if silent == dip:
            return frame + 1 - dip
    return len(values) - silent
