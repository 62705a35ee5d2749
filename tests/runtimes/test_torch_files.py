"""What the torch runtime loads, refuses and shares; in a real model host, too."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pytest_django import Settings

from django_inference import predictors
from django_inference.artifacts import Artifact
from django_inference.runtimes.torch import TorchRuntime
from tests.hosts import PATIENCE, Host, eventually

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.(script|trace|trace_method|save)`"),
]

MODELS = "tests.runtimes.torch_models"
CLASSIFIER = f"{MODELS}.Classifier"
ONES = {"x": np.ones((1, 4), np.float32)}
WARNED = "TRUSTED or pin SHA256.*runs no code is safetensors, or a state_dict.*`model`.*ONNX"


def loaded(
    path: Path, *, trusted: bool = False, share: bool = False, **options: Any
) -> TorchRuntime:
    runtime = TorchRuntime(**options)
    runtime.share_weights = share
    runtime.load(Artifact(path, trusted=trusted))
    return runtime


def weights(name: str = "Classifier", **options: Any) -> tuple[Any, dict[str, Any]]:
    """A module of `torch_models` and its state_dict."""
    from tests.runtimes import torch_models

    torch.manual_seed(7)
    module = getattr(torch_models, name)(**options).eval()
    return module, dict(module.state_dict())


def save(state: dict[str, Any], path: Path) -> Path:
    from safetensors.torch import save_file

    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def direct(module: Any, **inputs: Any) -> Any:
    with torch.inference_mode():
        return module(**{name: torch.tensor(array) for name, array in inputs.items()}).numpy()


def parameters(runtime: TorchRuntime) -> dict[str, Any]:
    return dict(runtime._call._module.state_dict())  # type: ignore[attr-defined]


def mapped_from(tensor: Any) -> str:
    """The file that the memory of a tensor is mapped from; empty for memory of its own."""
    at = tensor.data_ptr()
    for region in psutil.Process().memory_maps(grouped=False):
        first, last = (int(end, 16) for end in region.addr.split("-"))
        if first <= at < last:
            return region.path if region.path.startswith("/") else ""
    return ""


# What may run code


class MakeFolder:
    """Pickled: an order to make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".old.pt"])
def test_a_pickle_that_runs_code_is_refused_unrun(tmp_path: Path, suffix: str) -> None:
    proof, path = tmp_path / "code ran", tmp_path / f"net{suffix}"
    state = {"weight": torch.ones(1), "more": MakeFolder(proof)}
    is_archive = suffix != ".old.pt"
    torch.save(state, path, _use_new_zipfile_serialization=is_archive)
    for share in (False, is_archive):
        with pytest.raises(ValueError, match=rf"more than weights \(posix\.mkdir\).*{WARNED}"):
            loaded(path, model=CLASSIFIER, share=share)
    assert not proof.exists()
    with pytest.raises(ValueError, match="'more' is of type NoneType. Save what mod"):
        loaded(path, model=CLASSIFIER, trusted=True)
    assert proof.exists()


def test_a_plain_pickle_is_refused_unrun(tmp_path: Path) -> None:
    proof, path = tmp_path / "code ran", tmp_path / "net.pt"
    path.write_bytes(pickle.dumps(MakeFolder(proof), protocol=2))
    with pytest.raises(ValueError, match=WARNED):
        loaded(path, model=CLASSIFIER)
    assert not proof.exists()


def test_a_pickle_by_another_name_is_refused_unrun(tmp_path: Path) -> None:
    proof, path = tmp_path / "code ran", tmp_path / "net.safetensors"
    torch.save({"weight": MakeFolder(proof)}, path)
    with pytest.raises(ValueError, match=r"net\.safetensors cannot be read"):
        loaded(path, model=CLASSIFIER, trusted=True)
    assert not proof.exists()


def test_torchscript_can_write_files_when_it_is_loaded_so_it_is_refused(tmp_path: Path) -> None:
    from tests.runtimes.torch_models import Writing

    proof, path = tmp_path / "code ran", tmp_path / "net.pt"
    with pytest.warns(DeprecationWarning):
        torch.jit.script(Writing(str(proof))).save(path)
    proof.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=f"is a TorchScript archive.*{WARNED}"):
        loaded(path)
    assert not proof.exists()
    assert loaded(path, trusted=True).predict(ONES)["output"].shape == (1, 4)
    assert proof.exists()


def test_a_program_can_hold_a_pickle_so_it_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # PyTorch's warning of such a pickle cannot be formatted.
    caplog.set_level("ERROR", "torch._export.serde.serialize")
    from zipfile import ZipFile

    module, _ = weights()
    exported, path = tmp_path / "exported.pt2", tmp_path / "net.pt2"
    torch.export.save(torch.export.export(module, (torch.ones(2, 4),)), exported)
    proof, evil = tmp_path / "code ran", tmp_path / "evil.pt"
    torch.save(MakeFolder(proof), evil)
    with ZipFile(exported) as before, ZipFile(path, "w") as after:
        for entry in before.infolist():
            is_example = entry.filename.endswith("sample_inputs/model.pt")
            after.writestr(entry, evil.read_bytes() if is_example else before.read(entry))
    with pytest.raises(ValueError, match=f"is a program of torch.export.*{WARNED}"):
        loaded(path)
    assert not proof.exists()
    # What the pickle makes is no example, but by then it has been made.
    with suppress(ValueError):
        loaded(path, trusted=True)
    assert proof.exists()


def test_a_whole_module_is_loaded_when_trusted(tmp_path: Path) -> None:
    module, _ = weights()
    path = tmp_path / "net.pt"
    torch.save(module, path)
    with pytest.raises(ValueError, match=rf"\({CLASSIFIER}\).*{WARNED}"):
        loaded(path)
    expected = direct(module, **ONES)
    for model in (None, CLASSIFIER):
        output = loaded(path, trusted=True, model=model).predict(ONES)["output"]
        np.testing.assert_allclose(output, expected, rtol=1e-5)
    assert loaded(path, trusted=True, dtype="float16").predict(ONES)["output"].dtype == np.float16


# What does not fit, or cannot be read


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pt2", ".ts"])
def test_a_corrupt_file_is_named(tmp_path: Path, suffix: str) -> None:
    _, state = weights()
    whole = save(state, tmp_path / f"whole{'.safetensors' if suffix == '.safetensors' else '.pt'}")
    path = tmp_path / f"half{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"half\{suffix} cannot be read: \w+: \w"):
        loaded(path, model=CLASSIFIER, trusted=True)


def test_an_empty_file_and_a_text_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n"):
        path = tmp_path / "net.pt"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"net\.pt (cannot be read|holds more than weights)"):
            loaded(path, model=CLASSIFIER)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        loaded(tmp_path / "gone.pt", model=CLASSIFIER)


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
def test_weights_of_another_model_are_refused_by_name(tmp_path: Path, share: bool) -> None:
    _, state = weights()
    state["head.weight"] = state.pop("last.weight")
    del state["norm.running_mean"]
    path = save(state, tmp_path / "net.pt")
    with pytest.raises(ValueError) as error:
        loaded(path, model=CLASSIFIER, share=share)
    assert str(error.value) == (
        f"the weights do not fit {CLASSIFIER}: missing 2 (norm.running_mean, last.weight); "
        "not in the model 1 (head.weight)."
    )


def test_a_long_list_of_names_is_cut_short(tmp_path: Path) -> None:
    path = save({"weight": torch.ones(1)}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"missing \d+ \(scale, .*, \d+ more\); not in the"):
        loaded(path, model=CLASSIFIER)


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path, share: bool) -> None:
    path = save(weights()[1], tmp_path / "net.pt")
    with pytest.raises(
        ValueError, match=r"do not fit .*: size mismatch for last\.weight: .*\[3, 8"
    ):
        loaded(path, model=CLASSIFIER, model_options={"classes": 5}, share=share)


def test_a_checkpoint_around_the_weights_is_described(tmp_path: Path) -> None:
    path = save({"epoch": 3, "model": weights()[1]}, tmp_path / "net.pt")
    with pytest.raises(
        ValueError, match="holds more than a state_dict: 'epoch' is of type int. Save"
    ):
        loaded(path, model=CLASSIFIER)
    torch.save([torch.ones(1)], path)
    with pytest.raises(ValueError, match="holds a list, and no weights by name"):
        loaded(path, model=CLASSIFIER)


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_tied_weights_are_found_by_one_name(tmp_path: Path, name: str, share: bool) -> None:
    module, state = weights("Tied")
    del state["head.weight"]
    runtime = loaded(save(state, tmp_path / name), model=f"{MODELS}.Tied", share=share)
    tokens = np.array([[0, 1, 2], [3, 4, 5]])
    output = runtime.predict({"tokens": tokens})["output"]
    np.testing.assert_allclose(output, direct(module, tokens=tokens), rtol=1e-5)


def test_a_buffer_that_older_releases_have_saved_is_computed(tmp_path: Path) -> None:
    module, state = weights()
    state["positions"] = torch.zeros(3, dtype=torch.int64)
    output = loaded(save(state, tmp_path / "net.pt"), model=CLASSIFIER).predict(ONES)["output"]
    np.testing.assert_allclose(output, direct(module, **ONES), rtol=1e-5)


# Sharing


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_shared_weights_stay_in_the_file(tmp_path: Path, name: str) -> None:
    module, state = weights()
    path = save(state, tmp_path / name)
    shared, own = (loaded(path, model=CLASSIFIER, share=share) for share in (True, False))
    for key, tensor in parameters(shared).items():
        assert mapped_from(tensor) == str(path), key
        torch.testing.assert_close(tensor, state[key])
    assert not {mapped_from(tensor) for tensor in parameters(own).values()} & {str(path)}
    for runtime in (shared, own):
        output = runtime.predict(ONES)["output"]
        np.testing.assert_allclose(output, direct(module, **ONES), rtol=1e-5, atol=1e-6)


def test_weights_of_its_own_outlive_the_file(tmp_path: Path) -> None:
    module, state = weights()
    path = save(state, tmp_path / "net.safetensors")
    runtime = loaded(path, model=CLASSIFIER)
    path.write_bytes(bytes(path.stat().st_size))
    output = runtime.predict(ONES)["output"]
    np.testing.assert_allclose(output, direct(module, **ONES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.pt2", "is a program of torch.export: share_weights needs safetensors, or a state_"),
        ("net.ts", "is a TorchScript archive: share_weights needs safetensors, or a state_dict"),
        ("net.pt", "holds more than weights: share_weights needs safetensors, or a state_dict"),
        ("net.old.pt", "cannot be read: RuntimeError: mmap can only be used with files saved with"),
    ],
)
def test_what_cannot_be_shared_says_what_can(tmp_path: Path, name: str, said: str) -> None:
    module, state = weights()
    path = tmp_path / name
    match name:
        case "net.pt2":
            torch.export.save(torch.export.export(module, (torch.ones(2, 4),)), path)
        case "net.ts":
            with pytest.warns(DeprecationWarning):
                torch.jit.script(module).save(path)
        case "net.pt":
            torch.save(module, path)
        case _:
            torch.save(state, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=said):
        loaded(path, trusted=True, share=True, model=None if name == "net.pt" else CLASSIFIER)


def test_weights_of_another_type_cannot_be_shared_unless_the_model_is_converted(
    tmp_path: Path,
) -> None:
    module, state = weights()
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    path = save(half, tmp_path / "net.safetensors")
    with pytest.raises(
        ValueError, match=r"cannot convert: '.*' is float16 in the file and float32"
    ):
        loaded(path, model=CLASSIFIER, share=True)
    runtime = loaded(path, model=CLASSIFIER, dtype="float16", share=True)
    assert mapped_from(parameters(runtime)["first.weight"]) == str(path)
    output = runtime.predict(ONES)["output"]
    assert output.dtype == np.float16
    np.testing.assert_allclose(output, direct(module, **ONES), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
def test_an_error_of_the_model_s_own_stays_what_it_is(tmp_path: Path, share: bool) -> None:
    path = save({"weight": torch.ones(1)}, tmp_path / "net.pt")

    def broken() -> None:
        raise RuntimeError("no such vocabulary")

    with pytest.raises(RuntimeError, match="^no such vocabulary$"):
        loaded(path, model=broken, share=share)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("Derived", "makes 'doubled' of weights that it does not have yet under share_weights"),
        ("Reading", "needs its weights while it is made, which it does not have yet under share"),
    ],
)
def test_a_model_that_needs_its_weights_too_early_cannot_share_them(
    tmp_path: Path, model: str, said: str
) -> None:
    path = save(weights(model)[1], tmp_path / "net.pt")
    with pytest.raises(ValueError, match=f"{model} {said}"):
        loaded(path, model=f"{MODELS}.{model}", share=True)
    assert loaded(path, model=f"{MODELS}.{model}").predict(ONES)["output"].shape == (1, 2)
    # Nothing of the attempt is left to meet the modules that are made later.
    assert not torch.nn.Linear(1, 1).weight.is_meta


# In the model host


NET = """
from __future__ import annotations

import torch
from django.conf import settings


class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 1, bias=False)
        assert settings.INSTALLED_APPS

    def forward(self, x):
        return super().forward(x) * FACTOR
"""


def test_a_model_of_the_site_s_own_runs_in_the_host_and_is_replaced(
    django_host: Host, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = tmp_path / "site_of_nets.py", tmp_path / "net.safetensors"
    source.write_text(NET.replace("FACTOR", "1"))
    monkeypatch.syspath_prepend(tmp_path)
    save({"weight": torch.ones(1, 4)}, path)
    settings.INFERENCE = {
        "net": {
            "MODEL": path,
            "RUNTIME_OPTIONS": {"model": "site_of_nets.Net", "inputs": ["x float32 [-1, 4]"]},
            "OPTIONS": {"timeout": PATIENCE},
        }
    }
    net = predictors["net"]
    assert net.predict(ONES)["output"].tolist() == [[4]]
    first = net.status()
    assert first.pid != os.getpid()
    assert first.signature is not None

    save({"weight": torch.full((1, 4), 2.0)}, tmp_path / "new.safetensors")
    shutil.move(tmp_path / "new.safetensors", path)
    net.reload()
    eventually(lambda: net.predict(ONES)["output"].tolist() == [[8]])
    second = net.status()

    source.write_text(NET.replace("FACTOR", "10"))
    os.utime(source, ns=(time.time_ns(), time.time_ns() + 1_000_000))
    net.reload()
    eventually(lambda: net.predict(ONES)["output"].tolist() == [[80]])
    assert len({first.version, second.version, net.status().version}) == 3
