"""YOLO as the package ultralytics trains, exports and runs it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.onnx_session import import_onnxruntime
from django_inference.runtimes.vision.detections import Objects
from django_inference.runtimes.vision.detector import Detector
from django_inference.runtimes.vision.geometry import Letterbox, outlines
from django_inference.runtimes.vision.pictures import grouped
from django_inference.runtimes.vision.undisturbed import undisturbed

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.runtimes.vision.detections import Array
    from django_inference.runtimes.vision.pictures import Picture

_SUFFIXES = (".pt", ".onnx")
_TASKS = ("detect", "segment", "pose", "obb", "classify")


class UltralyticsRuntime(Detector):
    """A `.pt` file, which needs `TRUSTED` or `SHA256`, or an `.onnx` file.

    Args, beside those of `Detector`:
        device: such as `cpu` or `cuda`; None for the GPU where torch finds one. The load
            fails where it cannot be had.
        half: compute with 16 bits; of a `.pt` file on a GPU only.
        threads: that torch spreads one operator over, in the whole process; None for as
            many as this process may use cores.
        rect: fill up a picture to the smallest input that fits, so that only pictures of
            one size share a run; otherwise to a square, so that all do. Of `.pt` files.
    """

    requires: ClassVar[tuple[str, ...]] = ("ultralytics", "PIL")
    extra: ClassVar[str] = "ultralytics"
    runs_code: ClassVar[tuple[str, ...]] = (".pt",)
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
        device: str | None = None,
        half: bool = False,
        threads: int | None = None,
        rect: bool = True,
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
        self._device = device
        self._half = half
        self._threads = usable_cores() if threads is None else threads
        self._rect = rect
        self._arguments: dict[str, Any] = {}
        self._is_export = False
        self._model: Any = None

    def load(self, artifact: Artifact | None) -> None:
        """Load the model and run it once.

        Raises:
            ValueError: it may not be loaded, is for another task, or an option does not fit.
        """
        artifact = required(artifact)
        file = model_file(artifact, _SUFFIXES)
        self._is_export = file.suffix == ".onnx"
        if file.suffix not in _SUFFIXES:
            raise ValueError(f"{file} must end in {' or '.join(_SUFFIXES)}.")
        if not self._is_export and not artifact.trusted:
            raise ValueError(
                f"{file} is a pickle, which can run any code when it is loaded: set TRUSTED or pin "
                "SHA256 if you know where it comes from, or export it to ONNX."
            )
        with undisturbed(self._threads):
            if self._is_export:
                import_onnxruntime()
            import ultralytics

            self._model = _read(ultralytics, file)
            self._arguments = self._chosen(ultralytics)
            # Only a run reads an exported file, chooses the device, and tells the classes.
            (first,) = self._call([self._blank()])
        self._describe(ultralytics.__version__)
        self._learn(first.names)
        self._arguments |= {
            "conf": self._wanted.confidence,
            "iou": self._wanted.iou,
            "classes": self._wanted.classes and list(self._wanted.classes),
            "max_det": self._wanted.most,
        }

    def close(self) -> None:
        """Let go of the model."""
        self._model = None

    def _look(self, pictures: list[Picture]) -> list[Objects | Array]:
        # Of a batch with several sizes, the package makes squares: what is seen on one
        # picture would depend on its neighbours.
        sizes = [picture.shape if self._rect else None for picture in pictures]
        seen: list[Any] = [None] * len(pictures)
        # A file may have been exported for a single picture.
        for rows in grouped(sizes, 1 if self._is_export else None):
            results = self._call([pictures[row] for row in rows])
            for row, result in zip(rows, results, strict=True):
                seen[row] = _arrays(result.cpu().numpy())
        return seen

    def _call(self, pictures: list[Picture]) -> Any:
        import numpy as np

        # The package takes colours in OpenCV's order.
        reversed_colours = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
        return self._model.predict(reversed_colours, **self._arguments)

    def _blank(self) -> Picture:
        import numpy as np

        return np.zeros((*(self._image_size or (640, 640)), 3), np.uint8)

    def _chosen(self, ultralytics: Any) -> dict[str, Any]:
        chosen: dict[str, Any] = {"verbose": False, "save": False, "rect": self._rect}
        if self._device is not None:
            chosen["device"] = self._device
        if self._image_size is not None:
            chosen["imgsz"] = list(self._image_size)
        if self._half:
            # The older name still works, with a warning at every call.
            newer = "quantize" in ultralytics.utils.DEFAULT_CFG_DICT
            chosen |= {"quantize": 16} if newer else {"half": True}
        return chosen

    def _describe(self, version: str) -> None:
        import torch

        # Whoever chooses a device sets it to what suits a training.
        torch.set_num_threads(self._threads)
        self.device = str(self._model.predictor.device)
        self.framework = f"ultralytics {version}, torch {torch.__version__}"
        if self.device == "cpu" and self._device not in (None, "cpu"):
            raise ValueError(f"the device {self._device!r} cannot be had: the model is on the CPU.")
        if self.device == "cpu" and self._half:
            raise ValueError("half is for GPUs: the model is on the CPU.")


def _read(ultralytics: Any, file: Path) -> Any:
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    # Under some names, it looks for another file, and in the end on the internet.
    meant = str(file).strip().replace("'", "")
    meant = ultralytics.utils.checks.check_yolov5u_filename(meant, verbose=False)
    if meant != str(file):
        raise ValueError(f"{file} must have another name: ultralytics would look for {meant}.")
    try:
        model = ultralytics.YOLO(meant)
    except Exception as error:
        raise ValueError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
    if model.task not in _TASKS:
        raise ValueError(
            f"{file} is for the task {model.task!r}; this runtime does {', '.join(_TASKS)}."
        )
    return model


def _arrays(result: Any) -> Objects | Array:
    """What one of the package's results, in numpy, holds."""
    if result.probs is not None:
        return result.probs.data.astype(float)  # type: ignore[no-any-return]
    if result.obb is not None:
        found = result.obb
        return Objects(found.xyxy, found.conf, found.cls.astype(int), corners=found.xyxyxyxy)
    polygons = None
    if result.masks is not None:
        masks = result.masks.data.astype("uint8")
        letterbox = Letterbox.fit(result.orig_shape, masks.shape[1:])
        polygons = [outlines(mask, letterbox) for mask in masks]
    keypoints = None if result.keypoints is None else result.keypoints.data
    found = result.boxes
    return Objects(found.xyxy, found.conf, found.cls.astype(int), polygons, keypoints)
