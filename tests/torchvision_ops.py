"""The two operators without which torchvision cannot be imported.

PyPI has no torchvision that fits the CPU build of torch: its binary part does not load. What
ultralytics and transformers use of it is in Python, but for these. Import this module first.
"""

from __future__ import annotations

import sys

import torch


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """The rows of the boxes that no better one overlaps too much with, the best first."""
    order = scores.argsort(descending=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        sides = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        sides = (sides - torch.maximum(boxes[best, :2], boxes[order, :2])).clamp(min=0)
        common = sides.prod(dim=1)
        order = order[common / (areas[best] + areas[order] - common) <= iou_threshold]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)


if "torchvision" not in sys.modules and not hasattr(torch.ops.torchvision, "nms"):
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl(name, nms, "CPU")

    import torchvision.extension

    torchvision.extension._has_ops = lambda: True
