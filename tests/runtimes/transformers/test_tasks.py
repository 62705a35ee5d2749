"""Pipelines for texts, pictures and sounds, in plain values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.transformers import TransformersRuntime
from django_inference.specs import ModelSpec
from tests.engine.engines import Engine
from tests.runtimes.transformers.conftest import Load, bert

pytestmark = pytest.mark.heavy

Untrained = Callable[..., Path]
TEXTS = [" one", " two three four five six", " seven eight"]


def near(one: Any, other: Any) -> bool:
    """Equal but for the last digits: what fills up a batch changes the order of a sum."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, float | np.ndarray):
        return bool(np.shape(one) == np.shape(other) and np.allclose(one, other, atol=1e-5))
    return bool(one == other)


def answers(runtime: TransformersRuntime, items: list[Any]) -> list[Any]:
    """Of a batch, which are those of its items alone, and can be sent."""
    together = runtime.predict([runtime.preprocess(item) for item in items])
    alone = [runtime.predict([runtime.preprocess(item)])[0] for item in items]
    assert near(together, alone)
    msgspec.msgpack.encode(together, enc_hook=lambda array: array.tolist())
    return together


# Embeddings, with real weights.


@pytest.fixture(scope="module")
def embedder(load: Load, minilm: Path) -> TransformersRuntime:
    return load(minilm)


def test_like_texts_get_like_vectors(embedder: TransformersRuntime) -> None:
    texts = [
        "How do I bake bread?",
        "A recipe for baking a loaf of bread",
        "The shares of the bank fell by a third",
    ]
    bread, loaf, bank = answers(embedder, texts)
    assert bread.shape == (384,)
    assert bread.dtype == np.float32
    assert np.linalg.norm(bread) == pytest.approx(1, abs=1e-5)
    assert bread @ loaf > 0.7
    assert abs(bread @ bank) < 0.2


def test_without_pooling_there_is_a_vector_a_token(
    load: Load, minilm: Path, tmp_path: Path
) -> None:
    for file in minilm.iterdir():
        if file.is_file() and file.name != "modules.json":
            (tmp_path / file.name).symlink_to(file)
    words = answers(load(tmp_path), ["bread", "a loaf of bread"])
    # Two tokens frame each text, and what fills up the shorter one is left out.
    assert [each.shape for each in words] == [(3, 384), (6, 384)]
    mean, first = (load(tmp_path, pooling=pooling) for pooling in ("mean", "cls"))
    assert near(answers(mean, ["bread"])[0], words[0].mean(axis=0))
    assert near(answers(first, ["bread", "a loaf of bread"])[1], words[1][0])


def test_a_long_text_is_refused_or_cut_off(load: Load, minilm: Path) -> None:
    text = "bread " * 600
    with pytest.raises(InvalidInput, match="602 tokens, and the model takes 512 at the most"):
        load(minilm).preprocess(text)
    runtime = load(minilm, options={"truncation": True})
    (vector,) = runtime.predict([runtime.preprocess(text)])
    assert vector.shape == (384,)


def test_a_pooling_that_there_is_not(load: Load, minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pooling is one of mean, cls, not 'sum'"):
        load(minilm, pooling="sum")
    for file in minilm.iterdir():
        if file.is_file():
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False})
    )
    with pytest.raises(ValueError, match="asks for pooling_mode_max_tokens; known are"):
        load(tmp_path)
    assert answers(load(tmp_path, pooling="mean"), ["bread"])[0].shape == (384,)


# Other tasks for texts, with weights of chance.


def test_text_classification(load: Load, untrained: Untrained, tokenizer: Any) -> None:
    labels = {0: "bad", 1: "good", 2: "so so"}
    folder = untrained(
        "BertForSequenceClassification", **bert(len(tokenizer), id2label=labels, num_labels=3)
    )
    runtime = load(folder, options={"top_k": 2})
    for answer in answers(runtime, TEXTS):
        assert len(answer) == 2
        assert {each["label"] for each in answer} < set(labels.values())
        assert all(type(each["score"]) is float for each in answer)


def test_token_classification(load: Load, untrained: Untrained, tokenizer: Any) -> None:
    folder = untrained("BertForTokenClassification", **bert(len(tokenizer), num_labels=2))
    runtime = load(folder, options={"ignore_labels": []})
    for answer in answers(runtime, TEXTS):
        assert answer
        assert {type(each["score"]) for each in answer} == {float}
        assert {type(each["index"]) for each in answer} == {int}


def test_fill_mask(
    load: Load, untrained: Untrained, tokenizer: Any, transformers: Any, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    masking = transformers.AutoTokenizer.from_pretrained(tmp_path, mask_token="<mask>")
    folder = untrained("BertForMaskedLM", masking, **bert(len(masking)))
    runtime = load(folder)
    for answer in answers(runtime, [" one <mask> three", " two three four <mask>"]):
        assert len(answer) == 5
        assert type(answer[0]["token_str"]) is str
    with pytest.raises(InvalidInput, match="must hold <mask>"):
        runtime.preprocess(" one two three")


def test_zero_shot_classification(load: Load, untrained: Untrained, tokenizer: Any) -> None:
    labels = {"entailment": 0, "contradiction": 1}
    names = {number: label for label, number in labels.items()}
    folder = untrained(
        "BertForSequenceClassification",
        **bert(len(tokenizer), label2id=labels, id2label=names),
    )
    wanted = {"candidate_labels": ["number", "letter"]}
    runtime = load(folder, task="zero-shot-classification", options=wanted)
    for text, answer in zip(TEXTS, answers(runtime, TEXTS), strict=True):
        assert answer["sequence"] == text
        assert sorted(answer["labels"]) == ["letter", "number"]
        assert sum(answer["scores"]) == pytest.approx(1)


def test_a_task_without_a_stream_says_so(embedder: TransformersRuntime) -> None:
    with pytest.raises(InvalidInput, match="feature-extraction has no text to stream"):
        embedder.stream("bread")
    for item in (5, None, ["bread"], {"text": "bread"}):
        with pytest.raises(InvalidInput, match="a text is wanted; given"):
            embedder.preprocess(item)


# Pictures and sounds.


@pytest.fixture(scope="module")
def viewer(load: Load, untrained: Untrained, transformers: Any) -> TransformersRuntime:
    folder = untrained(
        "ViTForImageClassification",
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
        **bert(0, image_size=32, patch_size=16, num_labels=3),
    )
    return load(folder)


def test_pictures_of_any_size(viewer: TransformersRuntime) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (*size, 3), np.uint8) for size in ((32, 32), (50, 70))]
    for answer in answers(viewer, pictures):
        assert [type(each["label"]) for each in answer] == [str] * 3
        assert sum(each["score"] for each in answer) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("height", [1, 3])
def test_rows_are_not_taken_for_colours(viewer: TransformersRuntime, height: int) -> None:
    picture = np.zeros((height, 40, 3), np.uint8)
    with pytest.raises(InvalidInput, match=f"{height} pixels high"):
        viewer.preprocess(picture)
    assert viewer.preprocess(picture.transpose(1, 0, 2)).size == (height, 40)


@pytest.mark.parametrize("item", ["http://127.0.0.1:1/x.png", "/etc/passwd", "x.png", 5, b"no"])
def test_no_name_of_a_picture_is_looked_up(viewer: TransformersRuntime, item: Any) -> None:
    with pytest.raises(InvalidInput):
        viewer.preprocess(item)


def ears(untrained: Untrained, transformers: Any, norm: str) -> Path:
    """A model of sounds. Only with a norm by layer it knows what has been filled up."""
    return untrained(
        "Wav2Vec2ForSequenceClassification",
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer"),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16, 16),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        num_labels=2,
        classifier_proj_size=8,
    )


@pytest.fixture(scope="module")
def listener(load: Load, untrained: Untrained, transformers: Any) -> TransformersRuntime:
    return load(ears(untrained, transformers, "layer"))


@pytest.mark.parametrize(("norm", "is_batched"), [("layer", True), ("group", False)])
def test_a_sound_is_heard_beside_a_longer_one_as_alone(
    untrained: Untrained, transformers: Any, norm: str, is_batched: bool
) -> None:
    folder = ears(untrained, transformers, norm)
    path = "django_inference.runtimes.transformers.TransformersRuntime"
    engine = Engine(ModelSpec(alias="m", runtime=path, artifact=str(folder)))
    engine.runner.load()
    assert engine.runner.proof.status.startswith("proven at load" if is_batched else "not batched")
    rng = np.random.default_rng(1)
    sounds = [rng.standard_normal(1_000 * n).astype(np.float32) for n in range(2, 10)]
    alone = [engine.run([sound])[0][0] for sound in sounds]
    for _ in range(4):
        (together,) = engine.run(sounds)
        for one, other in zip(alone, together, strict=True):
            scores = [{each["label"]: each["score"] for each in answer} for answer in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert (engine.runner.proof.status == "proven") is is_batched


def test_sounds(listener: TransformersRuntime) -> None:
    tone = np.sin(np.arange(16_000) / 20)
    for item in (tone, tone.astype(np.float32), {"raw": tone, "sampling_rate": 16_000}):
        (answer,) = answers(listener, [item])
        assert {each["label"] for each in answer} == {"LABEL_0", "LABEL_1"}


@pytest.mark.parametrize(
    "item", ["http://127.0.0.1:1/x.wav", "/etc/passwd", b"RIFF", {"raw": "x"}, np.zeros((2, 2)), 5]
)
def test_no_name_of_a_sound_is_looked_up(listener: TransformersRuntime, item: Any) -> None:
    with pytest.raises(InvalidInput, match="a sound is wanted: .*given: a"):
        listener.preprocess(item)
