"""What may lie in a folder, and what of it is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.runtimes.transformers import TransformersRuntime
from django_inference.runtimes.transformers.tasks import TASKS, task_of
from tests.runtimes.transformers.conftest import Load

pytestmark = pytest.mark.heavy


@pytest.fixture
def writer_copy(writer_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(writer_folder, tmp_path / "writer"))


def change_config(folder: Path, **said: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))


def test_the_runtime_follows_from_the_folder(writer_folder: Path, minilm: Path) -> None:
    for folder in (writer_folder, minilm):
        assert runtimes.resolve(None, str(folder)) == runtimes.BUILT_IN["transformers"]


def test_the_task_follows_from_the_config(writer_folder: Path, minilm: Path) -> None:
    assert task_of(writer_folder, None) == "text-generation"
    assert task_of(minilm, None) == "feature-extraction"


@pytest.mark.parametrize(
    ("model", "architecture", "task"),
    [
        ("bert", "BertForSequenceClassification", "text-classification"),
        ("bert", "BertForTokenClassification", "token-classification"),
        ("roberta", "RobertaForMaskedLM", "fill-mask"),
        ("llama", "LlamaForCausalLM", "text-generation"),
        ("vit", "ViTForImageClassification", "image-classification"),
        ("vit", "ViTModel", "image-feature-extraction"),
        ("detr", "DetrForObjectDetection", "object-detection"),
        ("segformer", "SegformerForSemanticSegmentation", "image-segmentation"),
        ("dpt", "DPTForDepthEstimation", "depth-estimation"),
        ("whisper", "WhisperForConditionalGeneration", "automatic-speech-recognition"),
        ("wav2vec2", "Wav2Vec2ForCTC", "automatic-speech-recognition"),
        ("wav2vec2", "Wav2Vec2ForSequenceClassification", "audio-classification"),
    ],
)
def test_the_task_of_models_that_people_use(
    transformers: Any, tmp_path: Path, model: str, architecture: str, task: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    change_config(tmp_path, model_type=model, architectures=[architecture])
    assert task_of(tmp_path, None) == task


def test_what_no_task_follows_from(transformers: Any, tmp_path: Path) -> None:
    for said in ({}, {"architectures": ["Net"]}, {"architectures": None, "model_type": "bert"}):
        (tmp_path / "config.json").write_text(json.dumps(said))
        with pytest.raises(ValueError, match="the option `task` must name it") as caught:
            task_of(tmp_path, None)
        assert all(task in str(caught.value) for task in TASKS)
    with pytest.raises(ValueError, match="no task 'text-generate' .did you mean 'text-generation"):
        task_of(tmp_path, "text-generate")


def test_the_tasks_are_those_of_the_library(transformers: Any) -> None:
    assert TASKS.keys() <= transformers.pipelines.SUPPORTED_TASKS.keys()


def test_an_option_for_another_task(load: Load, writer_folder: Path) -> None:
    with pytest.raises(ValueError, match="`pooling` is of no use for text-generation"):
        load(writer_folder, pooling="mean")
    with pytest.raises(ValueError, match="dtype is one such as"):
        load(writer_folder, dtype="float12")
    with pytest.raises(ValueError, match="the device 'cuda:7' cannot be used"):
        load(writer_folder, device="cuda:7")


def test_weights_in_another_type(load: Load, writer_folder: Path) -> None:
    runtime = load(
        writer_folder, dtype="bfloat16", options={"max_new_tokens": 3, "do_sample": False}
    )
    assert str(runtime._pipeline.model.dtype) == "torch.bfloat16"
    assert runtime.predict([" one two"])[0][0]["generated_text"] == " one two three four five"


def test_what_is_no_such_folder(tmp_path: Path) -> None:
    runtime = TransformersRuntime()
    with pytest.raises(ValueError, match="with config.json, the weights"):
        runtime.load(Artifact(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is no JSON"):
        runtime.load(Artifact(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold an object, not list"):
        runtime.load(Artifact(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no weights"):
        runtime.load(Artifact(tmp_path))


def test_pickled_weights_are_for_folders_that_are_trusted(
    load: Load, writer_copy: Path, transformers: Any
) -> None:
    import torch

    model = transformers.GPT2LMHeadModel.from_pretrained(writer_copy)
    torch.save(model.state_dict(), writer_copy / "pytorch_model.bin")
    # Beside safetensors nobody looks at them.
    load(writer_copy, options={"max_new_tokens": 1})
    (writer_copy / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"pytorch_model.bin, which are pickles: set TRUSTED"):
        load(writer_copy)
    runtime = load(writer_copy, trusted=True, options={"max_new_tokens": 3, "do_sample": False})
    assert runtime.predict([" one two"])[0][0]["generated_text"] == " one two three four five"


def test_code_in_a_folder_is_run_only_where_it_is_trusted(load: Load, writer_copy: Path) -> None:
    proof = writer_copy / "proof"
    (writer_copy / "configuration_own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import GPT2Config\n"
        f"Path({str(proof)!r}).touch()\n"
        "class OwnConfig(GPT2Config):\n"
        "    model_type = 'own'\n"
    )
    change_config(
        writer_copy, model_type="own", auto_map={"AutoConfig": "configuration_own.OwnConfig"}
    )
    with pytest.raises(ValueError, match="trust_remote_code"):
        load(writer_copy, task="text-generation")
    assert not proof.exists()


PROGRAM = """
import socket, sys
from django_inference.artifacts import Artifact

def refuse(*arguments, **more):
    raise AssertionError(f"it called somebody: {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
import tests.torchvision_ops
from django_inference.runtimes.transformers import TransformersRuntime

runtime = TransformersRuntime(options={"max_new_tokens": 2, "do_sample": False})
runtime.load(Artifact(sys.argv[1]))
print(runtime.predict([" one two"])[0][0]["generated_text"])
print("".join(runtime.stream(" one two")))
"""


def test_nothing_is_asked_of_the_network(
    writer_folder: Path,
    in_new_process: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    root = Path(__file__).parents[3]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "HOME": str(tmp_path)}
    done = in_new_process(PROGRAM, str(writer_folder), env=environment)
    assert done.stdout == " one two three four\n three four\n", done.stderr
