"""TensorFlow models, converted to LiteRT with smaller weights."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from django_inference.artifacts import Artifact
from django_inference.quantization.base import CannotQuantize, Made, Wanted, require
from django_inference.runtimes import BUILT_IN
from django_inference.runtimes.tensorflow import TensorFlowRuntime
from django_inference.specs import EngineOptions, ModelSpec, one_line

if TYPE_CHECKING:
    from django_inference.tensors import Tensors


class _Source(TensorFlowRuntime):
    """The model as the runtime has loaded it, with the names that its callers know."""

    def converter(self) -> Any:
        """LiteRT's converter of it, with the weights as constants.

        Of a function that refers to variables, the converter makes one that answers NaN.
        """
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        assert self.signature is not None
        specs = {
            spec.name: tf.TensorSpec([None if n < 0 else n for n in spec.shape], spec.dtype)
            for spec in self.signature.inputs
        }

        def concrete(call: Any) -> Any:
            return tf.function(call, autograph=False).get_concrete_function(**specs)

        variable = concrete(lambda **tensors: self.function.call(**tensors))
        constant = convert_variables_to_constants_v2(variable)
        # A graph without variables knows its tensors by their order, which is that of names.
        outputs = sorted(variable.structured_outputs)

        def named(**tensors: Any) -> dict[str, Any]:
            flat = constant(*(tensors[name] for name in sorted(tensors)))
            return dict(zip(outputs, flat, strict=True))

        return tf.lite.TFLiteConverter.from_concrete_functions([concrete(named)], tf.Module())


def raw(spec: ModelSpec) -> ModelSpec:
    """The model as it is, but for what only matters in the host."""
    options = EngineOptions(max_batch_size=1024, warmup=False)
    return msgspec.structs.replace(spec, options=options, golden=())


def make(spec: ModelSpec, wanted: Wanted, samples: Sequence[Tensors], folder: Path) -> Made:
    """Write a `.tflite` file, for the runtime `litert`."""
    require("ai_edge_litert", "litert")
    import tensorflow as tf

    assert spec.artifact is not None
    source = _Source(**spec.runtime_options)
    source.load(Artifact(spec.artifact, sha256=spec.sha256, trusted=spec.trusted))
    if source.signature is None:
        raise CannotQuantize("an input takes any number of axes, which LiteRT cannot.")
    for each in source.signature.inputs:
        if not each.name.isidentifier():
            raise CannotQuantize(f"LiteRT's converter would rename the input {each.name!r}.")
    target = folder / "model.tflite"
    # Keras and the converter say on the screen what they do.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            converter = source.converter()
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if wanted.to == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            target.write_bytes(converter.convert())
        except Exception as error:
            raise CannotQuantize(f"LiteRT's converter cannot do it: {one_line(error)}") from error
    threads = spec.runtime_options.get("threads")
    return Made(target, BUILT_IN["litert"], {} if threads is None else {"threads": threads})


def recorded() -> None:
    """TensorFlow is not listened to."""
