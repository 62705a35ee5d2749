"""What a file of PyTorch's holds, and whether it may be asked."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django_inference.specs import one_line

if TYPE_CHECKING:
    import torch

_ASK = "set TRUSTED or pin SHA256 if you know where it comes from"
_SAFE = (
    "What runs no code is safetensors, or a state_dict saved by torch.save(), with the "
    "option `model`; or ONNX, with the runtime of that name."
)
_SHARED = (
    "share_weights needs safetensors, or a state_dict saved by torch.save(), with the "
    "option `model`"
)


def read(file: Path, *, trusted: bool, share: bool) -> Any:
    """Return what the file holds.

    Args:
        file: of any of the formats; its content tells which, but for `.safetensors`.
        trusted: it may run code.
        share: the weights are to stay in the file, which is mapped into memory.

    Returns:
        A `ScriptModule`, an `ExportedProgram`, tensors by name, or whatever a trusted
        pickle holds; on the CPU, but for a program that was exported for another device.

    Raises:
        ValueError: it may not be read, cannot be read, or cannot be shared.
    """
    if file.suffix == ".safetensors":
        return _readable(file, lambda: _read_safetensors(file))
    name, reader = _kind_of_archive(file)
    if reader is None:
        return _read_pickle(file, trusted=trusted, share=share)
    if share:
        raise ValueError(f"{file} is {name}: {_SHARED}.")
    if not trusted:
        raise ValueError(f"{file} is {name}, which can run code when it is loaded: {_ASK}. {_SAFE}")
    return _readable(file, lambda: reader(file))


def weights_of(file: Path, held: Any) -> MutableMapping[str, torch.Tensor]:
    """Return the weights of what `read` has returned, by their names.

    Raises:
        ValueError: it is something else.
    """
    import torch

    if isinstance(held, torch.nn.Module):
        return held.state_dict()
    if not isinstance(held, MutableMapping):
        raise ValueError(f"{file} holds a {type(held).__name__}, and no weights by name.")
    for name, value in held.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{file} holds more than a state_dict: {name!r} is of type "
                f"{type(value).__name__}. Save what module.state_dict() returns by itself."
            )
    return held


def _kind_of_archive(file: Path) -> tuple[str, Callable[[Path], Any] | None]:
    """What messages call it, and what reads it: nothing here for weights and pickles."""
    names = set()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in names:
        return "a TorchScript archive", _read_torchscript
    # The second is what programs were saved with up to PyTorch 2.7.
    if names & {"archive_format", "serialized_exported_program.json"}:
        return "a program of torch.export", _read_program
    return "", None


def _read_torchscript(file: Path) -> Any:
    import torch

    with warnings.catch_warnings():
        # Who runs a model can do nothing about the format that it was saved in.
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        return torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]


def _read_program(file: Path) -> Any:
    import torch

    return torch.export.load(file)


def _read_safetensors(file: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError("it needs safetensors: pip install safetensors") from error

    return load_file(file)


def _read_pickle(file: Path, *, trusted: bool, share: bool) -> Any:
    import torch

    def load(*, weights_only: bool) -> Any:
        return torch.load(file, map_location="cpu", weights_only=weights_only, mmap=share)

    try:
        return _readable(file, lambda: load(weights_only=True))
    except ValueError as error:
        refusal = error.__cause__
        if not isinstance(refusal, pickle.UnpicklingError):
            raise
        if not trusted:
            named = re.search(r"GLOBAL (\S+)", str(refusal))
            raise ValueError(
                f"{file} holds more than weights ({named[1] if named else 'or something else'}), "
                f"so that loading it can run any code: {_ASK}. {_SAFE}"
            ) from refusal
    if share:
        raise ValueError(f"{file} holds more than weights: {_SHARED}.")
    return _readable(file, lambda: load(weights_only=False))


def _readable(file: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        raise ValueError(f"{file} cannot be read: {one_line(error)}") from error
