"""The files of TensorFlow 1: which of them to read, and what of them to leave out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django_inference.runtimes.loading import model_file

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact

SAVED_MODEL = "saved_model.pb"
_LIST_OF_CHECKPOINTS = "checkpoint"
_LAST = re.compile(r'^model_checkpoint_path: "(.+)"$', re.MULTILINE)


def graph_file(artifact: Artifact, suffixes: tuple[str, ...]) -> Path:
    """Return the file to load; of several checkpoints in a folder, the one written last.

    Raises:
        FileNotFoundError: there is no artifact.
        ValueError: it is a folder without such a file, or with several.
    """
    folder = artifact.path
    if (folder / SAVED_MODEL).exists():
        # There may be other files beside it that end in `.pb`.
        return folder / SAVED_MODEL
    if (folder / _LIST_OF_CHECKPOINTS).exists():
        last = _LAST.search((folder / _LIST_OF_CHECKPOINTS).read_text())
        if last is not None:
            # It may name the folder of the machine that the model was trained on.
            return folder / f"{last[1].rpartition('/')[2]}.meta"
    return model_file(artifact, suffixes)


def parsed(message: Any, file: Path) -> Any:
    """Read a file into a message of protobuf, and return the message.

    Raises:
        ValueError: it holds something else.
    """
    content = file.read_bytes()
    try:
        message.ParseFromString(content)
    except Exception as error:
        kind = type(message).__name__
        raise ValueError(f"{file} is no {kind}, or a damaged one: {error}") from error
    return message


def clean(graph: Any) -> None:
    """Remove from a GraphDef the devices of the training, and the shapes inferred then.

    Another release of TensorFlow may infer other shapes, and would refuse the graph.
    """
    for node in graph.node:
        node.device = ""
        node.attr.pop("_output_shapes", None)


def rank_examples(graph: Any) -> None:
    """Say of what a GraphDef parses as Example messages that it is a list of them.

    Shapes of what is parsed follow from it. Such placeholders are often made without any.
    """
    parsed_from = {node.input[0] for node in graph.node if node.op.startswith("ParseExample")}
    for node in graph.node:
        if node.name in parsed_from and node.op == "Placeholder":
            shape = node.attr["shape"].shape
            if shape.unknown_rank:
                shape.unknown_rank = False
                shape.dim.add(size=-1)
