"""Small models of PyTorch: weights, and the modules that they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.contract.kinds import INPUTS, Made


def module(kind: str) -> Any:
    """A module of a kind; what `model` names."""
    import torch

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            if kind == "plain":
                self.linear = torch.nn.Linear(3, 3)
            elif kind == "time":
                self.gru = torch.nn.GRU(2, 4)
            elif kind == "lookup":
                self.embedding = torch.nn.Embedding(3, 3)

        def forward(self, x: Any) -> Any:
            if kind == "plain":
                return {"y": self.linear(x)}
            if kind == "coupled":
                return {"y": x - x.mean(dim=0, keepdim=True)}
            if kind == "time":
                return {"y": self.gru(x)[0]}
            if kind == "ragged":
                return {"y": torch.nonzero(x > 0)}
            if kind == "lookup":
                return {"y": self.embedding(x)}
            return {"y": x.clone()}

    class Stateful(torch.nn.Module):
        def forward(self, x: Any, rate: Any, scales: Any, state: Any) -> Any:
            return {"y": x * rate * scales, "next": state + x}

    torch.manual_seed(0)
    return Stateful().eval() if kind == "state" else Small().eval()


def make(folder: Path, kind: str, dtype: str = "float32") -> Made:
    """Write the weights of a module."""
    import torch
    from safetensors.torch import save_file

    inputs = [("x", dtype, ["n", 3])] if kind == "same" else INPUTS[kind]
    if dtype == "str":
        raise NotImplementedError
    # A dtype that torch lacks raises.
    kinds = [getattr(torch, of) for _, of, _ in inputs]
    model = module(kind)
    path = folder / f"{kind}-{dtype}.safetensors"
    save_file(model.state_dict(), path)

    def direct(payload: Any) -> Any:
        fed = [
            torch.tensor(np.asarray(payload[name]).tolist(), dtype=of)
            for (name, _, _), of in zip(inputs, kinds, strict=True)
        ]
        with torch.inference_mode():
            found = model(*fed)
        return {name: _plain(each) for name, each in found.items()}

    declared = {
        "MODEL": path,
        "RUNTIME": "torch",
        "RUNTIME_OPTIONS": {
            "model": f"{__name__}.module",
            "model_options": {"kind": kind},
            "inputs": [
                f"{name} {of} {[-1 if isinstance(axis, str | None) else axis for axis in axes]}"
                for name, of, axes in inputs
            ],
            "outputs": ["y", "next"] if kind == "state" else ["y"],
        },
    }
    return Made(declared, direct)


def _plain(tensor: Any) -> Any:
    import torch

    if tensor.is_floating_point() and tensor.itemsize < 4 and tensor.dtype != torch.float16:
        tensor = tensor.float()
    return tensor.numpy()
