"""What a visitor can click instead of uploading something.

The photos lie in the scikit-image package, the sounds are played on the spot, and the files
are the demo's own and some of its packages'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from demo_site.synthesis import wav
from demo_site.wheels import in_package

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Upload:
    """A file, whoever sent it."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True)
class Sample:
    """One link on a page.

    Attributes:
        title: of the link.
        about: what there is to see, in a few words.
        files: makes the uploads that the link stands for.
    """

    title: str
    about: str
    files: Callable[[], list[Upload]]


def _photo(name: str) -> Callable[[], list[Upload]]:
    def read() -> list[Upload]:
        content = in_package("skimage", f"data/{name}").read_bytes()
        return [Upload(name, "image/png", content)]

    return read


@lru_cache(maxsize=1)
def _chord() -> list[Upload]:
    content = wav([(midi, 0.1, 2.0) for midi in (60, 64, 67)], seconds=2.4)
    return [Upload("chord.wav", "audio/wav", content)]


@lru_cache(maxsize=1)
def _tune() -> list[Upload]:
    melody = (64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64, 64, 62, 62)
    beats = (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1.5, 0.5, 2)
    notes, now = [], 0.1
    for midi, beat in zip(melody, beats, strict=True):
        notes.append((midi, now, beat * 0.4))
        now += beat * 0.4
    return [Upload("ode-to-joy.wav", "audio/wav", wav(notes, seconds=now + 0.3))]


def _files() -> list[Upload]:
    paths = [
        HERE / "prediction.py",
        HERE / "templates/style.css",
        HERE.parent / "README.md",
        in_package("magika", "config/content_types_kb.min.json"),
        in_package("magika", "models/standard_v3_3/model.onnx"),
        in_package("skimage", "data/astronaut.png"),
        in_package("skimage", "data/rocket.jpg"),
    ]
    # The name says nothing to the network: it only ever sees the content.
    own = [Upload(path.name, "application/octet-stream", path.read_bytes()) for path in paths]
    return [*own, *_chord()]


#: For those who have no folder of photos at hand: two of these have a face.
FOLDER = (
    "astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "motorcycle_right.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip


def folder() -> list[bytes]:
    """The photos of the sample folder."""
    return [in_package("skimage", f"data/{name}").read_bytes() for name in FOLDER]


SAMPLES: Mapping[str, Mapping[str, Sample]] = {
    "faces": {
        "astronaut": Sample("Astronaut", "one face, and a helmet", _photo("astronaut.png")),
        "camera": Sample("Cameraman", "a face in profile, in grey", _photo("camera.png")),
        "coffee": Sample("Coffee", "no face at all", _photo("coffee.png")),
    },
    "notes": {
        "chord": Sample("C major", "C4, E4 and G4 at once", _chord),
        "tune": Sample("Ode to Joy", "fifteen notes in six seconds", _tune),
    },
    "types": {
        "files": Sample("Eight files", "code, data, pictures, a sound: one batch", _files),
    },
}
