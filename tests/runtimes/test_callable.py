"""Functions as models."""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

import pytest

from django_inference.artifacts import Artifact
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.callable import CallableRuntime
from tests.runtimes import samples

SAMPLES = "tests.runtimes.samples"


def loaded(function: Any, **options: Any) -> CallableRuntime:
    runtime = CallableRuntime(function=function, **options)
    runtime.load(None)
    return runtime


def test_a_function_named_by_its_path_gets_the_whole_batch() -> None:
    assert loaded(f"{SAMPLES}.lengths").predict(["a", "", "abc"]) == [1, 0, 3]


def test_a_function_itself_will_do() -> None:
    assert loaded(samples.lengths).predict(["a", "bb"]) == [1, 2]
    assert loaded(lambda items: items[::-1]).predict([1, 2]) == [2, 1]


def test_it_says_where_it_runs_and_on_what() -> None:
    runtime = loaded(samples.lengths)
    assert (runtime.device, runtime.framework) == ("cpu", f"python {platform.python_version()}")


def test_a_function_of_one_item_is_called_once_an_item() -> None:
    assert loaded(math.sqrt, batched=False).predict([4, 9]) == [2, 3]


def test_keyword_arguments_reach_every_call() -> None:
    assert loaded(samples.power, batched=False, exponent=3).predict([2, 3]) == [8, 27]
    assert loaded(samples.scaled, factor=2).predict([1, 2, 3]) == [2, 4, 6]


def test_tuples_arrays_and_generators_count_as_lists() -> None:
    assert loaded(lambda items: tuple(items)).predict([1, 2]) == [1, 2]
    assert loaded(lambda items: (item + 1 for item in items)).predict([1, 2]) == [2, 3]
    results = loaded(samples.scaled, factor=2).predict([1, 2])
    assert isinstance(results, list)


def test_an_object_with_call_will_do() -> None:
    class Doubler:
        def __call__(self, items: list[int]) -> list[int]:
            return [item * 2 for item in items]

    assert loaded(Doubler()).predict([1, 2]) == [2, 4]


def test_the_wrong_number_of_results_names_the_function_and_the_numbers() -> None:
    runtime = loaded(f"{SAMPLES}.total")
    assert runtime.predict([5]) == [5]
    with pytest.raises(ValueError, match=r"samples\.total returned 1 results for 3 items"):
        runtime.predict([1, 2, 3])


@pytest.mark.parametrize(("name", "kind"), [("nothing", "NoneType"), ("by_name", "dict")])
def test_a_result_that_is_no_list_is_refused(name: str, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} returned a {kind}, not a list.*batched=False"):
        loaded(f"{SAMPLES}.{name}").predict(["a", "b"])


def test_text_of_the_right_length_is_no_list_of_results() -> None:
    with pytest.raises(TypeError, match="returned a str"):
        loaded(lambda items: "ab").predict([1, 2])


@pytest.mark.parametrize("name", ["promised", "streamed", "promising", "partly_promised"])
def test_async_functions_are_refused_on_load(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} is async.*plain function"):
        loaded(f"{SAMPLES}.{name}")


@pytest.mark.parametrize("batched", [True, False])
def test_a_function_that_returns_a_coroutine_is_refused(batched: bool) -> None:
    runtime = loaded(samples.secretly_async, batched=batched)
    with pytest.raises(TypeError, match="returned a coroutine.*plain function"):
        runtime.predict([1, 2])


def test_an_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lengths is a function, which takes no MODEL.*Runtime"):
        CallableRuntime(function=samples.lengths).load(Artifact(tmp_path))


def test_keyword_arguments_that_do_not_fit_are_found_on_load() -> None:
    with pytest.raises(TypeError, match=r"scaled cannot be called with \(items, facto\)"):
        loaded(samples.scaled, facto=1)
    with pytest.raises(TypeError, match=r"cannot be called with \(items\).*'factor'"):
        loaded(samples.scaled)


def test_classes_and_constants_are_refused() -> None:
    with pytest.raises(TypeError, match="must be a subclass of django_inference.Runtime"):
        loaded(f"{SAMPLES}.NoRuntime")
    with pytest.raises(TypeError, match="constant is a int, not a function"):
        loaded(f"{SAMPLES}.constant")


def test_a_path_that_cannot_be_imported_is_named_on_load() -> None:
    runtime = CallableRuntime(function=f"{SAMPLES}.nope")
    with pytest.raises(ImportError, match=r"samples\.nope cannot be imported"):
        runtime.load(None)


def test_errors_of_the_function_pass_through() -> None:
    runtime = loaded(samples.picky)
    assert runtime.predict([1, 2]) == [1, 2]
    with pytest.raises(InvalidInput, match="must not be negative"):
        runtime.predict([1, -2])


@pytest.mark.heavy
def test_a_face_detector_as_a_function_finds_the_astronaut() -> None:
    from mtcnn import MTCNN
    from skimage import data

    detector = MTCNN(device="CPU:0")

    def faces(item: Any) -> list[dict[str, Any]]:
        return [face for face in detector.detect_faces(item) if face["confidence"] > 0.9]

    photos: Any = data
    found, nobody = loaded(faces, batched=False).predict([photos.astronaut(), photos.coffee()])
    (face,) = found
    x, y, width, height = face["box"]
    left_eye, right_eye = face["keypoints"]["left_eye"], face["keypoints"]["right_eye"]
    for eye_x, eye_y in (left_eye, right_eye):
        assert x < eye_x < x + width
        assert y < eye_y < y + height / 2
    assert nobody == []
