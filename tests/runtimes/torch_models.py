"""Modules that the option `model` names; workers of a real model host import them from here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Holds all that a module may: statistics, dropout, buffers saved and not, a bare tensor."""

    def __init__(self, *, features: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(features, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, classes)
        self.scale = nn.Buffer(torch.tensor([2.0]))
        self.positions = nn.Buffer(torch.arange(classes), persistent=False)
        self.offset = torch.full((classes,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(self.norm(self.first(x)).relu())
        scores: Tensor = self.last(hidden)
        return scores * self.scale + self.positions + self.offset.to(x.dtype)


class Tied(nn.Module):
    """An embedding that is the last layer, too; safetensors keeps one name of such a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.embedding.weight = self.head.weight = nn.Parameter(torch.randn(6, 4))

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.embedding(tokens).mean(dim=1))
        return scores


class Derived(nn.Module):
    """Makes a bare tensor of its weights, which a state_dict does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.doubled = self.layer.weight.detach() * 2

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.doubled.T


class Reading(nn.Module):
    """Looks at its weights while it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.largest = self.layer.weight.detach().max().item()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


class Nested(nn.Module):
    """Takes a dict, and a plain value that torch.export keeps."""

    def forward(self, pair: dict[str, Tensor], double: bool, *, shift: Tensor) -> Any:
        y = pair["a"] * (2 if double else 1) + pair["b"] + shift
        return {"y": y, "half": y.bfloat16() / 2, "nothing": None}


class Writing(nn.Module):
    """Writes a file when TorchScript loads it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save("written", state[0])


class Pair(NamedTuple):
    total: Tensor
    largest: Tensor


@dataclass
class Report:
    total: Tensor
    nothing: None = None


class Returning(nn.Module):
    """Returns its two inputs in one of the ways in which modules return several tensors."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        total, largest = x.sum(dim=1) * self.weight, x.amax(dim=1)
        match self.how:
            case "tensor":
                return total
            case "tuple":
                return total, largest, None
            case "dict":
                return {"total": total, "largest": largest, "cache": [total], "nothing": None}
            case "named tuple":
                return Pair(total, largest)
            case "dataclass":
                return Report(total)
            case "number":
                return total.sum()
            case "text":
                return "three"
            case "mode":
                return torch.full((len(x),), torch.is_inference_mode_enabled())
            case "in place":
                return x.mul_(2)
        raise ValueError(f"cannot return {self.how}")


def no_module() -> list[int]:
    return [1]


def bert(folder: str) -> nn.Module:
    """The real BERT, as `transformers` makes it of its configuration."""
    # transformers imports torchvision, which needs them.
    import_module("tests.torchvision_ops")
    from transformers import AutoConfig, AutoModel

    module: nn.Module = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    return module
