"""TensorFlow models: a SavedModel's signature, or one traced function around a Keras model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.graph_files import parsed
from django_inference.runtimes.graph_functions import GraphFunction, functions_of
from django_inference.runtimes.graph_inputs import checked_inputs, refusals
from django_inference.runtimes.loading import model_file, required
from django_inference.words import suggestion

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis, Tensors

_SAVED_MODEL = "saved_model.pb"
_DEFAULT = "serving_default"
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
        signature: of the SavedModel, and the only one to serve; not for Keras files, which have
            one only. None for `serving_default`, beside which clients of TensorFlow Serving may
            ask for the others by their names.
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
        signature: str | None = None,
        tags: Sequence[str] | None = None,
        threads: int | None = None,
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self.batch_axis = batch_axis
        self._signature_name = signature
        self._tags = tags
        self._threads = threads
        self._model: Any = None
        self._functions: dict[str, GraphFunction] = {}
        self._refused: type[Exception]

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
        self._refused = tf.errors.InvalidArgumentError
        if file.name == _SAVED_MODEL:
            self._load_saved_model(tf, file.parent)
        else:
            self._load_keras(tf, file, trusted=artifact.trusted)

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the function once.

        Raises:
            InvalidInput: the model does not take these inputs.
        """
        return self.predict_as("", inputs)

    def predict_as(self, signature: str, inputs: Tensors) -> Tensors:
        """Run the function of a signature once.

        Raises:
            InvalidInput: the model does not take these inputs.
        """
        function = self._functions[signature]
        tensors = checked_inputs(inputs, function.inputs)
        with refusals(self._refused, tensors):
            return {name: tensor.numpy() for name, tensor in function.call(**tensors).items()}

    def close(self) -> None:
        """Let go of the model; TensorFlow keeps what it allocated for the process."""
        self._model = None
        self._functions = {}

    @property
    def function(self) -> GraphFunction:
        """That of the model's own signature."""
        return self._functions[""]

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
        # The functions refer to the model's variables, but do not keep them.
        self._model = model
        functions = functions_of(tf, model.signatures, lambda: _meta_graph(folder / _SAVED_MODEL))
        name = self._signature_name or _DEFAULT
        if name not in functions:
            raise ValueError(
                f"{folder} has no signature {name!r}{suggestion(name, functions)}; "
                f"it has {', '.join(functions) or 'none'}."
            )
        self.signature = functions[name].signature()
        self._functions[""] = functions.pop(name)
        if self._signature_name is None and self.signature is not None:
            others = [each.signature(name) for name, each in functions.items()]
            self._functions |= functions
            self.signature = msgspec.structs.replace(
                self.signature, others=tuple(each for each in others if each is not None)
            )

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
        self._functions[""] = GraphFunction(
            specs,
            function.structured_outputs,
            lambda **tensors: function(*[tensors[name] for name in names]),
        )
        self.signature = self._functions[""].signature()


def _meta_graph(file: Path) -> Any:
    """The graph of a SavedModel as it was saved; None where the file holds several."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    graphs = parsed(SavedModel(), file).meta_graphs
    # Which one was loaded is for the tags to say.
    return graphs[0] if len(graphs) == 1 else None


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
