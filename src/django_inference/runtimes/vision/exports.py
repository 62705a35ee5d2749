"""What an exported YOLO says of itself."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django_inference.runtimes.vision.heads import Head

_TASKS = ("detect", "segment", "pose", "obb", "classify")
_INSTEAD = "the runtime 'ultralytics' runs what that package can"


@dataclass(frozen=True)
class Export:
    """A model in an ONNX file.

    Attributes:
        names: of its classes, by number.
        size: height and width of its input, or the most of them.
        stride: what height and width are multiples of where they may vary; None where
            they may not.
        batch: pictures that it takes at a time; None for any number.
        input: the name of its input.
        dtype: of its input.
        head: how to read its output; None for a classifier.
    """

    names: Mapping[int, str]
    size: tuple[int, int]
    stride: int | None
    batch: int | None
    input: str
    dtype: str
    head: Head | None = None


def read_export(session: Any, image_size: tuple[int, int] | None) -> Export:
    """Read what a session says of its model.

    Args:
        session: of ONNX Runtime.
        image_size: the option.

    Raises:
        ValueError: it is no such export, is of a kind that only torch runs, or does not
            take pictures of that size.
    """
    said = {key: _value(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    task, names = said.get("task"), said.get("names")
    if task is None or not isinstance(names, dict):
        raise ValueError(
            "the file does not say its task and its classes, as one written by YOLO.export() "
            f"does; export it again, or {_INSTEAD}."
        )
    if task not in _TASKS:
        raise ValueError(
            f"the file is for the task {task!r}; this runtime does {', '.join(_TASKS)}."
        )
    inputs = session.get_inputs()
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
        raise ValueError(
            f"the model takes {', '.join(f'{each.name} {each.shape}' for each in inputs)}, not one "
            f"batch of pictures of three colours [batch, 3, height, width]; {_INSTEAD}."
        )
    fixed = isinstance(shape[2], int) and isinstance(shape[3], int)
    export = Export(
        names={int(number): str(name) for number, name in names.items()},
        size=_size(shape[2:] if fixed else None, image_size, said.get("imgsz", 640)),
        stride=None if fixed or task == "classify" else int(said.get("stride", 32)),
        batch=shape[0] if isinstance(shape[0], int) else None,
        input=inputs[0].name,
        dtype="float16" if "float16" in inputs[0].type else "float32",
    )
    if export.stride and any(side % export.stride for side in export.size):
        height, width = export.size
        raise ValueError(f"image_size is {height} x {width}, not multiples of {export.stride}.")
    if task == "classify":
        return export
    return replace(export, head=_head(task, said, export, _tried(session, export)))


def _tried(session: Any, export: Export) -> list[tuple[int, ...]]:
    """The shapes of the outputs, which only a run knows where sizes may vary."""
    import numpy as np

    zeros = np.zeros((export.batch or 1, 3, *export.size), export.dtype)
    return [output.shape for output in session.run(None, {export.input: zeros})]


def _head(
    task: str, said: Mapping[str, Any], export: Export, shapes: Sequence[tuple[int, ...]]
) -> Head:
    points = tuple(said.get("kpt_shape", (17, 3))) if task == "pose" else (0, 0)
    added = {
        "detect": 0,
        "obb": 1,
        "pose": points[0] * points[1],
        "segment": shapes[-1][1],
    }[task]
    classes, shape = len(export.names), shapes[0]
    if len(shape) == 3 and shape[1] == 4 + classes + added:
        return Head(task, classes, added, points=points)
    if len(shape) == 3 and shape[2] == 6 + added:
        return Head(task, classes, added, points=points, end_to_end=True)
    raise ValueError(
        f"the model gives {', '.join(str(list(each)) for each in shapes)}, which is no layout of "
        f"YOLO 8 or later for the task {task!r} with {classes} classes; {_INSTEAD}."
    )


def _size(
    fixed: Sequence[int] | None, wanted: tuple[int, int] | None, trained: int | Sequence[int]
) -> tuple[int, int]:
    if fixed:
        height, width = fixed
        if wanted and wanted != (height, width):
            raise ValueError(
                f"image_size is {wanted[0]} x {wanted[1]}, but the file was exported for "
                f"{height} x {width}; leave the option out, or export with dynamic=True."
            )
        return height, width
    if wanted:
        return wanted
    height, width = (trained, trained) if isinstance(trained, int) else trained
    return height, width


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
