"""PyTorch models: weights for a module, programs of torch.export, and TorchScript."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required, usable_cores
from django_inference.runtimes.torch.calls import Call, ModuleCall, ProgramCall
from django_inference.runtimes.torch.files import read, weights_of
from django_inference.runtimes.torch.outputs import arrays, by_name
from django_inference.runtimes.torch.refusals import refusals
from django_inference.runtimes.torch.weights import filled
from django_inference.runtimes.torch_options import device_of, dtype_of
from django_inference.tensors import TensorSpec
from django_inference.words import array_said

if TYPE_CHECKING:
    import torch

    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis, Tensors


class TorchRuntime(TensorRuntime):
    """Weights and a `model` to put them into, a program of torch.export, or TorchScript.

    Weights are `.safetensors`, or a state_dict in `.pt`, `.pth` or `.bin`. The other two, a
    `.pt2` and what torch.jit.save() wrote, are programs, so they need `TRUSTED` or
    `SHA256`; so does a whole module in a pickle. A model with operators of another package
    needs a subclass of this runtime, in the module that imports it.

    Args:
        model: dotted path of the `torch.nn.Module`, or of a function that makes it; either
            itself only where the model runs in the same process.
        model_options: its keyword arguments.
        device: such as `cpu` or `cuda:0`; None for the GPU where there is one.
        dtype: that weights and float inputs are converted to, such as
            `float16`; None for what the model was made with.
        threads: that one operator is spread over; None for as many as this process may
            use cores. It holds for the whole process.
        inputs: what the model takes, where the file does not say: one text a tensor, such
            as `images float32 [-1, 3, 640, 640]`.
        outputs: names for what the model returns; of a dict, the keys to return.
        batch_axis: the axis of each tensor that has an entry for each row of a batch, by its
            name, None where it has none; None alone makes each call a run of its own.
    """

    requires: ClassVar[tuple[str, ...]] = ("torch",)
    extra: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (
        *(".safetensors", ".pt", ".pth", ".pt2", ".torchscript", ".ts"),
    )
    runs_code: ClassVar[tuple[str, ...]] = (".pt2", ".torchscript", ".ts")
    code_options: ClassVar[tuple[str, ...]] = ("model",)
    needs_artifact: ClassVar[bool] = True
    can_share_weights: ClassVar[bool] = True

    def __init__(
        self,
        *,
        model: str | Callable[..., Any] | None = None,
        model_options: Mapping[str, Any] | None = None,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] | None = None,
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self.batch_axis = batch_axis
        self._model = model
        self._model_options = model_options or {}
        self._wanted_device = device
        self._wanted_dtype = dtype
        self._threads = usable_cores() if threads is None else threads
        self._inputs = tuple(TensorSpec.parse(text) for text in _listed("inputs", inputs))
        self._outputs = None if outputs is None else _listed("outputs", outputs)
        self._call: Call

    def load(self, artifact: Artifact | None) -> None:
        """Read the file, and put the weights where they are used.

        Raises:
            ValueError: the file is not what it should be, or an option does not fit it.
            ImportError: the model cannot be imported.
            TypeError: the model is no module, or does not take its options.
        """
        artifact = required(artifact)
        file = model_file(artifact, self.suffixes)
        import torch

        self.framework = f"torch {torch.__version__}"
        torch.set_num_threads(self._threads)
        device = device_of(self._wanted_device)
        self.device = str(device)
        if self.share_weights and device.type != "cpu":
            raise ValueError(f"share_weights is for the CPU: on {device} nothing can be shared.")
        held = read(file, trusted=artifact.trusted, share=self.share_weights)
        if isinstance(held, torch.export.ExportedProgram):
            self._call = ProgramCall(self._on_device(file, held, device), self._outputs)
        else:
            module = self._module(file, held).to(device).eval()
            self._call = ModuleCall(module, self._inputs)
        self.signature = self._call.signature

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the model once.

        Raises:
            InvalidInput: an input is of a name, type or shape that the model does not take, or
                an index in it is out of range.
        """
        import torch

        with torch.inference_mode():
            tensors = {name: self._tensor(name, array) for name, array in inputs.items()}
            with refusals(inputs):
                returned = self._call(tensors)
            return arrays(by_name(returned, self._outputs))

    def close(self) -> None:
        """Free the model, and what it took of a GPU."""
        import torch

        self._call = None  # type: ignore[assignment]
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _module(self, file: Path, held: Any) -> torch.nn.Module:
        import torch

        dtype = None if self._wanted_dtype is None else dtype_of(self._wanted_dtype)
        if isinstance(held, torch.nn.Module) and self._model is None:
            return held if dtype is None else held.to(dtype)
        if isinstance(held, torch.jit.ScriptModule):
            raise ValueError(f"{file} is a whole model, so the option `model` has no meaning.")
        weights = weights_of(file, held)
        if self._model is None:
            raise ValueError(
                f"{file} holds weights: the option `model` must name the torch.nn.Module that "
                "they are for, or a function that makes it."
            )
        return filled(
            self._model, self._model_options, weights, dtype=dtype, share=self.share_weights
        )

    def _on_device(self, file: Path, program: Any, device: torch.device) -> Any:
        from torch.export.passes import move_to_device_pass

        given = {"model": self._model, "dtype": self._wanted_dtype, "inputs": self._inputs}
        for option, value in given.items():
            if value:
                raise ValueError(
                    f"{file} is a program, which was exported with all that the option "
                    f"`{option}` would say: leave it out."
                )
        return program if device.type == "cpu" else move_to_device_pass(program, device)

    def _tensor(self, name: str, array: Any) -> torch.Tensor:
        import numpy as np
        import torch

        # torch takes no array that runs backwards, or whose bytes are in another order.
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        try:
            # A copy, since a model may work in place, and what a batch was made of may have
            # to be run again.
            return torch.tensor(
                array, dtype=self._call.dtype_of(name, array.dtype), device=self.device
            )
        except TypeError as error:
            raise InvalidInput(
                f"the input {name!r} takes numbers, not {array_said(array)}."
            ) from error


def _listed(option: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"the option `{option}` is a list of texts, not {texts!r}.")
    return list(texts)
