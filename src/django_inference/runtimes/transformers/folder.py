"""What lies in the folder of a model, before anything of it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def config_of(folder: Path) -> dict[str, Any]:
    """What `config.json` says.

    Raises:
        ValueError: the folder has none, or none that can be read.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(
            f"{folder} must be a folder as save_pretrained() writes it, with config.json, the "
            "weights, and the files of the tokenizer or of the processor."
        )
    try:
        said = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise ValueError(f"{file} must hold an object, not {type(said).__name__}.")
    return said


def check_weights(folder: Path, *, trusted: bool) -> None:
    """Refuse pickles, which run code.

    Raises:
        ValueError: there are no other weights.
    """
    if trusted or any(folder.glob("*.safetensors")):
        return
    others = ", ".join(sorted(file.name for file in folder.glob("*.bin")))
    if others:
        raise ValueError(
            f"{folder} has weights in {others}, which are pickles: set TRUSTED or pin SHA256 if "
            "you know where they come from, or have save_pretrained() write safetensors."
        )
    raise ValueError(f"{folder} has no weights: a file that ends in .safetensors is wanted.")
