"""The ONNX runtime, on the real models of basic-pitch and magika and on small ones made here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.loading import usable_cores
from django_inference.runtimes.onnx import OnnxRuntime
from django_inference.tensors import Signature, TensorSpec

CPU = "CPUExecutionProvider"
NOTE, ONSET, CONTOUR = (f"StatefulPartitionedCall:{index}" for index in (1, 2, 0))


def loaded(path: Path, **options: Any) -> OnnxRuntime:
    runtime = OnnxRuntime(**options)
    runtime.load(Artifact(path))
    return runtime


def saved(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: list[Any] | None = None,
) -> Path:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.fixture
def affine(tmp_path: Path) -> Path:
    """y = 2 x + 1 by way of an Identity that any optimisation removes."""
    return saved(
        tmp_path / "affine.onnx",
        [
            helper.make_node("Identity", ["x"], ["same"]),
            helper.make_node("Mul", ["same", "two"], ["twice"]),
            helper.make_node("Add", ["twice", "one"], ["y"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["rows", 3]),
        ],
        [
            numpy_helper.from_array(np.array([1], np.float32), "one"),
            numpy_helper.from_array(np.array([2], np.float32), "two"),
        ],
    )


def test_the_tones_of_a_chord_are_the_keys_of_a_piano(
    basic_pitch_onnx: Path, tone: Callable[[float], Any], midi: Callable[[Any], int]
) -> None:
    inputs = {"serving_default_input_2:0": np.stack([tone(hz) for hz in (440, 261.63, 392)])}
    outputs = loaded(basic_pitch_onnx).predict(inputs)
    assert [midi(note) for note in outputs[NOTE]] == [69, 60, 67]


def test_a_session_called_directly_gives_the_same(
    basic_pitch_onnx: Path, tone: Callable[[float], Any]
) -> None:
    inputs = {"serving_default_input_2:0": tone(440)[None]}
    session = onnxruntime.InferenceSession(str(basic_pitch_onnx), providers=[CPU])
    names = [node.name for node in session.get_outputs()]
    expected = dict(zip(names, session.run(None, inputs), strict=True))
    outputs = loaded(basic_pitch_onnx).predict(inputs)
    assert list(outputs) == names
    for name, tensor in outputs.items():
        np.testing.assert_allclose(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_a_batch_equals_its_rows_one_by_one(
    basic_pitch_onnx: Path, tone: Callable[[float], Any]
) -> None:
    runtime = loaded(basic_pitch_onnx)
    batch = np.stack([tone(hz) for hz in (110, 220, 330)])
    together = runtime.predict({"serving_default_input_2:0": batch})
    for index in range(3):
        alone = runtime.predict({"serving_default_input_2:0": batch[index : index + 1]})
        for name, tensor in alone.items():
            np.testing.assert_allclose(tensor[0], together[name][index], rtol=1e-4, atol=1e-5)


def test_the_signature_is_the_files_own(basic_pitch_onnx: Path, magika_onnx: Path) -> None:
    assert loaded(basic_pitch_onnx).signature == Signature(
        inputs=(TensorSpec("serving_default_input_2:0", "float32", (-1, 43844, 1)),),
        outputs=(
            TensorSpec("StatefulPartitionedCall:2", "float32", (-1, 172, 88)),
            TensorSpec("StatefulPartitionedCall:1", "float32", (-1, 172, 88)),
            TensorSpec("StatefulPartitionedCall:0", "float32", (-1, 172, 264)),
        ),
    )
    assert loaded(magika_onnx).signature == Signature(
        inputs=(TensorSpec("bytes", "int32", (-1, 2048)),),
        outputs=(TensorSpec("target_label", "float32", (-1, 214)),),
    )


def test_it_says_where_it_runs_and_on_what(affine: Path) -> None:
    runtime = loaded(affine, providers=[CPU])
    assert (runtime.device, runtime.framework) == ("cpu", f"onnxruntime {onnxruntime.__version__}")


def test_file_types_are_told_as_magika_tells_them(magika_onnx: Path) -> None:
    from magika import Magika

    samples = {
        "python": b"import os\n\n\ndef home(name):\n    return os.path.join('/home', name)\n" * 9,
        "json": json.dumps({"users": [{"name": "Ada", "id": i} for i in range(40)]}).encode(),
        "html": b"<!doctype html><html><head><title>x</title></head><body><p>y</p></body></html>",
        "sql": b"SELECT id, name FROM users WHERE id > 3 ORDER BY name;\n" * 9,
    }
    config = json.loads((magika_onnx.parent / "config.min.json").read_text())
    labels = config["target_labels_space"]

    def features(content: bytes) -> list[int]:
        content = content.strip()
        beginning, end = list(content[:1024]), list(content[-1024:])
        padding = [config["padding_token"]]
        return beginning + padding * (1024 - len(beginning)) + padding * (1024 - len(end)) + end

    batch = np.array([features(content) for content in samples.values()], np.int32)
    scores = loaded(magika_onnx).predict({"bytes": batch})["target_label"]

    assert [labels[best] for best in scores.argmax(axis=1)] == list(samples)
    for row, content in zip(scores, samples.values(), strict=True):
        judged = Magika().identify_bytes(content)
        assert str(judged.dl.label) == labels[row.argmax()]
        assert judged.score == pytest.approx(row.max(), abs=1e-4)


@pytest.mark.parametrize("kind", ["U", "object", "bytes"])
def test_text_goes_in_and_out_as_str(tmp_path: Path, kind: str) -> None:
    path = saved(
        tmp_path / "text.onnx",
        [helper.make_node("Identity", ["words"], ["same"])],
        [helper.make_tensor_value_info("words", TensorProto.STRING, [None, 2])],
        [helper.make_tensor_value_info("same", TensorProto.STRING, [None, 2])],
    )
    words = np.array([["día", "b"], ["c", ""]], None if kind == "U" else object)
    expected = words.tolist()
    if kind == "bytes":
        words = np.array([[word.encode() for word in row] for row in expected], object)

    runtime = loaded(path)
    same = runtime.predict({"words": words})["same"]

    assert runtime.signature == Signature(
        (TensorSpec("words", "str", (-1, 2)),), (TensorSpec("same", "str", (-1, 2)),)
    )
    assert same.tolist() == expected
    assert same.dtype == object


def test_names_of_types_are_numpys_names(tmp_path: Path) -> None:
    kinds = {"DOUBLE": "float64", "FLOAT16": "float16", "UINT8": "uint8", "BOOL": "bool"}
    path = saved(
        tmp_path / "types.onnx",
        [helper.make_node("Identity", [f"in_{kind}"], [f"out_{kind}"]) for kind in kinds],
        [helper.make_tensor_value_info(f"in_{k}", getattr(TensorProto, k), [2]) for k in kinds],
        [helper.make_tensor_value_info(f"out_{k}", getattr(TensorProto, k), [2]) for k in kinds],
    )
    runtime = loaded(path)
    signature = runtime.signature
    assert signature is not None
    assert {spec.name: spec.dtype for spec in signature.inputs} == {
        f"in_{kind}": dtype for kind, dtype in kinds.items()
    }
    assert signature.batch_size == 2
    outputs = runtime.predict({f"in_{k}": np.ones(2, dtype) for k, dtype in kinds.items()})
    for kind, dtype in kinds.items():
        assert outputs[f"out_{kind}"].dtype == dtype


def test_a_model_that_hides_the_shape_of_its_input_has_no_signature(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "any.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    runtime = loaded(path)
    assert runtime.signature is None
    for shape in ((2,), (2, 3, 4)):
        y = runtime.predict({"x": np.ones(shape, np.float32)})["y"]
        np.testing.assert_array_equal(y, -np.ones(shape))


def test_only_the_outputs_asked_for_are_computed(affine: Path) -> None:
    runtime = loaded(affine, outputs=["twice"])
    assert runtime.signature is not None
    assert [spec.name for spec in runtime.signature.outputs] == ["twice"]
    outputs = runtime.predict({"x": np.ones((1, 3), np.float32)})
    assert {name: tensor.tolist() for name, tensor in outputs.items()} == {"twice": [[2, 2, 2]]}


def test_an_unknown_output_suggests_the_nearest(affine: Path) -> None:
    with pytest.raises(ValueError, match=r"no output 'twise' \(did you mean 'twice'\?\)"):
        loaded(affine, outputs=["twise"])


def test_an_output_that_is_no_tensor_is_refused_unless_left_out(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "sequence.onnx",
        [
            helper.make_node("SequenceConstruct", ["x"], ["many"]),
            helper.make_node("Neg", ["x"], ["minus"]),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [
            helper.make_tensor_sequence_value_info("many", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("minus", TensorProto.FLOAT, [None]),
        ],
    )
    with pytest.raises(ValueError, match=r"'many' is a seq\(tensor\(float\)\).*`outputs`"):
        loaded(path)
    outputs = loaded(path, outputs=["minus"]).predict({"x": np.ones(1, np.float32)})
    assert outputs["minus"].tolist() == [-1]


@pytest.mark.parametrize(("level", "left"), [("ORT_DISABLE_ALL", 1), ("ORT_ENABLE_ALL", 0)])
def test_session_options_are_set_enumerations_by_name(
    affine: Path, tmp_path: Path, level: str, left: int
) -> None:
    optimised = tmp_path / "optimised.onnx"
    runtime = loaded(
        affine,
        session_options={
            "graph_optimization_level": level,
            "optimized_model_filepath": str(optimised),
        },
    )
    nodes = [node.op_type for node in onnx.load(optimised).graph.node]
    assert nodes.count("Identity") == left
    assert runtime.predict({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[3, 3, 3]]


def test_a_session_option_with_a_dot_is_a_configuration_entry(affine: Path, tmp_path: Path) -> None:
    # Only the entry asks for this format: the name would stand for the other one.
    other_format = tmp_path / "written"
    loaded(
        affine,
        session_options={
            "optimized_model_filepath": str(other_format),
            "session.save_model_format": "ORT",
            "session.disable_prepacking": 1,
        },
    )
    assert other_format.read_bytes()[4:8] == b"ORTM"
    y = loaded(other_format.rename(tmp_path / "model.ort")).predict(
        {"x": np.zeros((2, 3), np.float32)}
    )["y"]
    assert y.tolist() == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"graph_optimisation_level": "ORT_ENABLE_ALL"},
            r"no attribute 'graph_optimisation_level' \(did you mean 'graph_optimization_level'",
        ),
        ({"add_provider": "x"}, "no attribute 'add_provider'"),
        (
            {"execution_mode": "ORT_PARALEL"},
            r"execution_mode cannot be 'ORT_PARALEL' \(did you mean 'ORT_PARALLEL'\?\)",
        ),
        ({"inter_op_num_threads": "two"}, "inter_op_num_threads cannot be 'two'"),
    ],
)
def test_a_wrong_session_option_says_what_would_be_right(
    affine: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        loaded(affine, session_options=options)


def test_providers_may_be_names_or_pairs(affine: Path) -> None:
    choices: list[Any] = [[CPU], [[CPU, {}]], [(CPU, {})]]
    for providers in choices:
        runtime = loaded(affine, providers=providers)
        assert runtime.predict({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[3, 3, 3]]


def test_a_provider_that_this_build_lacks_is_refused(affine: Path) -> None:
    with pytest.raises(ValueError, match=r"'CPUExecutionProvidor' is not in this build") as error:
        loaded(affine, providers=["CPUExecutionProvidor"])
    assert "did you mean 'CPUExecutionProvider'" in str(error.value)


def test_a_provider_that_did_not_start_is_no_silent_fallback(
    affine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A GPU whose driver is broken: in the build, but not in the session.
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda session: [CPU])
    offered = onnxruntime.get_available_providers()
    other = next(name for name in offered if name != CPU)
    with pytest.raises(ValueError, match=rf"could not start {other} and fell back to {CPU}"):
        loaded(affine, providers=[other, CPU])


def test_threads_are_the_cores_of_this_process_unless_said(
    affine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads(**options: Any) -> int:
        session = loaded(affine, **options)._run.__self__
        return int(session.get_session_options().intra_op_num_threads)

    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 5})
    assert threads() == 3
    assert threads(threads=1) == 1
    assert threads(threads=0) == 0


def test_nothing_is_noted_about_this_machine(
    affine: Path, tmp_path: Path, in_new_process: Callable[..., Any]
) -> None:
    """ONNX Runtime would write down an identifier, and report with it what it runs."""
    home = tmp_path / "home"
    home.mkdir()
    program = """
import sys
from django_inference.artifacts import Artifact
from django_inference.runtimes.onnx import OnnxRuntime

OnnxRuntime().load(Artifact(sys.argv[1]))
"""
    env = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    # It keeps silent in what it takes for a test of others.
    env = {
        name: value
        for name, value in env.items()
        if not name.startswith(("CI", "GITHUB", "PYTEST"))
    }
    done = in_new_process(program, str(affine), env=env | {"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert list(home.rglob("*")) == []


def test_a_folder_is_taken_for_the_model_in_it(affine: Path) -> None:
    model = onnx.load(affine)
    folder = affine.parent / "model"
    folder.mkdir()
    onnx.save(
        model,
        folder / "affine.onnx",
        save_as_external_data=True,
        location="affine.onnx.data",
        size_threshold=0,
    )
    assert (folder / "affine.onnx.data").stat().st_size
    x = np.ones((1, 3), np.float32)
    assert loaded(folder).predict({"x": x})["y"].tolist() == [[3, 3, 3]]

    onnx.save(model, folder / "second.onnx")
    with pytest.raises(ValueError, match=r"one file that ends in.*affine\.onnx, second\.onnx"):
        loaded(folder)


def test_a_corrupt_file_fails_to_load_by_name(basic_pitch_onnx: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    half.write_bytes(basic_pitch_onnx.read_bytes()[:100_000])
    with pytest.raises(Exception, match=r"half\.onnx"):
        loaded(half)


def test_a_missing_file_fails_to_load_by_name(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"gone\.onnx"):
        loaded(tmp_path / "gone.onnx")


def test_a_model_must_be_given() -> None:
    with pytest.raises(ValueError, match="MODEL must name them"):
        OnnxRuntime().load(None)


TABLE = numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(5, 2), "table")


def of_one_node(path: Path, op: str, takes: int, *, axes: Any = ("b", "n"), **options: Any) -> Any:
    """A model of one operator on the input `x` and a table of 5 rows and 2 columns."""
    node = helper.make_node(op, options.pop("inputs", ["table", "x"]), ["y"], **options)
    gives = TensorProto.STRING if takes == TensorProto.STRING else TensorProto.FLOAT
    return saved(
        path,
        [node],
        [helper.make_tensor_value_info("x", takes, axes)],
        [helper.make_tensor_value_info("y", gives, None)],
        [TABLE],
    )


@pytest.mark.parametrize(
    ("op", "takes", "options", "x", "said"),
    [
        ("Gather", TensorProto.INT64, {}, np.array([[5]]), "out of data bounds, idx=5"),
        ("GatherElements", TensorProto.INT64, {}, np.array([[9]]), "Out of range value"),
        ("GatherND", TensorProto.INT64, {}, np.array([[9]]), "invalid index found, index = 9"),
        (
            "MatMul",
            TensorProto.FLOAT,
            {"inputs": ["x", "table"]},
            np.ones((1, 4), np.float32),
            "MatMul dimension mismatch",
        ),
        (
            "Add",
            TensorProto.FLOAT,
            {"inputs": ["x", "table"]},
            np.ones((1, 3), np.float32),
            "Attempting to broadcast an axis",
        ),
        (
            "MatMul",
            TensorProto.FLOAT,
            {"inputs": ["x", "table"], "axes": None},
            np.ones((1, 5)),
            "to be of the type float, not double",
        ),
    ],
)
def test_inputs_that_only_the_run_refuses_are_the_callers_mistake(
    tmp_path: Path,
    op: str,
    takes: int,
    options: Any,
    x: Any,
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    runtime = loaded(of_one_node(tmp_path / "m.onnx", op, takes, **options))
    with pytest.raises(InvalidInput) as error:
        runtime.predict({"x": x})
    assert said in error.value.message
    assert f"of the shape {list(x.shape)}" in error.value.message
    # The client has no use for a place in a source file.
    assert ".cc" not in error.value.message
    assert "onnxruntime" not in error.value.message
    # Nor has the log for an error of ONNX Runtime's.
    assert "[E:onnxruntime" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "takes texts, not whole numbers"),
        (1.5, "takes texts, not decimal numbers"),
        (None, "takes texts, not null"),
        (True, "takes texts, not booleans"),
        ([1], "takes texts, not lists"),
        (b"\xff", "bytes that are not UTF-8"),
        ("\ud800", "half a surrogate pair"),
    ],
)
def test_only_texts_are_given_to_an_input_of_texts(tmp_path: Path, value: Any, said: str) -> None:
    model = of_one_node(
        tmp_path / "m.onnx", "Identity", TensorProto.STRING, axes=["n"], inputs=["x"]
    )
    runtime = loaded(model)
    x = np.empty(2, dtype=object)
    x[:] = ["a", value]
    with pytest.raises(InvalidInput, match=said):
        runtime.predict({"x": x})
    assert runtime.predict({"x": np.array(["a", b"\xc3\xa9"], object)})["y"].tolist() == ["a", "é"]


def test_a_failure_that_is_not_the_inputs_stays_one(tmp_path: Path) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail

    from django_inference.runtimes.onnx_session import refusals

    with pytest.raises(Fail), refusals({}):
        raise Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory")
