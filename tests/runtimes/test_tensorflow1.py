"""The TensorFlow 1 runtime, on what a training script of that time leaves behind.

The weights are whole numbers, so that every sum is exact.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from django_inference import runtimes
from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.tensorflow import TensorFlowRuntime
from django_inference.runtimes.tensorflow1 import TensorFlow1Runtime
from django_inference.tensors import Signature, TensorSpec

pytestmark = pytest.mark.heavy

NewProcess = Callable[..., "subprocess.CompletedProcess[str]"]

_random = np.random.default_rng(1)
FIRST = _random.integers(-3, 4, (8, 16)).astype(np.float32)
SECOND = _random.integers(-3, 4, (16, 4)).astype(np.float32)
X = _random.integers(-4, 5, (5, 8)).astype(np.float32)

ENDS: dict[str, Any] = {
    "inputs": {"x": "input:0"},
    "outputs": {"scores": "scores:0"},
    "feed": {"keep_prob:0": 1.0},
}
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (-1, 8)),), (TensorSpec("scores", "float32", (-1, 4)),)
)


def expected(x: Any = X) -> Any:
    return np.maximum(x @ FIRST, 0) @ SECOND


def loaded(path: Path, *, trusted: bool = False, **options: Any) -> TensorFlow1Runtime:
    runtime = TensorFlow1Runtime(**options)
    runtime.load(Artifact(path, trusted=trusted))
    return runtime


@pytest.fixture(scope="module")
def v1() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    return tensorflow.compat.v1


@pytest.fixture(scope="module")
def training(v1: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two checkpoints of a network with dropout and a training step, from a GPU of a cluster."""
    folder = tmp_path_factory.mktemp("training")
    with v1.Graph().as_default(), v1.device("/job:worker/task:3/device:GPU:1"):
        x = v1.placeholder("float32", (None, 8), "input")
        labels = v1.placeholder("int64", (None,), "labels")
        keep_prob = v1.placeholder("float32", (), "keep_prob")
        first = v1.get_variable("first", initializer=FIRST)
        second = v1.get_variable("second", initializer=np.zeros_like(SECOND))
        hidden = v1.nn.dropout(v1.nn.relu(v1.matmul(x, first)), rate=1 - keep_prob)
        scores = v1.identity(v1.matmul(hidden, second), "scores")
        v1.nn.softmax(scores, name="shares")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, scores)
        v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        saver_def = v1.train.Saver().as_saver_def()
        definition = v1.train.export_meta_graph(saver_def=saver_def)
    with v1.Graph().as_default() as graph, v1.Session() as session:
        saver = v1.train.import_meta_graph(definition, clear_devices=True)
        session.run(v1.global_variables_initializer())
        saver.save(session, str(folder / "model"), 10)
        (variable,) = (each for each in v1.global_variables() if each.op.name == "second")
        variable.load(SECOND, session)
        saver.save(session, str(folder / "model"), 200)
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["scores"]
        )
    for meta in folder.glob("*.meta"):
        meta.write_bytes(definition.SerializeToString())
    return SimpleNamespace(folder=folder, meta=folder / "model-200.meta", frozen=frozen)


@pytest.fixture(scope="module")
def frozen(training: SimpleNamespace) -> Path:
    path: Path = training.folder / "frozen" / "digits.pb"
    path.parent.mkdir()
    path.write_bytes(training.frozen.SerializeToString())
    return path


@pytest.fixture(scope="module")
def saved_model(v1: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of TensorFlow 1 with two signatures, tags of its own, and a table of words."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder("float32", (None, 8), "input")
        words = v1.placeholder("string", (None,), "words")
        scores = v1.matmul(x, v1.get_variable("first", initializer=FIRST))
        table = v1.lookup.StaticVocabularyTable(
            v1.lookup.KeyValueTensorInitializer(["day", "night"], np.arange(2)), 1
        )
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        signatures = {
            "predict": v1.saved_model.predict_signature_def({"x": x}, {"scores": scores}),
            "index": v1.saved_model.predict_signature_def(
                {"words": words}, {"index": table.lookup(words), "upper": v1.strings.upper(words)}
            ),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve", "cpu"], signatures, main_op=v1.tables_initializer()
        )
        builder.save()
    return folder


@pytest.fixture(scope="module")
def keras_file(v1: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A Keras model of the time of sessions, with what behaves otherwise in training."""
    import tf_keras

    path = tmp_path_factory.mktemp("keras") / "model.h5"
    graph = v1.Graph()
    with graph.as_default(), v1.Session(graph=graph).as_default() as session:
        image = tf_keras.Input((8,), name="image")
        hidden = tf_keras.layers.Dense(16, activation="relu", name="hidden")(image)
        hidden = tf_keras.layers.Dropout(0.5)(tf_keras.layers.BatchNormalization()(hidden))
        outputs = [tf_keras.layers.Dense(4, name=name)(hidden) for name in ("shape", "colour")]
        model = tf_keras.Model(image, outputs)
        session.run(v1.global_variables_initializer())
        with pytest.warns(UserWarning, match="HDF5"):
            model.save(path)
        answers = session.run(model.outputs, {model.inputs[0]: X})
        session.close()
    return SimpleNamespace(path=path, shape=answers[0], colour=answers[1])


# What the ends of a graph are.


@pytest.mark.parametrize("kind", ["meta", "folder", "frozen"])
def test_every_kind_of_graph_gives_what_the_network_gave(
    training: SimpleNamespace, frozen: Path, kind: str
) -> None:
    path = frozen if kind == "frozen" else getattr(training, kind)
    runtime = loaded(path, **ENDS)
    assert runtime.signature == SIGNATURE
    for rows in (1, 5):
        outputs = runtime.predict({"x": X[:rows]})
        assert list(outputs) == ["scores"]
        assert type(outputs["scores"]) is np.ndarray
        np.testing.assert_array_equal(outputs["scores"], expected(X[:rows]))


@pytest.mark.parametrize("is_named", [True, False])
def test_the_prefix_of_a_checkpoint_may_be_empty(
    training: SimpleNamespace, tmp_path: Path, is_named: bool
) -> None:
    for file in training.folder.glob("model-200.*"):
        shutil.copy(file, tmp_path / file.name.removeprefix("model-200"))
    if not is_named:
        (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/cluster/run/"\n')
    runtime = loaded(tmp_path / ".meta" if is_named else tmp_path, **ENDS)
    np.testing.assert_array_equal(runtime.predict({"x": X})["scores"], expected(X))


def test_any_checkpoint_can_be_named(training: SimpleNamespace) -> None:
    early = loaded(training.folder / "model-10.meta", **ENDS)
    assert not early.predict({"x": X})["scores"].any()


def test_a_list_of_checkpoints_from_another_machine_is_understood(
    training: SimpleNamespace, tmp_path: Path
) -> None:
    for file in training.folder.glob("model-*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "/home/ada/runs/model-200"\n'
        'all_model_checkpoint_paths: "/home/ada/runs/model-10"\n'
    )
    np.testing.assert_array_equal(loaded(tmp_path, **ENDS).predict({"x": X})["scores"], expected())


def test_what_is_left_out_is_read_from_the_graph(frozen: Path) -> None:
    runtime = loaded(frozen, feed={"keep_prob": 1.0})
    assert runtime.signature == Signature(
        (TensorSpec("input", "float32", (-1, 8)),), SIGNATURE.outputs
    )
    np.testing.assert_array_equal(runtime.predict({"input": X})["scores"], expected())


def test_inputs_are_those_that_the_outputs_depend_on(training: SimpleNamespace) -> None:
    runtime = loaded(
        training.meta, outputs={"scores": "scores", "shares": "shares:0"}, feed=ENDS["feed"]
    )
    assert runtime.signature is not None
    assert [spec.name for spec in runtime.signature.inputs] == ["input"]
    outputs = runtime.predict({"input": X})
    np.testing.assert_allclose(outputs["shares"].sum(axis=1), 1, rtol=1e-5)


def test_a_graph_with_several_ends_lists_them(training: SimpleNamespace) -> None:
    with pytest.raises(ValueError) as error:
        loaded(training.meta)
    said = str(error.value)
    assert "the option `outputs` must" in said
    assert "shares:0 float32 (None, 4)" in said
    assert "input:0" not in said


def test_a_placeholder_without_an_axis_belongs_to_the_whole_call(frozen: Path) -> None:
    runtime = loaded(frozen)
    assert runtime.signature is not None
    axes = {spec.name: spec.batch_axis for spec in runtime.signature.inputs}
    assert axes == {"input": 0, "keep_prob": None}
    outputs = runtime.predict({"input": X, "keep_prob": np.array(1, np.float32)})
    assert all(len(output) == len(X) for output in outputs.values())


def test_an_output_without_an_axis_for_the_batch_is_declared_so(training: SimpleNamespace) -> None:
    outputs = {"loss": "sparse_softmax_cross_entropy_loss/value:0"}
    runtime = loaded(training.meta, outputs=outputs, feed=ENDS["feed"])
    assert runtime.signature is not None
    assert runtime.signature.outputs[0].batch_axis is None


def test_inputs_that_do_not_suffice_are_completed(training: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"depend on keep_prob, too: .*`feed`"):
        loaded(training.meta, inputs=ENDS["inputs"], outputs=ENDS["outputs"])


@pytest.mark.parametrize(
    "options",
    [
        {"inputs": {"x": "inptu:0"}},
        {"outputs": {"y": "inptu"}},
        {"feed": {"inptu:0": 1.0}},
    ],
)
def test_a_tensor_that_is_not_there_suggests_the_nearest(
    frozen: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"no tensor 'inptu:0' \(did you mean 'input:0'\?\)"):
        loaded(frozen, **(ENDS | options))


def test_a_tensor_in_the_middle_can_be_fed_and_fetched(frozen: Path) -> None:
    hidden = np.maximum(X @ FIRST, 0)
    runtime = loaded(frozen, inputs={"hidden": "Relu:0"}, feed={"keep_prob:0": 1.0})
    np.testing.assert_array_equal(runtime.predict({"hidden": hidden})["scores"], expected())
    runtime = loaded(frozen, outputs={"hidden": "Relu:0"})
    np.testing.assert_array_equal(runtime.predict({"input": X})["hidden"], hidden)


def test_an_input_of_any_shape_leaves_the_signature_out(v1: Any, tmp_path: Path) -> None:
    with v1.Graph().as_default() as graph:
        v1.multiply(v1.placeholder("float32", name="x"), 2, name="y")
    (tmp_path / "any.pb").write_bytes(graph.as_graph_def().SerializeToString())
    runtime = loaded(tmp_path / "any.pb")
    assert runtime.signature is None
    for shape in ((2,), (2, 3)):
        y = runtime.predict({"x": np.ones(shape, np.float32)})["y"]
        np.testing.assert_array_equal(y, np.full(shape, 2))
    with pytest.raises(InvalidInput, match="the inputs are x; given: z"):
        runtime.predict({"z": np.ones(1)})


# SavedModels.


def test_a_signature_names_the_tensors(saved_model: Path) -> None:
    runtime = loaded(saved_model, signature="predict")
    assert runtime.signature == Signature(
        SIGNATURE.inputs, (TensorSpec("scores", "float32", (-1, 16)),)
    )
    np.testing.assert_array_equal(runtime.predict({"x": X})["scores"], X @ FIRST)


def test_tables_are_filled_and_text_is_text(saved_model: Path) -> None:
    runtime = loaded(saved_model, signature="index", tags=["cpu", "serve"])
    assert runtime.signature == Signature(
        (TensorSpec("words", "str", (-1,)),),
        (TensorSpec("index", "int64", (-1,)), TensorSpec("upper", "str", (-1,))),
    )
    for words in (np.array(["night", "noon", "day"]), np.array([b"night", "noon", b"day"], object)):
        outputs = runtime.predict({"words": words})
        assert outputs["index"].tolist() == [1, 2, 0]
        assert outputs["upper"].tolist() == [b"NIGHT", b"NOON", b"DAY"]


def test_signatures_are_listed_where_one_must_be_named(saved_model: Path) -> None:
    with pytest.raises(ValueError, match="`signature` can be index, predict"):
        loaded(saved_model)
    with pytest.raises(ValueError, match=r"no signature 'predcit' \(did you mean 'predict'\?\)"):
        loaded(saved_model, signature="predcit")


def test_ends_of_ones_own_need_no_signature(saved_model: Path) -> None:
    runtime = loaded(saved_model, inputs={"x": "input"}, outputs={"scores": "MatMul"})
    np.testing.assert_array_equal(runtime.predict({"x": X})["scores"], X @ FIRST)


def test_tags_that_are_not_there_are_refused(saved_model: Path) -> None:
    with pytest.raises(RuntimeError, match=r"available tags.*serve"):
        loaded(saved_model, signature="predict", tags=["gpu"])


def test_a_saved_model_with_several_meta_graphs_lists_their_tags(v1: Any, tmp_path: Path) -> None:
    builder = v1.saved_model.Builder(str(tmp_path / "two"))
    with v1.Graph().as_default(), v1.Session() as session:
        y = v1.identity(v1.placeholder("float32", (None,), "x"), "y")
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.add_meta_graph(["serve", "gpu"])
        builder.save()
    with pytest.raises(ValueError, match=r"2 MetaGraphs.*\['serve'\] or \['gpu', 'serve'\]"):
        loaded(tmp_path / "two")
    runtime = loaded(tmp_path / "two", tags=["serve"])
    assert runtime.predict({"x": np.ones(2, np.float32)})[y.op.name].tolist() == [1, 1]


def test_a_saved_model_of_today_runs_in_a_session_too(
    basic_pitch_saved_model: Path, tone: Callable[[float], Any], midi: Callable[[Any], int]
) -> None:
    """And beside TensorFlow 2 in the same process, in either order."""
    batch = np.stack([tone(hz) for hz in (440, 261.63, 392)])
    of_today = TensorFlowRuntime()
    of_today.load(Artifact(basic_pitch_saved_model))
    of_yore = loaded(basic_pitch_saved_model)
    assert of_yore.signature == of_today.signature
    for _ in range(2):
        today = of_today.predict({"input_2": batch})
        yore = of_yore.predict({"input_2": batch})
        assert [midi(note) for note in yore["note"]] == [69, 60, 67]
        for name, tensor in today.items():
            np.testing.assert_allclose(yore[name], tensor, atol=1e-4)


# Checkpoints and graphs that something is wrong with.


def test_shapes_that_another_release_inferred_do_not_matter(
    v1: Any, training: SimpleNamespace, tmp_path: Path
) -> None:
    definition = v1.MetaGraphDef()
    definition.ParseFromString(training.meta.read_bytes())
    (node,) = (each for each in definition.graph_def.node if each.name == "MatMul")
    node.attr["_output_shapes"].list.shape[0].dim[1].size = 99
    with v1.Graph().as_default(), pytest.raises(ValueError, match="_output_shapes"):
        v1.train.import_meta_graph(definition)

    for file in training.folder.glob("model-200.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model-200.meta").write_bytes(definition.SerializeToString())
    np.testing.assert_array_equal(loaded(tmp_path, **ENDS).predict({"x": X})["scores"], expected())


def test_a_graph_without_variables_has_nothing_to_restore(v1: Any, tmp_path: Path) -> None:
    with v1.Graph().as_default():
        words = v1.placeholder("string", (None,), "words")
        initial = v1.lookup.KeyValueTensorInitializer(["day", "night"], np.arange(2))
        v1.identity(v1.lookup.StaticVocabularyTable(initial, 1).lookup(words), "index")
        v1.train.export_meta_graph(str(tmp_path / "words.meta"))
    runtime = loaded(tmp_path / "words.meta", outputs={"index": "index"})
    assert runtime.predict({"words": np.array(["night", "day"])})["index"].tolist() == [1, 0]


def test_a_checkpoint_without_its_variables_is_named(
    training: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "model-200.meta").write_bytes(training.meta.read_bytes())
    with pytest.raises(ValueError, match=r"not a valid checkpoint: .*model-200"):
        loaded(tmp_path / "model-200.meta", **ENDS)


@pytest.mark.parametrize("name", ["half.pb", "half.meta"])
def test_a_damaged_file_is_named(training: SimpleNamespace, tmp_path: Path, name: str) -> None:
    whole = training.meta.read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{name} is no (Meta)?GraphDef, or a damaged one"):
        loaded(tmp_path / name)


@pytest.mark.parametrize("name", ["gone", "gone.pb", "gone.meta"])
def test_a_missing_artifact_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        loaded(tmp_path / name)


def test_a_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold one file that ends in \.pb, \.meta"):
        loaded(tmp_path)


# Keras.


def test_a_keras_file_gives_what_the_model_gave(keras_file: SimpleNamespace) -> None:
    runtime = loaded(keras_file.path, trusted=True)
    assert runtime.signature == Signature(
        (TensorSpec("image", "float32", (-1, 8)),),
        (TensorSpec("shape", "float32", (-1, 4)), TensorSpec("colour", "float32", (-1, 4))),
    )
    outputs = runtime.predict({"image": X})
    for name in ("shape", "colour"):
        np.testing.assert_allclose(outputs[name], getattr(keras_file, name), rtol=1e-5)


def test_keras_models_do_not_share_a_graph(keras_file: SimpleNamespace) -> None:
    one, other = (loaded(keras_file.path, trusted=True) for _ in range(2))
    one.close()
    outputs = other.predict({"image": X})
    np.testing.assert_allclose(outputs["shape"], keras_file.shape, rtol=1e-5)


def test_a_keras_file_needs_trust(keras_file: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match=r"model\.h5 may hold Python code.*TRUSTED or pin SHA256"):
        loaded(keras_file.path)
    digest = Artifact(keras_file.path).digest()
    runtime = TensorFlow1Runtime()
    runtime.load(Artifact(keras_file.path, sha256=digest))
    assert runtime.signature is not None


def test_without_tf_keras_a_keras_file_says_to_install_it(
    in_new_process: NewProcess, keras_file: SimpleNamespace
) -> None:
    program = """
import sys
sys.modules["tf_keras"] = None  # as if it were not installed
from django_inference.artifacts import Artifact
from django_inference.runtimes.tensorflow1 import TensorFlow1Runtime
try:
    TensorFlow1Runtime().load(Artifact(sys.argv[1], trusted=True))
except RuntimeError as error:
    print(error)
"""
    done = in_new_process(program, str(keras_file.path))
    assert done.stdout.endswith("pip install tf_keras\n"), done.stderr


# The session.


def test_the_thread_that_loads_it_is_not_the_only_one_that_could_run_it(frozen: Path) -> None:
    """The default graph and the default session, which belong to a thread, are not used."""
    runtimes_made: list[TensorFlow1Runtime] = []
    thread = threading.Thread(target=lambda: runtimes_made.append(loaded(frozen, **ENDS)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(runtimes_made[0].predict({"x": X})["scores"], expected())


def test_a_call_adds_nothing_to_the_graph(frozen: Path) -> None:
    runtime = loaded(frozen, **ENDS)
    graph = runtime._session.graph
    before = len(graph.get_operations())
    for _ in range(3):
        runtime.predict({"x": X})
    assert len(graph.get_operations()) == before
    assert graph.finalized


def test_close_closes_the_session(frozen: Path) -> None:
    runtime = loaded(frozen, **ENDS)
    runtime.close()
    with pytest.raises(RuntimeError, match="closed Session"):
        runtime.predict({"x": X})
    TensorFlow1Runtime().close()


def test_it_says_where_it_runs_and_on_what(v1: Any, frozen: Path) -> None:
    import tensorflow

    runtime = loaded(frozen, **ENDS)
    assert runtime.framework == f"tensorflow {tensorflow.__version__}"
    assert runtime.device == ("cuda:0" if tensorflow.config.list_physical_devices("GPU") else "cpu")


def test_a_new_process_runs_on_the_threads_it_is_given_and_logs_nothing(
    in_new_process: NewProcess, frozen: Path, saved_model: Path
) -> None:
    program = """
import os, sys
from django_inference.artifacts import Artifact
from django_inference.runtimes.tensorflow1 import TensorFlow1Runtime

def threads():
    return len(os.listdir("/proc/self/task"))

def load(path, **options):
    runtime = TensorFlow1Runtime(**options)
    runtime.load(Artifact(path))
    return runtime

import tensorflow
before = threads()
load(sys.argv[1], threads=int(sys.argv[3]), outputs={"y": "scores"}, feed={"keep_prob": 1.0})
print(threads() - before)
load(sys.argv[2], signature="predict")
"""
    started = []
    for count in ("1", "9"):
        done = in_new_process(program, str(frozen), str(saved_model), count)
        assert done.returncode == 0, done.stderr
        assert "deprecated" not in done.stderr
        started.append(int(done.stdout))
    assert started[1] - started[0] == 8


# Which runtime is chosen.


@pytest.mark.parametrize("name", ["model.pb", "model-200.meta"])
def test_it_is_chosen_by_the_name_of_a_file(name: str) -> None:
    assert runtimes.resolve(None, f"/models/{name}") == runtimes.BUILT_IN["tensorflow1"]


def test_it_is_chosen_for_a_folder_of_checkpoints(training: SimpleNamespace) -> None:
    assert runtimes.resolve(None, str(training.folder)) == runtimes.BUILT_IN["tensorflow1"]


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_saved_models_stay_with_tensorflow(saved_model: Path, named: str) -> None:
    # Newer ones have a file beside it that ends in `.pb`, too.
    (saved_model / "fingerprint.pb").touch()
    path = str(saved_model / named) if named else str(saved_model)
    assert runtimes.resolve(None, path) == runtimes.BUILT_IN["tensorflow"]
