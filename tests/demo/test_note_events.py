from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from demo_site.runtimes.note_events import find_notes, name_of


def played(*notes: tuple[int, int, int], frames: int = 100, level: float = 0.8) -> tuple[Any, Any]:
    """Probabilities of notes, each given by its key, first and last frame."""
    note, onset = np.zeros((frames, 88)), np.zeros((frames, 88))
    for key, start, end in notes:
        note[start:end, key] = level
        onset[start, key] = level
    return note, onset


def spans(note: Any, onset: Any) -> list[tuple[int, int, int]]:
    return [(event.key, event.start, event.end) for event in find_notes(note, onset)]


def test_notes_come_in_the_order_they_begin_and_low_keys_first() -> None:
    notes = [(50, 5, 40), (43, 20, 60), (39, 20, 50)]

    assert spans(*played(*notes)) == [(50, 5, 40), (39, 20, 50), (43, 20, 60)]


def test_a_key_struck_again_is_a_second_note() -> None:
    assert spans(*played((40, 10, 30), (40, 30, 60))) == [(40, 10, 30), (40, 30, 60)]


def test_a_short_dip_is_bridged_and_a_long_one_ends_the_note() -> None:
    note, onset = played((40, 10, 90))
    note[30:40, 40] = 0.1
    assert spans(note, onset) == [(40, 10, 90)]

    note[30:41, 40] = 0.1
    assert spans(note, onset) == [(40, 10, 30)]


def test_a_note_that_sounds_to_the_end_ends_there() -> None:
    assert spans(*played((40, 60, 100))) == [(40, 60, 100)]


def test_what_is_too_short_or_too_faint_is_no_note() -> None:
    assert spans(*played((40, 10, 21))) == []
    assert spans(*played((40, 10, 22))) == [(40, 10, 22)]
    assert spans(*played((40, 10, 60), level=0.49)) == []


def test_what_is_faint_all_along_is_an_overtone() -> None:
    note, onset = played((40, 10, 60))
    note[10:60, 40] = 0.39
    assert spans(note, onset) == []

    note[10:60, 40] = 0.41
    assert spans(note, onset) == [(40, 10, 60)]


def test_without_a_peak_of_the_onset_there_is_no_note() -> None:
    note, onset = played((40, 10, 60))
    onset[:] = 0.0

    assert spans(note, onset) == []


def test_a_plateau_of_the_onset_is_one_note() -> None:
    note, onset = played((40, 10, 60))
    onset[10:14, 40] = 0.8

    assert spans(note, onset) == [(40, 10, 60)]


def test_the_probability_is_the_mean_of_the_note() -> None:
    note, onset = played((40, 10, 30))
    note[10:20, 40] = 0.6

    assert find_notes(note, onset)[0].probability == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("midi", "name"), [(21, "A0"), (60, "C4"), (61, "C♯4"), (69, "A4"), (108, "C8")]
)
def test_names(midi: int, name: str) -> None:
    assert name_of(midi) == name
