"""What a model can be asked for, and what an item of that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django_inference.runtimes.names import OTHER_TASKS, meant
from django_inference.runtimes.transformers.folder import config_of

#: The tasks whose items are texts; for each, the lists of the library that tell which models
#: are for it. The same for pictures and for sounds.
TEXTS = {
    "text-classification": ("SEQUENCE_CLASSIFICATION",),
    "token-classification": ("TOKEN_CLASSIFICATION",),
    "fill-mask": ("MASKED_LM",),
    "text-generation": ("CAUSAL_LM",),
    "zero-shot-classification": (),
    "feature-extraction": ("",),
}
PICTURES = {
    "image-classification": ("IMAGE_CLASSIFICATION",),
    "object-detection": ("OBJECT_DETECTION",),
    "image-segmentation": ("IMAGE_SEGMENTATION", "SEMANTIC_SEGMENTATION"),
    "depth-estimation": ("DEPTH_ESTIMATION",),
    "image-feature-extraction": ("",),
}
SOUNDS = {
    "audio-classification": ("AUDIO_CLASSIFICATION",),
    "automatic-speech-recognition": ("CTC", "SPEECH_SEQ_2_SEQ"),
}
TASKS: dict[str, tuple[str, ...]] = {**TEXTS, **PICTURES, **SOUNDS}
#: Other names that the library has for some of them.
LIBRARY_NAMES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def task_of(folder: Path, wanted: str | None) -> str:
    """The task that is wanted, or else the one that the model was made for.

    Raises:
        ValueError: it is none of those that this runtime knows.
    """
    known = f"It knows {', '.join(TASKS)}; for another one, write a runtime of your own."
    if wanted is not None:
        task = LIBRARY_NAMES.get(wanted, wanted)
        if task not in TASKS:
            near = meant(wanted, TASKS, OTHER_TASKS)
            hint = f" (did you mean {near!r}?)" if near else ""
            raise ValueError(f"there is no task {wanted!r}{hint}. {known}")
        return task
    config = config_of(folder)
    architectures = config.get("architectures") or ["no architecture"]
    found = [task for task, lists in TASKS.items() if _is_for(lists, config, architectures[0])]
    if not found:
        raise ValueError(
            f"config.json names {architectures[0]!r}, from which no task follows: the option "
            f"`task` must name it. {known}"
        )
    if found[0] == "feature-extraction" and not any(folder.glob("tokenizer*")):
        return "image-feature-extraction"
    return found[0]


def _is_for(lists: Sequence[str], config: dict[str, Any], architecture: str) -> bool:
    from transformers.models.auto import modeling_auto

    for name in lists:
        table = f"MODEL_FOR_{name}_MAPPING_NAMES" if name else "MODEL_MAPPING_NAMES"
        names = getattr(modeling_auto, table).get(config.get("model_type"), ())
        if architecture in ((names,) if isinstance(names, str) else names):
            return True
    return False
