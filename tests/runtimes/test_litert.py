"""The LiteRT runtime, on the real model of basic-pitch and on small ones made here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.litert import LitertRuntime
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.runtimes.tensorflow import TensorFlowRuntime
from django_inference.tensors import Signature, TensorSpec

ai_edge_litert = pytest.importorskip("ai_edge_litert")
Interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter

NewProcess = Callable[..., "subprocess.CompletedProcess[str]"]
Tone = Callable[[float], Any]

WEIGHTS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)


def loaded(path: Path, *, share_weights: bool = False, **options: Any) -> LitertRuntime:
    runtime = LitertRuntime(**options)
    runtime.share_weights = share_weights
    runtime.load(Artifact(path))
    return runtime


@pytest.fixture(scope="module")
def pitch(basic_pitch_tflite: Path) -> LitertRuntime:
    return loaded(basic_pitch_tflite)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Small models, converted by TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    folder = tmp_path_factory.mktemp("litert")
    lite = tf.lite
    module = tf.Module()

    def function(code: Any, *specs: Any) -> Any:
        return tf.function(code, input_signature=[tf.TensorSpec(*spec) for spec in specs])

    def write(name: str, converter: Any) -> Path:
        (folder / name).write_bytes(converter.convert())
        return folder / name

    def converter(code: Any) -> Any:
        return lite.TFLiteConverter.from_concrete_functions([code.get_concrete_function()], module)

    def quantised(dtype: Any) -> Any:
        made = converter(module.dense)
        made.optimizations = [lite.Optimize.DEFAULT]
        random = np.random.default_rng(1)
        made.representative_dataset = lambda: (
            [random.normal(size=(1, 8)).astype(np.float32)] for _ in range(100)
        )
        made.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8]
        made.inference_input_type = made.inference_output_type = dtype
        return made

    floats = ((None, 8), tf.float32, "x")
    pairs = [((None, 2), tf.int32, name) for name in ("a", "b")]
    module.dense = function(lambda x: {"y": tf.nn.relu(x @ WEIGHTS)}, floats)
    module.sums = function(lambda a, b: {"sum": a + b, "difference": a - b}, *pairs)
    module.wide = function(lambda x: {"mean": tf.reduce_mean(x * 2, 1)}, ((None, None), tf.float32))
    module.fixed = function(lambda x: {"y": x @ WEIGHTS}, ((1, 8), tf.float32, "x"))
    module.found = function(lambda x: {"where": tf.where(x > 0)}, ((None, 3), tf.float32, "x"))
    module.words = function(lambda w: {"is_day": tf.equal(w, "day")}, ((None,), tf.string, "w"))
    tf.saved_model.save(module, str(folder / "saved"), {"dense": module.dense, "sums": module.sums})

    two = lite.TFLiteConverter.from_saved_model(
        str(folder / "saved"), signature_keys=["dense", "sums"]
    )
    made = {
        "two": write("two.tflite", two),
        "wide": write("wide.tflite", converter(module.wide)),
        "fixed": write("fixed.tflite", converter(module.fixed)),
        "found": write("found.tflite", converter(module.found)),
        "words": write("words.tflite", converter(module.words)),
        "int8": write("int8.tflite", quantised(tf.int8)),
        "uint8": write("uint8.tflite", quantised(tf.uint8)),
        "float": write("float.tflite", quantised(tf.float32)),
        "unsigned": folder / "unsigned.tflite",
    }
    # What the converters of old wrote.
    without = flatbuffer_utils.read_model(str(made["two"]))
    without.signatureDefs = None
    flatbuffer_utils.write_model(without, str(made["unsigned"]))
    return SimpleNamespace(**made)


# basic-pitch.


def test_the_tones_of_a_chord_are_the_keys_of_a_piano(
    pitch: LitertRuntime, tone: Tone, midi: Callable[[Any], int]
) -> None:
    outputs = pitch.predict({"input_2": np.stack([tone(hz) for hz in (440, 261.63, 329.63, 392)])})
    assert [midi(note) for note in outputs["note"]] == [69, 60, 64, 67]


def test_an_interpreter_called_directly_gives_the_same(
    pitch: LitertRuntime, basic_pitch_tflite: Path, tone: Tone
) -> None:
    interpreter = Interpreter(str(basic_pitch_tflite))
    expected = interpreter.get_signature_runner()(input_2=tone(440)[None])
    outputs = pitch.predict({"input_2": tone(440)[None]})
    assert set(outputs) == {"note", "onset", "contour"}
    for name, tensor in outputs.items():
        np.testing.assert_allclose(tensor, expected[name], rtol=1e-3, atol=1e-4)


def test_a_batch_equals_its_rows_one_by_one(pitch: LitertRuntime, tone: Tone) -> None:
    batch = np.stack([tone(hz) for hz in (110, 220, 330)])
    together = pitch.predict({"input_2": batch})
    for index in range(3):
        alone = pitch.predict({"input_2": batch[index : index + 1]})
        for name, tensor in alone.items():
            np.testing.assert_allclose(tensor[0], together[name][index], rtol=1e-3, atol=1e-4)


def test_tensors_are_sized_anew_only_when_shapes_change(
    basic_pitch_tflite: Path, tone: Tone, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = loaded(basic_pitch_tflite)
    called: list[str] = []

    class Recorder:
        def __init__(self, wrapped: Any) -> None:
            self._wrapped = wrapped

        def __getattr__(self, name: str) -> Any:
            called.append(name)
            return getattr(self._wrapped, name)

    monkeypatch.setattr(runtime._run, "_interpreter", Recorder(runtime._run._interpreter))
    one, two = tone(440)[None], np.stack([tone(440), tone(660)])
    for x, sized in ((one, 1), (one, 1), (two, 2), (two, 2), (one, 3)):
        runtime.predict({"input_2": x})
        assert called.count("ResizeInputTensor") == called.count("AllocateTensors") == sized
    assert called.count("Invoke") == 5


def test_the_signature_is_the_files_own(pitch: LitertRuntime) -> None:
    assert pitch.signature == Signature(
        inputs=(TensorSpec("input_2", "float32", (-1, 43844, 1)),),
        outputs=(
            TensorSpec("contour", "float32", (-1, 172, 264)),
            TensorSpec("note", "float32", (-1, 172, 88)),
            TensorSpec("onset", "float32", (-1, 172, 88)),
        ),
    )


@pytest.mark.heavy
def test_the_same_model_gives_the_same_in_every_format(
    pitch: LitertRuntime,
    basic_pitch_onnx: Path,
    basic_pitch_saved_model: Path,
    tone: Tone,
    midi: Callable[[Any], int],
) -> None:
    in_onnx, in_tensorflow = OnnxRuntime(), TensorFlowRuntime()
    in_onnx.load(Artifact(basic_pitch_onnx))
    in_tensorflow.load(Artifact(basic_pitch_saved_model))
    chord = tone(261.63) + tone(329.63) + tone(392)
    batch = np.stack([tone(440), chord / 3])

    lite = pitch.predict({"input_2": batch})
    saved = in_tensorflow.predict({"input_2": batch})
    exchanged = in_onnx.predict({"serving_default_input_2:0": batch})
    exchanged = {
        name: exchanged[f"StatefulPartitionedCall:{index}"]
        for index, name in enumerate(("contour", "note", "onset"))
    }
    for outputs in (lite, saved, exchanged):
        assert midi(outputs["note"][0]) == 69
        loudest = outputs["note"][1].mean(axis=0).argsort()[-3:]
        assert {21 + int(key) for key in loudest} == {60, 64, 67}
    for name, tensor in lite.items():
        np.testing.assert_allclose(tensor, saved[name], atol=2e-3)
        np.testing.assert_allclose(tensor, exchanged[name], atol=2e-3)


# Signatures and shapes.


@pytest.mark.heavy
def test_signatures_are_chosen_by_option(models: SimpleNamespace) -> None:
    runtime = loaded(models.two, signature="sums")
    assert runtime.signature == Signature(
        (TensorSpec("a", "int32", (-1, 2)), TensorSpec("b", "int32", (-1, 2))),
        (TensorSpec("difference", "int32", (-1, 2)), TensorSpec("sum", "int32", (-1, 2))),
    )
    a, b = np.array([[5, 6], [7, 8]], np.int32), np.ones((2, 2), np.int32)
    outputs = runtime.predict({"b": b, "a": a})
    assert outputs["sum"].tolist() == (a + b).tolist()
    assert outputs["difference"].tolist() == (a - b).tolist()

    x = np.ones((3, 8), np.float32)
    y = loaded(models.two, signature="dense").predict({"x": x})["y"]
    np.testing.assert_allclose(y, np.maximum(x @ WEIGHTS, 0), rtol=1e-5)

    with pytest.raises(ValueError, match=r"'dens' \(did you mean 'dense'\?\).*dense, sums"):
        loaded(models.two, signature="dens")
    with pytest.raises(ValueError, match=r"'serving_default'.*dense, sums"):
        loaded(models.two)


@pytest.mark.heavy
def test_a_file_without_a_signature_goes_by_the_names_of_its_tensors(
    models: SimpleNamespace,
) -> None:
    runtime = loaded(models.unsigned)
    assert runtime.signature is not None
    by_name = {spec.name: spec for spec in runtime.signature.inputs}
    assert by_name.keys() == {"dense_x:0"}
    (output,) = runtime.signature.outputs
    for rows in (1, 4, 4, 2):
        x = np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)
        y = runtime.predict({"dense_x:0": x})[output.name]
        np.testing.assert_allclose(y, np.maximum(x @ WEIGHTS, 0), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="can be left out only"):
        loaded(models.unsigned, signature="dense")


@pytest.mark.heavy
def test_a_shape_that_does_not_go_does_not_spoil_the_next(models: SimpleNamespace) -> None:
    runtime = loaded(models.unsigned)
    assert runtime.signature is not None
    (output,) = runtime.signature.outputs
    x = np.ones((2, 8), np.float32)
    expected = runtime.predict({"dense_x:0": x})[output.name]
    with pytest.raises(InvalidInput, match="of the shape"):
        runtime.predict({"dense_x:0": np.ones((2, 7), np.float32)})
    np.testing.assert_array_equal(runtime.predict({"dense_x:0": x})[output.name], expected)


@pytest.mark.heavy
def test_every_open_axis_is_resized(models: SimpleNamespace) -> None:
    runtime = loaded(models.wide)
    assert runtime.signature is not None
    (spec,) = runtime.signature.inputs
    assert spec.shape == (-1, -1)
    for shape in ((1, 3), (2, 3), (2, 5), (1, 1)):
        x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        mean = runtime.predict({spec.name: x})["mean"]
        np.testing.assert_allclose(mean, 2 * x.mean(axis=1))


@pytest.mark.heavy
def test_an_output_without_values_is_empty(models: SimpleNamespace) -> None:
    runtime = loaded(models.found)
    for x, where in (([[0, 0, 0]], []), ([[0, 1, 0]], [[0, 1]]), ([[-1, 0, 0]], [])):
        found = runtime.predict({"x": np.array(x, np.float32)})["where"]
        assert (found.dtype, found.shape[1], found.tolist()) == (np.int64, 2, where)


@pytest.mark.heavy
def test_a_fixed_batch_is_in_the_signature(models: SimpleNamespace) -> None:
    signature = loaded(models.fixed).signature
    assert signature is not None
    assert signature.batch_size == 1


@pytest.mark.heavy
def test_text_goes_in(models: SimpleNamespace) -> None:
    runtime = loaded(models.words)
    assert runtime.signature is not None
    assert runtime.signature.inputs == (TensorSpec("w", "str", (-1,)),)
    for words in (np.array(["day", "night"]), np.array([b"day", "näight"], object)):
        assert runtime.predict({"w": words})["is_day"].tolist() == [True, False]


# Quantised models.


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integers_stay_integers_unless_told_otherwise(models: SimpleNamespace, dtype: str) -> None:
    runtime = loaded(getattr(models, dtype))
    assert runtime.signature == Signature(
        (TensorSpec("x", dtype, (-1, 8)),), (TensorSpec("y", dtype, (-1, 4)),)
    )
    y = runtime.predict({"x": np.zeros((2, 8), dtype)})["y"]
    assert (y.shape, y.dtype) == ((2, 4), dtype)


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_floats_are_converted_as_litert_does_it(models: SimpleNamespace, dtype: str) -> None:
    runtime = loaded(getattr(models, dtype), dequantize=True)
    assert runtime.signature == Signature(
        (TensorSpec("x", "float32", (-1, 8)),), (TensorSpec("y", "float32", (-1, 4)),)
    )
    x = np.random.default_rng(2).normal(size=(500, 8)).astype(np.float32)
    # Beyond the range of the integers, and halfway between two of them.
    x[0] = 1e6
    x[1] = -1e6
    (scale, _) = Interpreter(str(models.int8)).get_input_details()[0]["quantization"]
    x[2:100] = (np.arange(98 * 8).reshape(98, 8) % 200 - 100 + 0.5) * np.float32(scale)
    y = runtime.predict({"x": x})["y"]
    assert y.dtype == np.float32
    # The same model, with the conversion in the file.
    np.testing.assert_array_equal(y, loaded(models.float).predict({"x": x})["y"])
    exact = np.maximum(x[100:] @ WEIGHTS, 0)
    assert np.abs(y[100:] - exact).mean() < 0.05


@pytest.mark.heavy
def test_what_is_not_quantised_is_not_converted(models: SimpleNamespace) -> None:
    runtime = loaded(models.two, signature="sums", dequantize=True)
    assert runtime.signature is not None
    assert {spec.dtype for spec in runtime.signature.inputs} == {"int32"}
    ones = np.ones((1, 2), np.int32)
    assert runtime.predict({"a": ones, "b": ones})["sum"].tolist() == [[2, 2]]


# How it runs.


def test_replicas_that_share_the_weights_answer_the_same(
    basic_pitch_tflite: Path, pitch: LitertRuntime, tone: Tone
) -> None:
    assert LitertRuntime.can_share_weights
    shared = loaded(basic_pitch_tflite, share_weights=True)
    alone = pitch.predict({"input_2": tone(440)[None]})
    for name, tensor in shared.predict({"input_2": tone(440)[None]}).items():
        np.testing.assert_allclose(tensor, alone[name], atol=2e-3)


@pytest.mark.heavy
def test_shared_weights_take_no_memory_of_the_process(
    in_new_process: NewProcess, tmp_path: Path
) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.weights = tf.constant(np.random.default_rng(0).normal(size=(2048, 2048)), tf.float32)
    code = tf.function(lambda x: x @ module.weights, [tf.TensorSpec((None, 2048), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [code.get_concrete_function()], module
    )
    (tmp_path / "large.tflite").write_bytes(converter.convert())
    program = """
import sys, psutil
import numpy as np
from django_inference.artifacts import Artifact
from django_inference.runtimes.litert import LitertRuntime
import ai_edge_litert.interpreter

def own():
    # Memory that is no part of a file, so that no other process can share it.
    return sum(mapped.anonymous for mapped in psutil.Process().memory_maps())

before = own()
runtime = LitertRuntime(threads=1)
runtime.share_weights = sys.argv[2] == "shared"
runtime.load(Artifact(sys.argv[1]))
(spec,) = runtime.signature.inputs
runtime.predict({spec.name: np.ones((1, 2048), np.float32)})
print(own() - before)
"""
    used = {}
    for how in ("shared", "alone"):
        done = in_new_process(program, str(tmp_path / "large.tflite"), how)
        assert done.returncode == 0, done.stderr
        used[how] = int(done.stdout)
    # The copy of 16 MiB that XNNPACK makes is not there.
    assert used["alone"] - used["shared"] > 12 << 20


def test_it_says_where_it_runs_and_on_what(pitch: LitertRuntime) -> None:
    assert pitch.device == "cpu"
    assert pitch.framework == f"ai-edge-litert {ai_edge_litert.__version__}"


def test_it_runs_on_the_threads_it_is_given(
    in_new_process: NewProcess, basic_pitch_tflite: Path
) -> None:
    program = """
import os, sys
import numpy as np
from django_inference.artifacts import Artifact
from django_inference.runtimes.litert import LitertRuntime

def threads():
    return len(os.listdir("/proc/self/task"))

runtime = LitertRuntime(**eval(sys.argv[2]))
runtime.load(Artifact(sys.argv[1]))
before = threads()
runtime.predict({"input_2": np.ones((1, 43844, 1), np.float32)})
print(threads() - before)
"""
    started = []
    for options, cores in (({"threads": 1}, "8"), ({}, "3"), ({"threads": 5}, "1")):
        env = {**os.environ, "OMP_NUM_THREADS": cores}
        done = in_new_process(program, str(basic_pitch_tflite), repr(options), env=env)
        assert done.returncode == 0, done.stderr
        started.append(int(done.stdout))
    assert started == [0, 2, 4]


def test_a_damaged_file_is_named(tmp_path: Path, basic_pitch_tflite: Path) -> None:
    path = tmp_path / "half.tflite"
    for content in (b"", basic_pitch_tflite.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"half\.tflite cannot be read"):
            loaded(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.tflite"):
        loaded(tmp_path / "gone.tflite")


def test_it_is_chosen_by_the_name_of_the_file() -> None:
    assert runtimes.resolve(None, "/models/notes.tflite") == runtimes.BUILT_IN["litert"]
