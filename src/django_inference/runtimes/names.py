"""What people call a runtime or a task, where this package has another name for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django_inference.words import nearest

#: The runtime that is meant, by names without capitals and punctuation.
OTHER_RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "onnx": ("onnxruntime", "ort", "onnxrt"),
    "tensorflow": (
        *("keras", "keras2", "keras3", "tfkeras", "tensorflowkeras", "tf", "tf2"),
        *("tensorflow2", "savedmodel", "h5", "tfhub"),
    ),
    "tensorflow1": (
        *("tf1", "tfv1", "tfcompatv1", "tensorflowcompatv1"),
        *("tensorflowv1", "frozengraph", "graphdef", "pb"),
    ),
    "litert": ("tflite", "tensorflowlite", "tfl", "lite", "aiedgelitert", "tfliteruntime"),
    "transformers": (
        *("huggingface", "hf", "hftransformers", "transformer", "huggingfacehub", "pipeline"),
        *("sentencetransformers", "sentencetransformer", "sbert", "bert", "llm"),
    ),
    "torch": (
        *("pytorch", "torchscript", "torchjit", "jit", "libtorch", "pth", "pt", "safetensors"),
        *("torchvision", "pytorchlightning", "timm"),
    ),
    "yolo": ("yoloonnx", "objectdetector", "detector"),
    "ultralytics": (
        "yolov3",
        "yolov5",
        "yolov8",
        "yolov9",
        "yolov10",
        "yolo11",
        "yolo12",
        "yolo26",
    ),
    "sklearn": ("scikitlearn", "scikit", "joblib", "pickle", "pkl", "skops"),
    "xgboost": ("xgb", "xgbclassifier", "xgbregressor"),
    "lightgbm": ("lgbm", "lgb", "lightgmb", "lgbmclassifier", "lgbmregressor"),
    "catboost": ("catboostclassifier", "catboostregressor", "cbm"),
    "callable": ("function", "python", "custom", "code"),
}
#: The task of transformers that is meant, likewise.
OTHER_TASKS: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("sentimentanalysis", "sentiment", "sequenceclassification"),
    "token-classification": ("ner", "namedentityrecognition", "namedentities", "postagging"),
    "fill-mask": ("maskedlm", "mlm", "maskedlanguagemodeling"),
    "text-generation": ("causallm", "generation", "chat", "completion", "textcompletion"),
    "zero-shot-classification": ("zeroshot", "zeroshottextclassification"),
    "feature-extraction": (
        *("embedding", "embeddings", "textembedding", "textembeddings"),
        *("sentencesimilarity", "sentenceembedding", "sentenceembeddings", "embed"),
    ),
    "image-classification": ("imageclassifier", "vit"),
    "image-segmentation": ("segmentation", "semanticsegmentation", "instancesegmentation"),
    "depth-estimation": ("depth", "monoculardepthestimation"),
    "image-feature-extraction": ("imageembedding", "imageembeddings"),
    "audio-classification": ("soundclassification",),
    "automatic-speech-recognition": ("asr", "speechrecognition", "speechtotext", "stt", "whisper"),
}


def meant(word: str, known: Iterable[str], others: Mapping[str, tuple[str, ...]]) -> str:
    """The known name that a word stands for: its own, another name's, or the nearest one.

    Args:
        word: what was written.
        known: the names that there are.
        others: other names of some of them, without capitals and punctuation.

    Returns:
        One of `known`, or nothing where none is near.
    """
    known = list(known)
    folded = _folded(word)
    by_folded = {_folded(name): name for name in known}
    for name, its_others in others.items():
        if name in known:
            by_folded |= dict.fromkeys(its_others, name)
    return by_folded.get(folded) or by_folded.get(nearest(folded, by_folded), "")


def is_other_runtime(word: str) -> bool:
    """Whether a word is another name of a runtime, such as `tf.keras`, and no path to code."""
    return any(_folded(word) in others for others in OTHER_RUNTIMES.values())


def task_meant(word: str, tasks: Iterable[str]) -> str:
    """The task that a word stands for exactly, by its own or another name; or nothing."""
    folded = _folded(word)
    for task in tasks:
        if folded == _folded(task) or folded in OTHER_TASKS.get(task, ()):
            return task
    return ""


def _folded(word: str) -> str:
    return "".join(letter for letter in word.casefold() if letter.isalnum())
