"""Modules that the option `model` names."""

from __future__ import annotations

from torch import nn


def net() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 4)
    )


def convolution() -> nn.Module:
    return nn.Conv2d(3, 4, 3)
