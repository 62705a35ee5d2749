"""The notes in a sound, by Spotify's basic-pitch: a TensorFlow SavedModel.

The built-in `tensorflow` runtime loads and runs the model. This subclass adds what lies
around it: a sound file becomes windows of samples, probabilities become notes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from demo_site.runtimes.note_events import FIRST_KEY, find_notes, name_of
from django_inference import InvalidInput, Signature, TensorSpec
from django_inference.artifacts import Artifact
from django_inference.runtimes.tensorflow import TensorFlowRuntime

if TYPE_CHECKING:
    import numpy as np

    from django_inference.tensors import Tensors

    Array = np.ndarray[Any, Any]

#: Samples a second that the network was trained on.
RATE = 22_050
#: Samples of one window, and the frames that come out of it.
WINDOW, FRAMES = 43_844, 172
#: Frames at either end of a window that its neighbour knows better, and the samples by
#: which two windows overlap for it.
EDGE = 15
OVERLAP = 2 * EDGE * 256
STEP = WINDOW - OVERLAP
KEPT = FRAMES - 2 * EDGE


class NoteFinder(TensorFlowRuntime):
    """Sound files in, notes out.

    A row is one sound: as many windows as it is long. Sounds with the same number of
    windows share a batch.

    Args:
        longest: seconds; a longer sound is refused.
        **options: of `TensorFlowRuntime`.
    """

    requires = (*TensorFlowRuntime.requires, "soundfile", "scipy")

    def __init__(self, longest: float = 60.0, **options: Any) -> None:
        super().__init__(**options)
        self._longest = longest

    def load(self, artifact: Artifact | None) -> None:
        """Load the SavedModel; declare rows of many windows instead of its single ones."""
        super().load(artifact)
        samples = TensorSpec("samples", "int64", (-1,))
        self.signature = Signature(
            inputs=(TensorSpec("windows", "float32", (-1, -1, WINDOW, 1)), samples),
            outputs=(
                TensorSpec("note", "float32", (-1, -1, FRAMES, 88)),
                TensorSpec("onset", "float32", (-1, -1, FRAMES, 88)),
                samples,
            ),
        )

    def warmup(self) -> None:
        """Run one silent window: a sound's length varies, so there is no example."""
        import numpy as np

        silence = np.zeros((1, 1, WINDOW, 1), "float32")
        self.predict({"windows": silence, "samples": np.array([WINDOW], "int64")})

    def preprocess(self, item: Any) -> Tensors:
        """Decode a sound and cut it into windows.

        Args:
            item: the bytes of a WAV, FLAC, OGG or MP3 file, of any rate and channels.

        Returns:
            `windows` float32 [windows, 43844, 1] and `samples`, their length together.

        Raises:
            InvalidInput: it is no sound, or it is too long.
        """
        import numpy as np

        sound = self._decode(item)
        # Half an overlap of silence first, because the first frames of a window are cut off.
        padded = np.concatenate([np.zeros(OVERLAP // 2, "float32"), sound])
        count = -(-len(padded) // STEP)
        padded = np.pad(padded, (0, (count - 1) * STEP + WINDOW - len(padded)))
        views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
        return {"windows": views[:, :, None], "samples": np.array(len(sound), "int64")}

    def predict(self, inputs: Tensors) -> Tensors:
        """Run all the windows of all the sounds in one call."""
        windows = inputs["windows"]
        sounds, count = windows.shape[:2]
        outputs = super().predict({"input_2": windows.reshape(sounds * count, WINDOW, 1)})
        shape = (sounds, count, FRAMES, 88)
        return {
            "note": outputs["note"].reshape(shape),
            "onset": outputs["onset"].reshape(shape),
            "samples": inputs["samples"],
        }

    def postprocess(self, result: Any) -> dict[str, Any]:
        """Turn the probabilities of one sound into its notes, in the order they begin."""
        seconds = int(result["samples"]) / RATE
        frame = STEP / KEPT / RATE
        frames = round(seconds / frame)
        events = find_notes(_unwrap(result["note"], frames), _unwrap(result["onset"], frames))
        notes = [
            {
                "midi": FIRST_KEY + event.key,
                "name": name_of(FIRST_KEY + event.key),
                "start": round(event.start * frame, 3),
                "end": round(min(event.end * frame, seconds), 3),
                "probability": round(event.probability, 3),
            }
            for event in events
        ]
        return {"seconds": round(seconds, 3), "notes": notes}

    def _decode(self, item: Any) -> Array:
        import numpy as np
        import soundfile
        from scipy.signal import resample_poly

        if not isinstance(item, bytes):
            raise InvalidInput(f"a sound is sent as bytes, not as {type(item).__name__}.")
        try:
            with soundfile.SoundFile(io.BytesIO(item)) as file:
                rate = file.samplerate
                if file.frames > self._longest * rate:
                    raise InvalidInput(f"a sound may last {self._longest:g} seconds at the most.")
                sound: Array = file.read(dtype="float32", always_2d=True).mean(axis=1)
        except soundfile.LibsndfileError as error:
            raise InvalidInput(
                "this is not a sound that can be read (WAV, FLAC, OGG, MP3)."
            ) from error
        if not len(sound) or not np.isfinite(sound).all():
            raise InvalidInput("this sound holds no samples, or some that are not numbers.")
        if rate != RATE:
            sound = resample_poly(sound, RATE, rate).astype("float32")
        return sound


def _unwrap(output: Array, frames: int) -> Array:
    """Join the windows `[windows, 172, 88]` of one sound into `[frames, 88]`."""
    joined = output[:, EDGE:-EDGE].reshape(-1, output.shape[-1])
    return joined[:frames]
