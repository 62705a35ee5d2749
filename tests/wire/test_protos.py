"""The declarations are compiled, agree with other projects' own, and keep out of their way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from django_inference.wire.protos import (
    open_inference_pb2,
    tensorflow_pb2,
    tensorflow_serving_pb2,
)
from django_inference.wire.protos.pool import POOL, methods
from tests.wire.compile_protos import DESCRIPTORS, PROTOS, compile_into
from tests.wire.describe import describe

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".peers" / "clients" / "bin" / "python"
OURS = ("open_inference", "tensorflow", "tensorflow_error", "tensorflow_serving")

#: Prints what a process knows of some files, as JSON: `{full name: {...}}`.
DESCRIBE = ROOT / "tests" / "wire" / "describe.py"

#: Fields of theirs that are not declared here; they are passed over when they arrive.
LEFT_OUT = {
    "tensorflow.TensorInfo.composite_tensor",
    "tensorflow.TensorProto.resource_handle_val",
    "tensorflow.TensorProto.variant_val",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.fail_if_zero_versions_at_startup",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.file_system_poll_wait_seconds",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.servable_versions_always_present",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.servables",
    "tensorflow.serving.ModelConfig.logging_config",
    "tensorflow.serving.PredictRequest.client_id",
    "tensorflow.serving.PredictRequest.predict_streamed_options",
    "tensorflow.serving.PredictRequest.request_options",
}


def test_the_descriptors_are_what_the_compiler_makes_of_the_protos(tmp_path: Path) -> None:
    made = {path.name: path for path in compile_into(tmp_path)}
    parse = descriptor_pb2.FileDescriptorSet.FromString
    assert parse((PROTOS / DESCRIPTORS).read_bytes()) == parse(made.pop(DESCRIPTORS).read_bytes())
    assert made.keys() == {path.name for path in PROTOS.glob("*.pyi")}
    for name, path in made.items():
        # How a type is spelt depends on the release of the compiler.
        assert _names((PROTOS / name).read_text()) == _names(path.read_text())


def _names(stub: str) -> list[str]:
    return re.findall(r"^ *(?:class \w+|\w+(?=:))", stub, re.MULTILINE)


def test_every_message_can_be_made() -> None:
    for name in OURS:
        file = POOL.FindFileByName(f"django_inference/wire/protos/{name}.proto")
        for full_name in file.message_types_by_name:
            module = sys.modules.get(f"django_inference.wire.protos.{name}_pb2")
            kind = getattr(module, full_name)
            assert kind.FromString(kind().SerializeToString()) == kind()


def test_the_default_pool_is_left_alone() -> None:
    script = (
        "from django_inference.wire.protos import open_inference_pb2, tensorflow_serving_pb2\n"
        "from google.protobuf import descriptor_pool\n"
        "pool = descriptor_pool.Default()\n"
        "for name in ('inference.ModelInferRequest', 'tensorflow.TensorProto'):\n"
        "    try: pool.FindMessageTypeByName(name)\n"
        "    except KeyError: continue\n"
        "    raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_field_of_a_well_known_type_is_filled_in_place() -> None:
    response = tensorflow_serving_pb2.GetModelMetadataResponse()
    response.model_spec.version.value = 3
    held = tensorflow_serving_pb2.SignatureDefMap()
    held.signature_def["serving_default"].inputs["x"].dtype = tensorflow_pb2.DT_FLOAT
    response.metadata["signature_def"].Pack(held)
    read = tensorflow_serving_pb2.GetModelMetadataResponse.FromString(response.SerializeToString())
    unpacked = tensorflow_serving_pb2.SignatureDefMap()
    assert read.metadata["signature_def"].Unpack(unpacked)
    assert unpacked == held and read.model_spec.version.value == 3


def test_methods_of_an_unknown_service() -> None:
    with pytest.raises(KeyError):
        methods("inference.Unknown")


def test_a_method_says_what_a_client_needs() -> None:
    stream = methods("inference.GRPCInferenceService")["ModelStreamInfer"]
    assert stream.path == "/inference.GRPCInferenceService/ModelStreamInfer"
    assert stream.request is open_inference_pb2.ModelInferRequest
    assert stream.response is open_inference_pb2.ModelStreamInferResponse
    assert (stream.client_streams, stream.server_streams) == (True, True)


@pytest.mark.servers
@pytest.mark.skipif(not CLIENTS.exists(), reason="`make peers` has not made .peers/clients")
def test_open_inference_agrees_with_tritonclient_field_by_field() -> None:
    theirs = _described(str(CLIENTS), "tritonclient.grpc.service_pb2")
    _agree(theirs, ["open_inference"])


@pytest.mark.heavy
def test_tensorflow_serving_agrees_with_its_own_field_by_field() -> None:
    pytest.importorskip("tensorflow_serving")
    # Ours are imported first, in the same process: neither is in the other's way.
    theirs = _described(
        sys.executable,
        "django_inference.wire.protos.tensorflow_serving_pb2",
        "tensorflow_serving.apis.prediction_service_pb2",
        "tensorflow_serving.apis.model_service_pb2",
    )
    _agree(theirs, ["tensorflow", "tensorflow_error", "tensorflow_serving"])


@pytest.mark.servers
@pytest.mark.skipif(not CLIENTS.exists(), reason="`make peers` has not made .peers/clients")
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_it_lives_in_one_process_with_tritonclient_and_kserve(first: str) -> None:
    _import_together(
        str(CLIENTS), "import tritonclient.grpc.service_pb2 as their, tritonclient.grpc", first
    )
    _import_together(
        str(CLIENTS), "from kserve.protocol.grpc import grpc_predict_v2_pb2 as their", first
    )


def _import_together(python: str, theirs: str, first: str) -> None:
    ours = "from django_inference.wire.protos import open_inference_pb2, tensorflow_serving_pb2"
    lines = [ours, theirs] if first == "ours" else [theirs, ours]
    # The folders of protos alone: that interpreter has neither Django nor msgspec.
    path = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})"
    stand_in = (
        "import types; package = types.ModuleType('django_inference'); "
        f"package.__path__ = [{str(ROOT / 'src' / 'django_inference')!r}]; "
        "sys.modules['django_inference'] = package"
    )
    script = "\n".join([path, stand_in, *lines, "open_inference_pb2.ModelInferRequest(id='1')"])
    done = subprocess.run(
        [python, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def _described(python: str, *modules: str) -> dict[str, Any]:
    done = subprocess.run(
        [python, str(DESCRIBE), *modules], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _agree(theirs: dict[str, Any], names: list[str]) -> None:
    ours: dict[str, Any] = {}
    for name in names:
        ours |= describe(POOL.FindFileByName(f"django_inference/wire/protos/{name}.proto"))
    assert len(ours) > 15
    missing: set[str] = set()
    for full_name, what in ours.items():
        for key, value in what.items():
            assert theirs[full_name][key] == value, f"{full_name}: {key}"
        if what["kind"] == "message":
            missing |= {f"{full_name}.{key}" for key in theirs[full_name].keys() - what.keys()}
    assert missing == {field for field in LEFT_OUT if field.rpartition(".")[0] in ours}
