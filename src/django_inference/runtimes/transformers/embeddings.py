"""Vectors of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: How the vectors of a text's tokens become one, and what sentence-transformers calls it.
POOLING = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}


class Embedder:
    """Embeds a batch of texts. What fills up the shorter ones is no part of the answers.

    Args:
        pipeline: `feature-extraction`.
        folder: of the model. `modules.json`, as sentence-transformers writes it, says
            whether vectors get the length 1.
        pooling: `mean` or `cls`; None for what the folder says, or else for a vector a token.

    Raises:
        ValueError: there is no such pooling, or the folder asks for another one.
    """

    def __init__(self, pipeline: Any, folder: Path, pooling: str | None) -> None:
        self._pipeline = pipeline
        modules = [kind for kind, _ in _modules(folder)]
        self._is_normal = "Normalize" in modules
        self._pooling = _pooling_of(folder) if pooling is None else pooling
        if self._pooling not in (None, *POOLING):
            raise ValueError(f"pooling is one of {', '.join(POOLING)}, not {pooling!r}.")

    def __call__(self, texts: list[str], **options: Any) -> list[Any]:
        """Return one array a text: float32 [width], or [tokens, width] without pooling."""
        import torch

        pipeline = self._pipeline
        inputs = pipeline.tokenizer(texts, padding=True, return_tensors="pt", **options)
        inputs = inputs.to(pipeline.device)
        with torch.no_grad():
            vectors = pipeline.model(**inputs)[0].float()
        is_text = inputs["attention_mask"].bool()
        if self._pooling is None:
            return [row[used].cpu().numpy() for row, used in zip(vectors, is_text, strict=True)]
        if self._pooling == "cls":
            # The first token; where the filling is in front, the first that is none.
            pooled = vectors[torch.arange(len(texts)), is_text.int().argmax(dim=1)]
        else:
            weights = is_text[..., None].float()
            pooled = (vectors * weights).sum(dim=1) / weights.sum(dim=1)
        if self._is_normal:
            pooled = torch.nn.functional.normalize(pooled, dim=1)
        return list(pooled.cpu().numpy())


def _modules(folder: Path) -> list[tuple[str, str]]:
    """The kind and the folder of each step after the model."""
    file = folder / "modules.json"
    said = json.loads(file.read_bytes()) if file.is_file() else []
    return [(each["type"].rpartition(".")[2], each["path"]) for each in said]


def _pooling_of(folder: Path) -> str | None:
    paths = [path for kind, path in _modules(folder) if kind == "Pooling"]
    if not paths:
        return None
    said = json.loads((folder / paths[0] / "config.json").read_bytes())
    modes = [mode for mode, value in said.items() if mode.startswith("pooling_mode") and value]
    known = [pooling for pooling, mode in POOLING.items() if modes in ([mode], [pooling])]
    if not known:
        raise ValueError(
            f"{folder / paths[0]} asks for {', '.join(modes) or 'no pooling'}; known are "
            f"{', '.join(POOLING.values())}. The option `pooling` chooses one."
        )
    return known[0]
