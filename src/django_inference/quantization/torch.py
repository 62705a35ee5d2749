"""PyTorch models, quantised by PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from django_inference.artifacts import Artifact
from django_inference.quantization.base import CannotQuantize, Made, Wanted
from django_inference.runtimes import BUILT_IN
from django_inference.runtimes.loading import model_file
from django_inference.runtimes.torch import TorchRuntime
from django_inference.runtimes.torch.calls import ModuleCall
from django_inference.runtimes.torch.outputs import by_name
from django_inference.specs import EngineOptions, ModelSpec, one_line
from django_inference.tensors import TensorSpec

if TYPE_CHECKING:
    import torch

    from django_inference.tensors import Tensors


class _Source(TorchRuntime):
    """The module that the runtime has made and filled."""

    @property
    def module(self) -> torch.nn.Module:
        import torch

        call = self._call
        if not isinstance(call, ModuleCall) or isinstance(call._module, torch.jit.ScriptModule):
            raise CannotQuantize(
                "it is a program. Quantise the module that it was made of, and export that."
            )
        return call._module

    def replace(self, module: torch.nn.Module) -> None:
        """Call another module in its place."""
        inputs = self.signature.inputs if self.signature is not None else ()
        self._call = ModuleCall(module, inputs)

    def given(self, tensors: Tensors) -> list[torch.Tensor]:
        """What the module gets, in the order of its inputs."""
        return [self._tensor(name, array) for name, array in tensors.items()]

    def named(self, *tensors: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the module returns, by name."""
        called = self._call(dict(zip(names, tensors, strict=True)))
        return by_name(called, self._outputs)


def raw(spec: ModelSpec) -> ModelSpec:
    """The model as it is, but for what only matters in the host."""
    options = EngineOptions(max_batch_size=1024, warmup=False)
    return msgspec.structs.replace(spec, options=options, golden=())


def make(spec: ModelSpec, wanted: Wanted, samples: Sequence[Tensors], folder: Path) -> Made:
    """Write TorchScript with integers in its linear and recurrent layers, or halved weights."""
    assert spec.artifact is not None
    artifact = Artifact(spec.artifact, sha256=spec.sha256, trusted=spec.trusted)
    source = _Source(**spec.runtime_options | {"device": "cpu"})
    source.load(artifact)
    module = source.module
    if wanted.to == "fp16":
        target = folder / model_file(artifact, TorchRuntime.suffixes).name
        _save_halves(module, target)
        return Made(target, BUILT_IN["torch"], {**spec.runtime_options, "dtype": "float16"})
    target = folder / "model.torchscript"
    _save_integers(source, module, samples[0], target)
    options = {
        name: spec.runtime_options[name] for name in {"threads"} & spec.runtime_options.keys()
    }
    options["inputs"] = [str(each) for each in _inputs(source, samples)]
    note = "TorchScript runs code when it is loaded, so SHA256 (or TRUSTED) has to be set."
    return Made(target, BUILT_IN["torch"], options, note)


def recorded() -> None:
    """PyTorch is not listened to."""


def _save_halves(module: torch.nn.Module, target: Path) -> None:
    import torch

    halves = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in module.state_dict().items()
    }
    if target.suffix != ".safetensors":
        torch.save(halves, target)
        return
    from safetensors.torch import save_model

    # Unlike save_file() it takes weights that two layers share.
    save_model(module.half(), str(target))


def _save_integers(source: _Source, module: Any, sample: Tensors, target: Path) -> None:
    import torch
    from torch import nn

    kinds = {nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
    if not any(type(part) in kinds for part in module.modules()):
        raise CannotQuantize(
            "it has no linear and no recurrent layer, which are what PyTorch quantises without "
            "calibration. Export it to ONNX, and quantise that with --calibrate."
        )

    class Named(nn.Module):
        """Takes tensors in their order, and gives them by name."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: torch.Tensor) -> dict[str, torch.Tensor]:
            return source.named(*tensors, names=[*sample])

    with warnings.catch_warnings():
        # Both are announced to leave PyTorch; neither has a successor in it yet.
        warnings.simplefilter("ignore")
        try:
            small = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                module, kinds, dtype=torch.qint8
            )
            source.replace(small)
            with torch.inference_mode():
                traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                    Named(small).eval(), tuple(source.given(sample)), strict=False
                )
            torch.jit.save(traced, str(target))
        except Exception as error:
            raise CannotQuantize(f"PyTorch cannot do it: {one_line(error)}") from error


def _inputs(source: _Source, samples: Sequence[Tensors]) -> Sequence[TensorSpec]:
    """As the predictor says, or as the samples show; an axis that differs is open."""
    if source.signature is not None:
        return source.signature.inputs
    specs = []
    for name, first in samples[0].items():
        lengths = zip(*(each[name].shape[1:] for each in samples), strict=True)
        tail = (sizes[0] if len(set(sizes)) == 1 else -1 for sizes in lengths)
        specs.append(TensorSpec(name, first.dtype.name, (-1, *tail)))
    return specs
