"""The site's runtimes on their real models, in this process."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo_site.samples import SAMPLES
from django_inference import InvalidInput, Predictor

pytestmark = [
    pytest.mark.heavy,
    # TensorFlow and Keras, as they are imported.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def sample(alias: str, name: str) -> bytes:
    return SAMPLES[alias][name].files()[0].content


class TestFileTypes:
    @pytest.fixture(scope="class")
    def types(self, declared: Callable[[str], Predictor]) -> Predictor:
        return declared("types")

    @pytest.fixture(scope="class")
    def magika(self) -> Any:
        return pytest.importorskip("magika").Magika()

    def contents(self) -> list[bytes]:
        chance = random.Random(1)
        files = [upload.content for upload in SAMPLES["types"]["files"].files()]
        texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
        whole = files[0]
        return [
            *(b"", b"a", b"abc\xff", b"1234567", b"12345678", b"  \n\n  ", b"  hello  \n"),
            *(b" " * 5000, b" " * 5000 + b"import os", b"import os" + b" " * 5000),
            *(b"\xff" * 9, b" \xff \xfe " * 900, bytes(5000)),
            *(chance.randbytes(size) for size in (10, 1000, 1024, 2048, 4095, 4096, 4097, 9000)),
            *(whole[:size] for size in (20, 1023, 1024, 1025, 2047, 2048, 4096)),
            *files,
            *texts,
        ]

    def test_the_answers_are_those_of_magika_itself(self, types: Predictor, magika: Any) -> None:
        for content in self.contents():
            found = types.predict_one(content)
            expected = magika.identify_bytes(content).prediction

            about = expected.output
            assert found["label"] == str(about.label)
            assert found["score"] == pytest.approx(expected.score, abs=1e-5)
            assert found["mime_type"] == about.mime_type
            assert found["group"] == about.group
            assert found["description"] == about.description
            assert found["is_text"] == about.is_text

    def test_a_batch_gives_every_file_its_own_label(self, types: Predictor) -> None:
        contents = self.contents()

        together = types.predict(contents)

        assert [found["label"] for found in together] == [
            types.predict_one(content)["label"] for content in contents
        ]

    def test_text_is_refused_since_a_file_is_bytes(self, types: Predictor) -> None:
        with pytest.raises(InvalidInput, match="as bytes, not as str"):
            types.predict_one("text")


class TestNotes:
    @pytest.fixture(scope="class")
    def notes(self, declared: Callable[[str], Predictor]) -> Predictor:
        return declared("notes")

    @pytest.mark.parametrize(
        ("kind", "rate", "channels"),
        [("WAV", 22_050, 1), ("WAV", 8000, 2), ("FLAC", 48_000, 2), ("OGG", 44_100, 1)],
    )
    def test_a_chord_in_any_format_is_its_three_notes(
        self, notes: Predictor, kind: str, rate: int, channels: int
    ) -> None:
        import soundfile
        from scipy.signal import resample_poly

        samples, from_rate = soundfile.read(io.BytesIO(sample("notes", "chord")))
        resampled = resample_poly(samples, rate, from_rate) * 0.9
        file = io.BytesIO()
        soundfile.write(file, np.stack([resampled] * channels, axis=1), rate, format=kind)

        found = notes.predict_one(file.getvalue())

        assert sorted(note["midi"] for note in found["notes"]) == [60, 64, 67]
        assert found["seconds"] == pytest.approx(2.4, abs=0.01)

    def test_a_tune_over_several_windows_is_written_down_in_time(self, notes: Predictor) -> None:
        found = notes.predict_one(sample("notes", "tune"))["notes"]

        melody = [64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64, 64, 62, 62]
        beats = [*range(13), 13.5, 14]
        assert [note["midi"] for note in found] == melody
        starts = [note["start"] for note in found]
        assert starts == pytest.approx([0.1 + beat * 0.4 for beat in beats], abs=0.03)
        assert all(note["start"] < note["end"] for note in found)

    def test_sounds_of_different_lengths_in_one_call(self, notes: Predictor) -> None:
        chord, tune = sample("notes", "chord"), sample("notes", "tune")

        together = notes.predict([chord, tune, chord])

        assert [len(found["notes"]) for found in together] == [3, 15, 3]
        assert [found["seconds"] for found in together] == [2.4, 6.8, 2.4]

    @pytest.mark.parametrize("seconds", [0.001, 1.0, 60.0])
    def test_silence_has_no_notes(self, notes: Predictor, seconds: float) -> None:
        assert notes.predict_one(_wav(np.zeros(round(seconds * 22_050))))["notes"] == []

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "not a sound that can be read"),
            (b"RIFF and then nothing", "not a sound that can be read"),
            ("text", "as bytes, not as str"),
        ],
    )
    def test_what_is_no_sound_is_refused(
        self, notes: Predictor, content: Any, message: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            notes.predict_one(content)

    @pytest.mark.parametrize(
        ("samples", "message"),
        [
            (np.zeros(0), "no samples"),
            (np.full(22_050, np.nan), "not numbers"),
            (np.zeros(61 * 22_050), "60 seconds at the most"),
        ],
    )
    def test_a_sound_that_cannot_be_used_is_refused(
        self, notes: Predictor, samples: Any, message: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            notes.predict_one(_wav(samples))


def _wav(samples: Any) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, 22_050, format="WAV", subtype="FLOAT")
    return file.getvalue()


class TestFaces:
    @pytest.fixture(scope="class")
    def faces(self, declared: Callable[[str], Predictor]) -> Predictor:
        return declared("faces")

    @pytest.fixture
    def astronaut(self) -> Image.Image:
        return Image.open(io.BytesIO(sample("faces", "astronaut"))).convert("RGB")

    def test_the_astronaut_has_one_face(self, faces: Predictor) -> None:
        found = faces.predict_one(sample("faces", "astronaut"))

        assert (found["width"], found["height"]) == (512, 512)
        [face] = found["faces"]
        assert face["probability"] > 0.99
        assert face["box"] == pytest.approx([182, 64, 83, 107], abs=4)
        assert face["landmarks"]["nose"] == pytest.approx([224, 126], abs=4)
        assert set(map(type, [face["probability"], *face["box"]])) == {float}

    def test_a_photo_without_a_face(self, faces: Predictor) -> None:
        assert faces.predict_one(sample("faces", "coffee"))["faces"] == []

    def test_photos_in_one_call_are_answered_as_if_they_were_alone(self, faces: Predictor) -> None:
        names = ["coffee", "astronaut", "camera", "coffee"]

        together = faces.predict([sample("faces", name) for name in names])

        assert together == [faces.predict_one(sample("faces", name)) for name in names]
        assert [len(found["faces"]) for found in together] == [0, 1, 1, 0]

    def test_the_boxes_of_a_photo_that_was_shrunk_are_those_of_the_original(
        self, faces: Predictor, astronaut: Image.Image
    ) -> None:
        found = faces.predict_one(_png(astronaut.resize((2048, 2048))))

        assert (found["width"], found["height"]) == (2048, 2048)
        assert found["faces"][0]["box"] == pytest.approx([728, 256, 332, 428], abs=60)

    def test_a_photo_is_turned_as_its_camera_says(
        self, faces: Predictor, astronaut: Image.Image
    ) -> None:
        lying = astronaut.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # shown upright by a quarter turn clockwise
        file = io.BytesIO()
        lying.save(file, "JPEG", exif=exif, quality=95)

        [face] = faces.predict_one(file.getvalue())["faces"]

        assert face["box"] == pytest.approx([182, 64, 83, 107], abs=8)

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
    def test_photos_of_any_colours(
        self, faces: Predictor, astronaut: Image.Image, mode: str
    ) -> None:
        assert len(faces.predict_one(_png(astronaut.convert(mode)))["faces"]) == 1

    def test_a_photo_of_one_pixel(self, faces: Predictor) -> None:
        found = faces.predict_one(_png(Image.new("RGB", (1, 1))))

        assert found == {"width": 1, "height": 1, "faces": []}

    def test_what_is_no_photo_is_refused(self, faces: Predictor, astronaut: Image.Image) -> None:
        for content in (b"", b"no photo", _png(astronaut)[:20_000]):
            with pytest.raises(InvalidInput, match="not a picture that can be read"):
                faces.predict_one(content)
        with pytest.raises(InvalidInput, match="as bytes, not as list"):
            faces.predict_one([1, 2, 3])

    def test_a_photo_of_too_many_pixels_is_refused_unread(self, faces: Predictor) -> None:
        with pytest.raises(InvalidInput, match="12000×5000 pixels is too large"):
            faces.predict_one(_png(Image.new("1", (12_000, 5_000))))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
