"""YOLO exported to ONNX, without torch: ONNX Runtime, numpy and OpenCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.onnx_session import Providers, device_of, framework, open_session
from django_inference.runtimes.vision.detector import Detector
from django_inference.runtimes.vision.exports import Export, read_export
from django_inference.runtimes.vision.geometry import Letterbox
from django_inference.runtimes.vision.pictures import cropped, grouped

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.runtimes.vision.detections import Array, Objects
    from django_inference.runtimes.vision.pictures import Picture


class YoloRuntime(Detector):
    """A `.onnx` file that `yolo export` or `YOLO.export()` has written, of version 8 or later.

    Task, classes, size and stride are read from the file. The results are those of the
    runtime `ultralytics` for the same file.

    Args, beside those of `Detector`:
        image_size: only where the export left it open (`dynamic=True`).
        providers: execution providers, as the runtime `onnx` takes them.
        threads: that one operator is spread over; None for as many as this process may
            use cores, 0 to let ONNX Runtime choose.
        session_options: as the runtime `onnx` takes them.
    """

    requires: ClassVar[tuple[str, ...]] = ("onnxruntime", "cv2", "PIL")
    extra: ClassVar[str] = "yolo"
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        classes: Sequence[str | int] | None = None,
        max_detections: int | None = None,
        image_size: int | Sequence[int] | None = None,
        annotate: bool = False,
        allow_urls: Sequence[str] = (),
        max_pixels: int = 50_000_000,
        providers: Providers | None = None,
        threads: int | None = None,
        session_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            confidence=confidence,
            iou=iou,
            classes=classes,
            max_detections=max_detections,
            image_size=image_size,
            annotate=annotate,
            allow_urls=allow_urls,
            max_pixels=max_pixels,
        )
        self._providers = providers
        self._threads = usable_cores() if threads is None else threads
        self._session_options = session_options or {}
        self._session: Any = None
        self._export: Export

    def load(self, artifact: Artifact | None) -> None:
        """Open a session and read what the export says of the model.

        Raises:
            ValueError: it is no YOLO that this runtime reads, or an option does not fit.
        """
        import cv2

        file = model_file(required(artifact), (".onnx",))
        self._session = open_session(
            file,
            providers=self._providers,
            threads=self._threads,
            session_options=self._session_options,
        )
        try:
            self._export = read_export(self._session, self._image_size)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        self._learn(self._export.names)
        cv2.setNumThreads(self._threads or -1)
        self.device, self.framework = device_of(self._session), framework()

    def warmup(self) -> Any:
        """A picture as large as the model's input, with nothing on it."""
        import numpy as np

        return np.zeros((*self._export.size, 3), np.uint8)

    def close(self) -> None:
        """Free the session."""
        self._session = None

    def _look(self, pictures: list[Picture]) -> list[Objects | Array]:
        head = self._export.head
        if head is None:
            inputs = [cropped(picture, self._export.size) for picture in pictures]
            return [probabilities.astype(float) for (probabilities,) in self._run(inputs)]
        letterboxes = [
            Letterbox.fit(picture.shape[:2], self._export.size, stride=self._export.stride)
            for picture in pictures
        ]
        inputs = [
            letterbox.apply(picture)
            for letterbox, picture in zip(letterboxes, pictures, strict=True)
        ]
        return [
            head.read(outputs[0], outputs[1] if len(outputs) > 1 else None, letterbox, self._wanted)
            for outputs, letterbox in zip(self._run(inputs), letterboxes, strict=True)
        ]

    def _run(self, inputs: list[Picture]) -> list[list[Array]]:
        """The outputs for each input, uint8 [height, width, 3], without the axis of the batch."""
        results: list[list[Array]] = [[] for _ in inputs]
        # What is of one shape can share a run.
        for rows in grouped([each.shape for each in inputs], self._export.batch):
            outputs = self._session.run(
                None, {self._export.input: self._batch([inputs[row] for row in rows])}
            )
            for place, row in enumerate(rows):
                results[row] = [output[place] for output in outputs]
        return results

    def _batch(self, inputs: list[Picture]) -> Array:
        import numpy as np

        batch = np.stack(inputs).transpose(0, 3, 1, 2).astype(self._export.dtype)
        batch /= 255
        lacking = (self._export.batch or 0) - len(batch)
        if lacking > 0:
            batch = np.concatenate([batch, np.zeros((lacking, *batch.shape[1:]), batch.dtype)])
        return np.ascontiguousarray(batch)
