from __future__ import annotations

import pickle

import pytest

from django_inference import exceptions
from django_inference.conf import InvalidPredictor
from django_inference.exceptions import BY_NAME, InferenceError, InvalidInput
from django_inference.registry import UnknownPredictor

STATUS = {
    "InferenceError": 500,
    "ModelNotReady": 503,
    "ModelLoadFailed": 503,
    "Overloaded": 429,
    "PredictionTimeout": 504,
    "InvalidInput": 400,
    "ModelCrashed": 500,
    "PredictionFailed": 500,
    "RemoteError": 502,
    "JobCancelled": 409,
    "EngineUnavailable": 503,
}


def test_every_error_has_its_http_status() -> None:
    assert {name: error.status_code for name, error in BY_NAME.items()} == STATUS


def test_every_error_can_travel() -> None:
    defined = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, InferenceError)
    }
    assert defined == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_errors_survive_pickle_and_name_the_predictor(name: str) -> None:
    error = BY_NAME[name]("went wrong", alias="detector", retry_after=2.5, details="Traceback")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error) == "Predictor 'detector': went wrong"
    assert (copy.alias, copy.message, copy.retry_after, copy.details) == (
        "detector",
        "went wrong",
        2.5,
        "Traceback",
    )


def test_an_error_of_nobody_in_particular() -> None:
    assert str(InvalidInput("not an image")) == "not an image"


@pytest.mark.parametrize("error", [InvalidPredictor, UnknownPredictor])
def test_mistakes_in_settings_survive_pickle(error: type[InvalidPredictor]) -> None:
    mistake = error("There is no predictor 'a'.", hint="Did you mean 'b'?", alias="a")
    copy = pickle.loads(pickle.dumps(mistake))
    assert type(copy) is error
    assert str(copy) == str(mistake)
    assert copy.alias == "a"
