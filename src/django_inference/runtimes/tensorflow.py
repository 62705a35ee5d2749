"""TensorFlow models: a SavedModel's signature, or one traced function around a Keras model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.loading import model_file, required
from django_inference.tensors import Signature, TensorSpec
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis, Tensors

_SAVED_MODEL = "saved_model.pb"
#: Older ones run the code in an `.h5` file whatever `safe_mode` says.
_KERAS_WITH_SAFE_H5 = (3, 11, 3)


class TensorFlowRuntime(TensorRuntime):
    """A SavedModel folder, or a `.keras`, `.h5` or `.hdf5` file.

    A Keras model is called without `Model.predict()`, whose set-up for each call takes a
    hundred times as long as a small model's run. One that holds Python code (a `Lambda`
    layer) needs `TRUSTED` or `SHA256`; one with layers of your own needs a subclass of
    this runtime, in the module that imports them. Text comes out as `bytes`, as
    TensorFlow keeps it.

    Args:
        signature: of the SavedModel; not for Keras files, which have one only.
        tags: of the MetaGraph in the SavedModel; None where it holds one only.
        threads: that one operator is spread over; None for TensorFlow's own choice. It
            holds for the whole process.
        batch_axis: the axis of each tensor that has an entry for each row of a batch, by its
            name, None where it has none; None alone makes each call a run of its own.
    """

    requires: ClassVar[tuple[str, ...]] = ("tensorflow",)
    extra: ClassVar[str] = "tensorflow"
    suffixes: ClassVar[tuple[str, ...]] = (_SAVED_MODEL, ".keras", ".h5", ".hdf5")
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self,
        *,
        signature: str = "serving_default",
        tags: Sequence[str] | None = None,
        threads: int | None = None,
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self.batch_axis = batch_axis
        self._signature_name = signature
        self._tags = tags
        self._threads = threads
        self._model: Any = None
        self._call: Callable[..., dict[str, Any]]

    def load(self, artifact: Artifact | None) -> None:
        """Load the model and trace its function.

        Raises:
            ValueError: the artifact is not what it should be, or an option does not fit it.
            RuntimeError: something that it needs is missing or was set up differently.
        """
        artifact = required(artifact)
        file = model_file(artifact, self.suffixes)
        # Both are read when TensorFlow and Keras are imported. 2 leaves the errors.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import tensorflow as tf

        _set_up_devices(tf, self._threads)
        self.device = "cuda:0" if tf.config.list_physical_devices("GPU") else "cpu"
        self.framework = f"tensorflow {tf.__version__}"
        if file.name == _SAVED_MODEL:
            self._load_saved_model(tf, file.parent)
        else:
            self._load_keras(tf, file, trusted=artifact.trusted)

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the function once."""
        return {name: tensor.numpy() for name, tensor in self._call(**inputs).items()}

    def close(self) -> None:
        """Let go of the model; TensorFlow keeps what it allocated for the process."""
        self._model = self._call = None  # type: ignore[assignment]

    def _load_saved_model(self, tf: Any, folder: Path) -> None:
        try:
            model = tf.saved_model.load(str(folder), tags=self._tags)
        except AttributeError as error:
            if "add_slot" not in str(error):
                raise
            raise RuntimeError(
                f"{folder} was saved by Keras 2, which TensorFlow loads only with the package "
                "tf_keras installed beside it: pip install tf_keras"
            ) from error
        name = self._signature_name
        if name not in model.signatures:
            raise ValueError(
                f"{folder} has no signature {name!r}{suggestion(name, model.signatures)}; "
                f"it has {', '.join(model.signatures) or 'none'}."
            )
        function = model.signatures[name]
        # The function refers to the model's variables, but does not keep them.
        self._model = model
        self._call = function
        # A SavedModel keeps no order: without one, no two processes would say the same.
        inputs, outputs = function.structured_input_signature[1], function.structured_outputs
        self.signature = _signature(dict(sorted(inputs.items())), dict(sorted(outputs.items())))

    def _load_keras(self, tf: Any, file: Path, *, trusted: bool) -> None:
        self._model = model = _read_keras(tf.keras, file, trusted=trusted)
        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise ValueError(
                f"{file} does not say what the model takes: give it a keras.Input before it is "
                "saved, or save it as a SavedModel with model.export()."
            )
        specs = {
            tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)
            for tensor in inputs
        }
        names = list(specs)
        # A Sequential model has inputs, but no `input`.
        structure = model.input if hasattr(model, "input") else inputs[0]

        def run(*tensors: Any) -> dict[str, Any]:
            by_name = dict(zip(names, tensors, strict=True))
            packed = tf.nest.map_structure(lambda tensor: by_name[tensor.name], structure)
            return _named_outputs(tf, model, model(packed, training=False))

        # Without its input signature, the function would be traced for every batch size.
        function = tf.function(
            run, input_signature=list(specs.values()), autograph=False
        ).get_concrete_function()
        self._call = lambda **tensors: function(*[tensors[name] for name in names])
        self.signature = _signature(specs, function.structured_outputs)


def _set_up_devices(tf: Any, threads: int | None) -> None:
    if threads is not None and tf.config.threading.get_intra_op_parallelism_threads() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError as error:
            raise RuntimeError(
                f"threads={threads} came too late: TensorFlow has already run in this process, "
                "with another number. The option must be the same for all of its models."
            ) from error
    for device in tf.config.list_physical_devices("GPU"):
        # Without it, TensorFlow takes all the memory of the GPU from the other processes. It
        # raises where the device is in use already, by an earlier model in this process.
        with suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(device, True)


def _read_keras(keras: Any, file: Path, *, trusted: bool) -> Any:
    backend = os.environ["KERAS_BACKEND"]
    if backend != "tensorflow":
        raise RuntimeError(
            f"KERAS_BACKEND is {backend} in this process; this runtime needs tensorflow."
        )
    # Keras 2 does not say its version here.
    version = getattr(keras, "__version__", "2")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if file.suffix != ".keras" and numbers < _KERAS_WITH_SAFE_H5 and not trusted:
        raise ValueError(
            f"{file} may hold Python code, and Keras {version} would run it: set TRUSTED or "
            'pin SHA256, convert the file to ".keras", or upgrade Keras.'
        )
    try:
        return keras.models.load_model(file, compile=False, safe_mode=not trusted)
    except ValueError as error:
        if "safe_mode" not in str(error):
            raise
        raise ValueError(
            f"{file} holds Python code (such as a Lambda layer): set TRUSTED or pin SHA256."
        ) from error


def _named_outputs(tf: Any, model: Any, outputs: Any) -> dict[str, Any]:
    """By the model's own keys, else by the layers that the outputs come from."""
    if isinstance(outputs, dict):
        return outputs
    flat = tf.nest.flatten(outputs)
    names = getattr(model, "output_names", None) or [model.layers[-1].name]
    if len(set(names)) != len(flat):
        names = [f"output_{index}" for index in range(len(flat))]
    return dict(zip(names, flat, strict=True))


def _signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> Signature | None:
    if any(spec.shape.rank is None for spec in inputs.values()):
        # Such an input takes any number of axes, which a signature cannot say.
        return None
    return Signature(
        tuple(_spec(name, spec) for name, spec in inputs.items()),
        tuple(_spec(name, spec) for name, spec in outputs.items()),
    )


def _spec(name: str, spec: Any) -> TensorSpec:
    dtype = "str" if spec.dtype.name == "string" else spec.dtype.name
    axes = () if spec.shape.rank is None else spec.shape
    return TensorSpec(name, dtype, tuple(-1 if axis is None else axis for axis in axes))
