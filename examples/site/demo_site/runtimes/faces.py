"""Faces in a photo, by MTCNN: three small TensorFlow networks, one behind the other.

MTCNN comes as code with its weights inside, not as an artifact that a built-in runtime
could load. So this is a runtime of the site's own, without `MODEL`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from django_inference import InvalidInput, Runtime
from django_inference.artifacts import Artifact

if TYPE_CHECKING:
    import numpy as np
    from mtcnn import MTCNN

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

#: What every browser can show, so that the page can draw on it.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class FaceDetector(Runtime):
    """Photos in, boxes and landmarks out.

    Args:
        longest_side: pixels; a larger photo is shrunk before the search. The boxes are
            still those of the photo as it was sent.
        largest_photo: pixels, width × height; a larger photo is refused unread.
    """

    requires = ("mtcnn", "tensorflow", "PIL")

    def __init__(self, longest_side: int = 1024, largest_photo: int = 50_000_000) -> None:
        self._longest_side = longest_side
        self._largest_photo = largest_photo
        self._detector: MTCNN

    def load(self, artifact: Artifact | None) -> None:
        """Build the three networks; their weights are in the package."""
        from mtcnn import MTCNN

        self._detector = MTCNN()

    def warmup(self) -> None:
        """Run all three networks once: only what the first lets through reaches the last."""
        import numpy as np

        ramp = np.linspace(0, 255, 48 * 48 * 3).reshape(48, 48, 3).astype(np.uint8)
        self._detector.detect_faces(ramp, threshold_pnet=0.0, threshold_rnet=0.0)

    def preprocess(self, item: Any) -> tuple[Pixels, int, int]:
        """Decode a photo.

        Args:
            item: the bytes of a file in one of `FORMATS`.

        Returns:
            RGB pixels `[height, width, 3]`, then width and height of the original.

        Raises:
            InvalidInput: it is no photo, or one too large.
        """
        import numpy as np
        from PIL import Image, ImageOps

        if not isinstance(item, bytes):
            raise InvalidInput(f"a photo is sent as bytes, not as {type(item).__name__}.")
        try:
            photo = Image.open(io.BytesIO(item), formats=FORMATS)
            width, height = photo.size
            if width * height > self._largest_photo:
                raise InvalidInput(f"a photo of {width}×{height} pixels is too large.")
            # A phone turns the picture by a note in the file; so does the browser.
            upright = ImageOps.exif_transpose(photo).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InvalidInput(
                f"this is not a picture that can be read ({', '.join(FORMATS)})."
            ) from error
        width, height = upright.size
        upright.thumbnail((self._longest_side, self._longest_side))
        return np.asarray(upright), width, height

    def predict(self, items: list[tuple[Pixels, int, int]]) -> list[dict[str, Any]]:
        """Find the faces, one photo after the other.

        MTCNN can take several at once, but pads them to one size, which moves the boxes a
        little: here a photo gets the same answer in any company.
        """
        return [self._faces(*item) for item in items]

    def _faces(self, pixels: Pixels, width: int, height: int) -> dict[str, Any]:
        scale = width / pixels.shape[1]
        found = sorted(self._detector.detect_faces(pixels), key=lambda face: -face["confidence"])
        faces = [
            {
                "probability": round(float(face["confidence"]), 4),
                "box": [round(float(value) * scale, 1) for value in face["box"]],
                "landmarks": {
                    name: [round(float(value) * scale, 1) for value in point]
                    for name, point in face["keypoints"].items()
                },
            }
            for face in found
        ]
        return {"width": width, "height": height, "faces": faces}
