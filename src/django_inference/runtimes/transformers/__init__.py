"""Pipelines of transformers: models for text, pictures and sound, from a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import Runtime
from django_inference.runtimes.loading import required, usable_cores
from django_inference.runtimes.pulled import Hand, pulled
from django_inference.runtimes.torch_options import device_of, dtype_of
from django_inference.runtimes.transformers.embeddings import Embedder
from django_inference.runtimes.transformers.folder import check_weights, config_of
from django_inference.runtimes.transformers.items import checker, examples, plain
from django_inference.runtimes.transformers.tasks import LIBRARY_NAMES, TASKS, TEXTS, task_of

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact

#: Left to itself, the library looks for models and newer versions on the web, and reports.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # A worker has its threads for the model.
    "TOKENIZERS_PARALLELISM": "false",
}
#: Options that say how long a text becomes.
_LENGTHS = {"max_length", "max_new_tokens", "min_length", "min_new_tokens"}


class TransformersRuntime(Runtime):
    """A folder as `save_pretrained()` writes it: config.json, weights, tokenizer or processor.

    The answer to an item is what the pipeline returns for it, in plain values. Weights must
    be safetensors, and code in the folder is not run, unless the predictor is trusted.

    Args:
        task: of the pipeline; None for the one that `config.json` says the model is for.
        device: such as `cpu` or `cuda:0`; None for the GPU where there is one.
        dtype: that the weights are converted to, such as `float16`; None for that of the
            file.
        threads: that one operator is spread over; None for as many as this process may
            use cores. It holds for the whole process.
        options: keyword arguments of each call of the pipeline, such as `max_new_tokens`.
        pooling: of `feature-extraction`: `mean` or `cls` makes one vector a text; None for
            what the folder says, if it is of sentence-transformers, or else for a vector
            a token.
    """

    requires: ClassVar[tuple[str, ...]] = ("transformers", "torch", "safetensors")
    extra: ClassVar[str] = "transformers"
    suffixes: ClassVar[tuple[str, ...]] = (
        *("tokenizer_config.json", "preprocessor_config.json", "processor_config.json"),
    )
    needs_artifact: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"task": (*TASKS, *LIBRARY_NAMES)}

    def __init__(
        self,
        *,
        task: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
        pooling: str | None = None,
    ) -> None:
        self._task = task
        self._device = device
        self._dtype = dtype
        self._threads = usable_cores() if threads is None else threads
        self._options = dict(options or {})
        self._pooling = pooling
        self._pipeline: Any = None
        self._call: Callable[..., Any]
        self._check: Callable[[Any], Any]
        self._can_batch = False

    def load(self, artifact: Artifact | None) -> None:
        """Make the pipeline.

        Raises:
            ValueError: the folder is not what it should be, may not be loaded, or an option
                does not fit it.
        """
        artifact = required(artifact)
        folder = artifact.path
        config_of(folder)
        check_weights(folder, trusted=artifact.trusted)
        os.environ.update(_OFFLINE)
        import torch
        import transformers
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]
        self.framework = f"transformers {transformers.__version__}, torch {torch.__version__}"
        torch.set_num_threads(self._threads)
        device = device_of(self._device)
        self.device = str(device)
        self._task = task_of(folder, self._task)
        if self._pooling is not None and self._task != "feature-extraction":
            raise ValueError(f"the option `pooling` is of no use for {self._task}.")
        make: Any = transformers.pipeline
        self._pipeline = pipeline = make(
            self._task,
            model=str(folder),
            device=device,
            dtype="auto" if self._dtype is None else dtype_of(self._dtype),
            trust_remote_code=artifact.trusted,
            model_kwargs={} if artifact.trusted else {"use_safetensors": True},
        )
        pipeline.model.eval()
        self._can_batch = _can_pad(pipeline)
        self._check = checker(self._task, pipeline, self._options)
        is_embedder = self._task == "feature-extraction"
        self._call = Embedder(pipeline, folder, self._pooling) if is_embedder else self._piped

    def preprocess(self, item: Any) -> Any:
        """Look at an item, and read a picture.

        Raises:
            InvalidInput: it is not of the kind that the task is for.
        """
        return self._check(item)

    def predict(self, items: list[Any]) -> list[Any]:
        """Run the pipeline on the items together, where their lengths can be made equal."""
        return [plain(result) for result in self._call(items, **self._options)]

    def stream(self, item: Any) -> Generator[Any, None, None]:
        """Yield the text that the model adds, a word or a few at a time.

        Raises:
            InvalidInput: the task is not to generate text.
        """
        if self._task != "text-generation":
            raise InvalidInput(f"{self._task} has no text to stream: call predict_one().")
        return pulled(lambda hand: self._write(item, hand))

    def warmup(self) -> Any:
        """Run the shortest text, where the task is for texts."""
        if self._task == "text-generation":
            others = {name: self._options[name] for name in self._options.keys() - _LENGTHS}
            self._pipeline("a", max_new_tokens=1, **others)
        elif self._task in TEXTS and self._task != "fill-mask":
            return "a"
        return None

    def examples(self) -> Sequence[Any]:
        """Return items of different lengths, which are padded to one length in a shared run."""
        if self._task is None or self._pipeline.model.can_generate():
            return ()
        return examples(self._task)

    def close(self) -> None:
        """Free the model, and what it took of a GPU."""
        import torch

        self._pipeline = self._call = self._check = None  # type: ignore[assignment]
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _piped(self, items: list[Any], **options: Any) -> list[Any]:
        results: list[Any] = [None] * len(items)
        # A chat is a list itself, and among texts the pipeline takes it for several.
        is_chat = [isinstance(item, list) for item in items]
        for kind in set(is_chat):
            places = [place for place, each in enumerate(is_chat) if each is kind]
            # The pipelines change what they are given, and a batch may be run again. And it
            # is a generator, since of a list of one item some return the answer itself.
            batch = (copy(items[place]) for place in places)
            size = len(places) if self._can_batch else 1
            answers = self._pipeline(batch, batch_size=size, **options)
            for place, answer in zip(places, answers, strict=True):
                results[place] = answer
        return results

    def _write(self, item: Any, hand: Hand) -> None:
        from transformers import TextStreamer

        def give(text: str, stream_end: bool = False) -> None:
            # Nothing is complete while the end of a word is missing.
            if text:
                hand(text)

        streamer = TextStreamer(
            self._pipeline.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        streamer.on_finalized_text = give  # type: ignore[method-assign]
        self._pipeline(item, streamer=streamer, **self._options)


def _can_pad(pipeline: Any) -> bool:
    """Whether items of several lengths can share a run; gives a tokenizer what it needs."""
    tokenizer = pipeline.tokenizer
    if tokenizer is not None and tokenizer.pad_token_id is None:
        # What fills up is masked, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token
        if pipeline.model.can_generate() and pipeline.model.generation_config is not None:
            pipeline.model.generation_config.pad_token_id = tokenizer.pad_token_id
    return tokenizer is None or tokenizer.pad_token_id is not None
