"""The TensorFlow runtime, on the real SavedModel of basic-pitch and on Keras models made here."""

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
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.runtimes.tensorflow import TensorFlowRuntime
from django_inference.specs import ModelSpec
from django_inference.tensors import Signature, TensorSpec
from tests.engine.engines import Engine

pytestmark = [
    pytest.mark.heavy,
    # Keras saves its variables in a way that numpy 2.4 no longer likes.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

NewProcess = Callable[..., "subprocess.CompletedProcess[str]"]

LOAD = """
import sys
from django_inference.artifacts import Artifact
from django_inference.runtimes.tensorflow import TensorFlowRuntime

def load(path, **options):
    runtime = TensorFlowRuntime(**options)
    runtime.load(Artifact(path))
    return runtime
"""


def loaded(path: Path, *, trusted: bool = False, **options: Any) -> TensorFlowRuntime:
    runtime = TensorFlowRuntime(**options)
    runtime.load(Artifact(path, trusted=trusted))
    return runtime


@pytest.fixture(scope="module")
def tf() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    return tensorflow


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    return tf.keras


@pytest.fixture(scope="module")
def pitch(basic_pitch_saved_model: Path) -> TensorFlowRuntime:
    return loaded(basic_pitch_saved_model)


@pytest.fixture
def convolution(keras: Any) -> Any:
    """A model with one input, one output and a spatial axis of any length."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((None, 4), name="signal"),
            keras.layers.Conv1D(3, 3, padding="same", activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.GlobalAveragePooling1D(name="mean"),
        ]
    )


def test_the_tones_of_a_chord_are_the_keys_of_a_piano(
    pitch: TensorFlowRuntime, tone: Callable[[float], Any], midi: Callable[[Any], int]
) -> None:
    outputs = pitch.predict({"input_2": np.stack([tone(hz) for hz in (440, 261.63, 392)])})
    assert [midi(note) for note in outputs["note"]] == [69, 60, 67]


def test_a_signature_called_directly_gives_the_same(
    tf: Any,
    pitch: TensorFlowRuntime,
    basic_pitch_saved_model: Path,
    tone: Callable[[float], Any],
) -> None:
    model = tf.saved_model.load(str(basic_pitch_saved_model))
    expected = model.signatures["serving_default"](input_2=tf.constant(tone(440)[None]))
    outputs = pitch.predict({"input_2": tone(440)[None]})
    assert set(outputs) == {"note", "onset", "contour"}
    for name, tensor in outputs.items():
        assert type(tensor) is np.ndarray
        np.testing.assert_allclose(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_the_same_model_gives_the_same_notes_in_onnx(
    pitch: TensorFlowRuntime, basic_pitch_onnx: Path, tone: Callable[[float], Any]
) -> None:
    session = OnnxRuntime()
    session.load(Artifact(basic_pitch_onnx))
    batch = np.stack([tone(440), tone(880)])
    in_onnx = session.predict({"serving_default_input_2:0": batch})
    in_tensorflow = pitch.predict({"input_2": batch})
    for index, name in enumerate(("contour", "note", "onset")):
        np.testing.assert_allclose(
            in_tensorflow[name], in_onnx[f"StatefulPartitionedCall:{index}"], atol=2e-3
        )


def test_a_batch_equals_its_rows_one_by_one(
    pitch: TensorFlowRuntime, tone: Callable[[float], Any]
) -> None:
    batch = np.stack([tone(hz) for hz in (110, 220, 330)])
    together = pitch.predict({"input_2": batch})
    for index in range(3):
        alone = pitch.predict({"input_2": batch[index : index + 1]})
        for name, tensor in alone.items():
            np.testing.assert_allclose(tensor[0], together[name][index], rtol=1e-3, atol=1e-4)


def test_the_signature_is_the_saved_models_own(pitch: TensorFlowRuntime) -> None:
    assert pitch.signature == Signature(
        inputs=(TensorSpec("input_2", "float32", (-1, 43844, 1)),),
        outputs=(
            TensorSpec("contour", "float32", (-1, 172, 264)),
            TensorSpec("note", "float32", (-1, 172, 88)),
            TensorSpec("onset", "float32", (-1, 172, 88)),
        ),
    )


def test_it_says_where_it_runs_and_on_what(tf: Any, pitch: TensorFlowRuntime) -> None:
    assert pitch.framework == f"tensorflow {tf.__version__}"
    assert pitch.device == ("cuda:0" if tf.config.list_physical_devices("GPU") else "cpu")


def test_an_unknown_signature_suggests_the_nearest(basic_pitch_saved_model: Path) -> None:
    with pytest.raises(ValueError, match=r"no signature 'serving' \(did you mean 'serving_def"):
        loaded(basic_pitch_saved_model, signature="serving")


def test_signatures_and_tags_are_chosen_by_option(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    text = tf.TensorSpec((None,), tf.string, name="words")
    numbers = tf.TensorSpec((None, 2), tf.float64, name="numbers")
    upper = tf.function(lambda words: {"upper": tf.strings.upper(words)}, [text])
    twice = tf.function(lambda numbers: {"twice": numbers * 2}, [numbers])
    tf.saved_model.save(module, str(tmp_path), {"shout": upper, "double": twice})

    runtime = loaded(tmp_path, signature="shout", tags=["serve"])
    assert runtime.signature == Signature(
        (TensorSpec("words", "str", (-1,)),), (TensorSpec("upper", "str", (-1,)),)
    )
    for words in (np.array(["a", "b"]), np.array(["a", b"b"], object)):
        assert runtime.predict({"words": words})["upper"].tolist() == [b"A", b"B"]

    runtime = loaded(tmp_path, signature="double")
    assert runtime.signature is not None
    assert runtime.signature.inputs == (TensorSpec("numbers", "float64", (-1, 2)),)
    assert runtime.predict({"numbers": np.ones((1, 2))})["twice"].tolist() == [[2, 2]]

    with pytest.raises(Exception, match="gpu"):
        loaded(tmp_path, signature="shout", tags=["serve", "gpu"])


def test_an_input_of_any_shape_leaves_the_signature_out(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": x * 2}, [tf.TensorSpec(None, tf.float32, name="x")])
    tf.saved_model.save(module, str(tmp_path), module.double)
    runtime = loaded(tmp_path)
    assert runtime.signature is None
    for shape in ((1,), (2, 3)):
        y = runtime.predict({"x": np.ones(shape, np.float32)})["y"]
        np.testing.assert_array_equal(y, np.full(shape, 2))


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_a_keras_file_gives_what_the_model_gave(
    tmp_path: Path, convolution: Any, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    convolution.save(path)
    runtime = loaded(path)
    assert runtime.signature == Signature(
        (TensorSpec("signal", "float32", (-1, -1, 4)),), (TensorSpec("mean", "float32", (-1, 3)),)
    )
    for rows, length in ((1, 5), (7, 5), (3, 8)):
        x = np.random.default_rng(rows).normal(size=(rows, length, 4)).astype(np.float32)
        outputs = runtime.predict({"signal": x})
        assert list(outputs) == ["mean"]
        np.testing.assert_allclose(outputs["mean"], convolution(x), rtol=1e-4, atol=1e-6)


def test_an_exported_keras_model_is_a_saved_model(tmp_path: Path, convolution: Any) -> None:
    convolution.export(tmp_path, verbose=False)
    runtime = loaded(tmp_path)
    assert runtime.signature is not None
    (spec,) = runtime.signature.inputs
    x = np.ones((2, 6, 4), np.float32)
    (y,) = runtime.predict({spec.name: x}).values()
    np.testing.assert_allclose(y, convolution(x), rtol=1e-4)


def test_a_folder_is_taken_for_the_keras_file_in_it(tmp_path: Path, convolution: Any) -> None:
    convolution.save(tmp_path / "model.keras")
    (tmp_path / "README.md").touch()
    assert loaded(tmp_path).signature is not None


@pytest.mark.parametrize("structure", ["list", "dict"])
def test_several_inputs_and_outputs_go_by_their_names(
    tmp_path: Path, keras: Any, structure: str
) -> None:
    width, height = keras.Input((1,), name="width"), keras.Input((1,), name="the height")
    area = keras.layers.Multiply(name="area")([width, height])
    half = keras.layers.Add(name="half")([width, height])
    inputs: Any = [height, width]
    outputs: Any = [half, area]
    if structure == "dict":
        inputs = {"the height": height, "width": width}
        outputs = {"half": half, "area": area}
    path = tmp_path / "model.keras"
    keras.Model(inputs, outputs).save(path)

    runtime = loaded(path)
    results = runtime.predict(
        {"width": np.full((2, 1), 3, np.float32), "the height": np.full((2, 1), 4, np.float32)}
    )
    assert {name: tensor.tolist() for name, tensor in results.items()} == {
        "area": [[12], [12]],
        "half": [[7], [7]],
    }
    assert runtime.signature is not None
    assert {spec.name for spec in runtime.signature.inputs} == {"width", "the height"}
    assert {spec.name for spec in runtime.signature.outputs} == {"area", "half"}


def test_two_outputs_of_one_layer_are_numbered(tmp_path: Path, keras: Any) -> None:
    x, z = keras.Input((2,), name="x"), keras.Input((2,), name="z")
    shared = keras.layers.Rescaling(2.0, name="shared")
    path = tmp_path / "model.keras"
    keras.Model([x, z], [shared(x), shared(z)]).save(path)
    outputs = loaded(path).predict(
        {"x": np.ones((1, 2), np.float32), "z": np.zeros((1, 2), np.float32)}
    )
    assert outputs["output_0"].tolist() == [[2, 2]]
    assert outputs["output_1"].tolist() == [[0, 0]]


def test_a_fixed_batch_is_in_the_signature(tmp_path: Path, keras: Any) -> None:
    path = tmp_path / "model.keras"
    inputs = keras.Input((2,), batch_size=4, name="x")
    keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs)).save(path)
    signature = loaded(path).signature
    assert signature is not None
    assert signature.batch_size == 4


def test_text_goes_into_a_keras_model(tmp_path: Path, keras: Any) -> None:
    words = keras.Input((), dtype="string", name="words")
    table = keras.layers.StringLookup(vocabulary=["day", "night"], name="index")
    path = tmp_path / "model.keras"
    keras.Model(words, table(words)).save(path)
    runtime = loaded(path)
    assert runtime.signature is not None
    assert runtime.signature.inputs == (TensorSpec("words", "str", (-1,)),)
    index = runtime.predict({"words": np.array(["night", "noon", "day"], object)})["index"]
    assert index.tolist() == [2, 0, 1]


@pytest.mark.parametrize("value", [3, 1.5, None, True, [1], "\ud800"])
def test_only_texts_are_given_to_an_input_of_texts(
    tf: Any, tmp_path: Path, keras: Any, value: Any
) -> None:
    words = tf.TensorSpec([None], tf.string, name="words")
    module = tf.Module()
    module.upper = tf.function(lambda words: {"upper": tf.strings.upper(words)})
    function = module.upper.get_concrete_function(words)
    tf.saved_model.save(module, str(tmp_path / "m"), {"serving_default": function})
    x = np.empty(2, dtype=object)
    x[:] = ["a", value]
    with pytest.raises(InvalidInput, match="'words' (takes texts, not|was given a text)"):
        loaded(tmp_path / "m").predict({"words": x})


def test_an_index_beyond_the_table_is_the_callers_mistake(tmp_path: Path, keras: Any) -> None:
    ids = keras.Input((2,), dtype="int32", name="ids")
    model = keras.Model(ids, keras.layers.Embedding(5, 3)(ids))
    model.save(tmp_path / "m.keras")
    runtime = loaded(tmp_path / "m.keras")
    with pytest.raises(InvalidInput) as error:
        runtime.predict({"ids": np.array([[1, 9]], np.int32)})
    assert error.value.message == (
        "the model does not take these inputs (ids: whole numbers of the shape [1, 2]): "
        "indices[0,1] = 9 is not in [0, 5)."
    )
    assert runtime.predict({"ids": np.array([[1, 4]], np.int32)})


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_python_code_in_a_keras_file_runs_only_when_trusted(
    tmp_path: Path, keras: Any, suffix: str
) -> None:
    proof = tmp_path / "code ran"
    touch = str(proof)
    x = keras.Input((2,), name="x")
    layer = keras.layers.Lambda(
        lambda t: __import__("pathlib").Path(touch).touch() or t * 3, name="y"
    )
    path = tmp_path / f"model{suffix}"
    keras.Model(x, layer(x)).save(path)
    proof.unlink()

    with pytest.raises(ValueError, match=rf"model\{suffix} holds Python code.*TRUSTED"):
        loaded(path)
    assert not proof.exists()
    y = loaded(path, trusted=True).predict({"x": np.ones((1, 2), np.float32)})["y"]
    assert y.tolist() == [[3, 3]]
    assert proof.exists()


def test_a_model_that_does_not_say_what_it_takes_is_refused(tmp_path: Path, keras: Any) -> None:
    path = tmp_path / "model.keras"
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Dense(2)]).save(path)
    with pytest.raises(ValueError, match=r"does not say what the model takes.*model\.export"):
        loaded(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_corrupt_keras_file_fails_to_load(tmp_path: Path, convolution: Any, suffix: str) -> None:
    path = tmp_path / f"half{suffix}"
    convolution.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((ValueError, OSError), match=rf"half\{suffix}|truncated"):
        loaded(path)


def test_a_corrupt_saved_model_fails_to_load(tmp_path: Path, basic_pitch_saved_model: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(
        (basic_pitch_saved_model / "saved_model.pb").read_bytes()[:1000]
    )
    with pytest.raises((ValueError, OSError)):
        loaded(tmp_path)


def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        loaded(tmp_path / "gone")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold one file that ends in saved_model\.pb"):
        loaded(tmp_path)


def test_threads_that_come_too_late_are_refused(
    tf: Any, pitch: TensorFlowRuntime, basic_pitch_saved_model: Path
) -> None:
    now = tf.config.threading.get_intra_op_parallelism_threads()
    with pytest.raises(RuntimeError, match=f"threads={now + 1} came too late"):
        TensorFlowRuntime(threads=now + 1).load(Artifact(basic_pitch_saved_model))


@pytest.mark.parametrize(("given", "found"), [(None, "2"), ("1", "1")])
def test_a_new_process_is_set_up_before_tensorflow_is(
    in_new_process: NewProcess, basic_pitch_saved_model: Path, given: str | None, found: str
) -> None:
    env = {**os.environ}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)
    if given is not None:
        env["TF_CPP_MIN_LOG_LEVEL"] = given
    program = (
        LOAD
        + """
for _ in range(2):
    load(sys.argv[1], threads=1)
import os, tensorflow
threads = tensorflow.config.threading.get_intra_op_parallelism_threads()
print(threads, os.environ["TF_CPP_MIN_LOG_LEVEL"])
"""
    )
    done = in_new_process(program, str(basic_pitch_saved_model), env=env)
    assert done.stdout.split() == ["1", found], done.stderr


def test_without_tf_keras_an_old_saved_model_says_to_install_it(
    in_new_process: NewProcess, basic_pitch_saved_model: Path
) -> None:
    program = (
        LOAD
        + """
sys.modules["tf_keras"] = None  # as if it were not installed
try:
    load(sys.argv[1])
except RuntimeError as error:
    print(error, type(error.__cause__).__name__)
"""
    )
    done = in_new_process(program, str(basic_pitch_saved_model))
    assert "pip install tf_keras AttributeError" in done.stdout, done.stderr
    assert str(basic_pitch_saved_model) in done.stdout


def test_keras_on_another_backend_is_refused(
    in_new_process: NewProcess, tmp_path: Path, convolution: Any
) -> None:
    convolution.save(tmp_path / "model.keras")
    program = (
        LOAD
        + """
try:
    load(sys.argv[1])
except RuntimeError as error:
    print(error)
"""
    )
    env = {**os.environ, "KERAS_BACKEND": "numpy"}
    done = in_new_process(program, str(tmp_path / "model.keras"), env=env)
    assert "KERAS_BACKEND is numpy" in done.stdout, done.stderr


def test_files_of_keras_2_load_in_keras_3_and_in_keras_2(
    in_new_process: NewProcess, tmp_path: Path
) -> None:
    program = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy, tensorflow
keras = tensorflow.keras
a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
outputs = [keras.layers.Add(name="sum")([a, b]), keras.layers.Rescaling(3.0, name="thrice")(b)]
model = keras.Model([a, b], outputs)
model.save(sys.argv[1] + "/model.h5")
model.save(sys.argv[1] + "/model.keras")
"""
    program += LOAD.replace(
        "runtime.load(Artifact(path))", "runtime.load(Artifact(path, trusted=path[-1] == '5'))"
    )
    program += """
for name in ("model.h5", "model.keras"):
    runtime = load(os.path.join(sys.argv[1], name))
    ones, twos = numpy.ones((1, 2), "float32"), numpy.full((1, 2), 2, "float32")
    outputs = runtime.predict({"a": ones, "b": twos})
    print({name: tensor.tolist() for name, tensor in outputs.items()})
try:
    TensorFlowRuntime().load(Artifact(os.path.join(sys.argv[1], "model.h5")))
except ValueError as error:
    print(error)
"""
    done = in_new_process(program, str(tmp_path))
    expected = "{'sum': [[3.0, 3.0]], 'thrice': [[6.0, 6.0]]}"
    assert done.stdout.splitlines()[:2] == [expected] * 2, done.stderr
    assert "may hold Python code, and Keras 2 would run it: set TRUSTED" in done.stdout

    runtime = loaded(tmp_path / "model.h5")
    two = np.full((3, 2), 2, np.float32)
    outputs = runtime.predict({"a": two, "b": two})
    assert outputs["sum"].tolist() == [[4, 4]] * 3
    assert outputs["thrice"].tolist() == [[6, 6]] * 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn"])
@pytest.mark.parametrize(
    "runtime", ["tensorflow.TensorFlowRuntime", "tensorflow1.TensorFlow1Runtime"]
)
def test_types_beyond_numpys_own_are_float32_to_callers(
    tf: Any, tmp_path: Path, dtype: str, runtime: str
) -> None:
    module = tf.Module()

    def double(x: Any) -> Any:
        return {"y": tf.cast(tf.cast(x, tf.float32) * 2, dtype)}

    signature = [tf.TensorSpec([None, 2], dtype, name="x")]
    module.double = tf.function(double, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path), signatures=module.double)
    engine = Engine(
        ModelSpec(alias="m", runtime=f"django_inference.runtimes.{runtime}", artifact=str(tmp_path))
    )
    engine.runner.load()
    assert engine.runner.signature == Signature(
        (TensorSpec("x", "float32", (-1, 2)),), (TensorSpec("y", "float32", (-1, 2)),)
    )
    (answer,) = engine.run({"x": [[1, 0.5]]})
    assert (answer["y"].dtype, answer["y"].tolist()) == (np.float32, [[2, 1]])
