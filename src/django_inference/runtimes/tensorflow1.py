"""Models of TensorFlow 1: graphs and sessions."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.graph_ends import (
    Declared,
    Ends,
    Names,
    by_signature,
    find_ends,
    signature,
    tensor,
)
from django_inference.runtimes.graph_files import SAVED_MODEL, clean, graph_file, parsed
from django_inference.runtimes.graph_inputs import checked_inputs, refusals
from django_inference.runtimes.loading import required

if TYPE_CHECKING:
    from django_inference.artifacts import Artifact
    from django_inference.tensors import BatchAxis, Tensors

_KERAS = (".h5", ".hdf5")


class TensorFlow1Runtime(TensorRuntime):
    """A frozen graph (`.pb`), a checkpoint (`.meta`), a SavedModel folder, or a Keras `.h5` file.

    The graph and the session are this object's own, and it holds on to them: neither the
    default graph nor the default session of any thread is used, and TensorFlow 2 can go on
    beside them. Text comes out as `bytes`. A Keras file may hold Python code, so it needs
    `TRUSTED` or `SHA256`.

    Args:
        signature: of a SavedModel; None for `serving_default`, or the only one.
        tags: of the MetaGraph in a SavedModel; None where it holds one only.
        inputs: tensors to feed, by the names that callers use, as in
            `{"image": "input:0"}`. None: what the file declares, else the placeholders that
            the outputs depend on.
        outputs: tensors to fetch, likewise. None: what the file declares, else those of the
            graph's last operation.
        feed: values of tensors that are the same at every run: `{"keep_prob:0": 1.0}`.
        threads: that one operator is spread over; None for TensorFlow's own choice. The
            first session of a process decides for all of them.
        batch_axis: the axis of each tensor that has an entry for each row of a batch, by its
            name, None where it has none; None alone makes each call a run of its own.
    """

    requires: ClassVar[tuple[str, ...]] = ("tensorflow",)
    extra: ClassVar[str] = "tensorflow"
    suffixes: ClassVar[tuple[str, ...]] = (".pb", ".meta")
    runs_code: ClassVar[tuple[str, ...]] = _KERAS
    needs_artifact: ClassVar[bool] = True

    def __init__(
        self,
        *,
        signature: str | None = None,
        tags: Sequence[str] | None = None,
        inputs: Names | None = None,
        outputs: Names | None = None,
        feed: Mapping[str, Any] | None = None,
        threads: int | None = None,
        batch_axis: BatchAxis = "auto",
    ) -> None:
        self.batch_axis = batch_axis
        self._signature_name = signature
        self._tags = tags
        self._wanted = Declared(inputs, outputs)
        self._fed = feed or {}
        self._threads = threads
        self._ends = Ends({}, {})
        self._constants: dict[Any, Any] = {}
        self._session: Any = None
        self._refused: type[Exception]

    def load(self, artifact: Artifact | None) -> None:
        """Read the graph, and its variables into a session.

        Raises:
            ValueError: the artifact is not what it should be, or an option does not fit it.
            RuntimeError: a Keras file needs a package that is missing.
        """
        artifact = required(artifact)
        file = graph_file(artifact, (*self.suffixes, *_KERAS))
        # Read when TensorFlow is imported. 2 leaves the errors.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        self._refused = tf.errors.InvalidArgumentError
        v1 = tf.compat.v1
        config = v1.ConfigProto(intra_op_parallelism_threads=self._threads or 0)
        # Without it, TensorFlow takes all the memory of the GPU from the other processes.
        config.gpu_options.allow_growth = True
        self._session = v1.Session(graph=v1.Graph(), config=config)
        graph = self._session.graph
        with graph.as_default(), self._session.as_default(), _without_advice():
            declared = self._read(v1, file, trusted=artifact.trusted)
        # From now on, code that adds an operation to it at every call fails instead of leaking.
        graph.finalize()
        self._constants = {tensor(graph, name): value for name, value in self._fed.items()}
        inputs, outputs = self._wanted
        declared = Declared(inputs or declared.inputs, outputs or declared.outputs)
        self._ends = find_ends(graph, declared, {each.name for each in self._constants})
        self.signature = signature(self._ends)
        self.device = "cuda:0" if tf.config.list_physical_devices("GPU") else "cpu"
        self.framework = f"tensorflow {tf.__version__}"

    def predict(self, inputs: Tensors) -> Tensors:
        """Run the session once.

        Raises:
            InvalidInput: the model does not take these inputs.
        """
        ends = self._ends
        tensors = checked_inputs(inputs, ends.inputs)
        feed = {each: tensors[name] for name, each in ends.inputs.items()}
        with refusals(self._refused, tensors):
            outputs: Tensors = self._session.run(ends.outputs, feed | self._constants)
        return outputs

    def close(self) -> None:
        """Close the session, which frees its variables."""
        if self._session is not None:
            self._session.close()

    def _read(self, v1: Any, file: Path, *, trusted: bool) -> Declared:
        if file.name == SAVED_MODEL:
            tags = self._tags or _only_tags(file)
            folder = str(file.parent)
            meta_graph = v1.saved_model.load(self._session, tags, folder, clear_devices=True)
            return self._by_signature(meta_graph)
        # The prefix of a checkpoint may be empty, and `.meta` alone has no suffix.
        if file.name.endswith(".meta"):
            meta_graph = parsed(v1.MetaGraphDef(), file)
            clean(meta_graph.graph_def)
            saver = v1.train.import_meta_graph(meta_graph)
            # A graph without variables has nothing to restore.
            if saver is not None:
                saver.restore(self._session, str(file).removesuffix(".meta"))
            self._session.run(v1.tables_initializer())
            return self._by_signature(meta_graph)
        if file.suffix in _KERAS:
            return _read_keras(file, trusted=trusted)
        graph = parsed(v1.GraphDef(), file)
        clean(graph)
        v1.import_graph_def(graph, name="")
        return Declared()

    def _by_signature(self, meta_graph: Any) -> Declared:
        if self._signature_name is None and None not in self._wanted:
            return Declared()
        return by_signature(meta_graph.signature_def, self._signature_name)


def _only_tags(file: Path) -> list[str]:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    found = [sorted(each.meta_info_def.tags) for each in parsed(SavedModel(), file).meta_graphs]
    if len(found) != 1:
        raise ValueError(
            f"{file} holds {len(found)} MetaGraphs, so the option `tags` must name those of one: "
            f"{' or '.join(map(str, found))}."
        )
    return found[0]


def _read_keras(file: Path, *, trusted: bool) -> Declared:
    if not trusted:
        raise ValueError(
            f"{file} may hold Python code, and Keras 2 would run it: set TRUSTED or pin SHA256."
        )
    try:
        import tf_keras
    except ImportError as error:
        raise RuntimeError(
            f"{file} is a model of Keras 2, which the package tf_keras reads: pip install tf_keras"
        ) from error
    # It reads into the graph and the session that are the defaults of this thread by now.
    model = tf_keras.models.load_model(file, compile=False)
    if not model.inputs:
        raise ValueError(f"{file} does not say what the model takes: build it before it is saved.")
    return Declared(
        {name: each.name for name, each in zip(model.input_names, model.inputs, strict=True)},
        {name: each.name for name, each in zip(model.output_names, model.outputs, strict=True)},
    )


@contextmanager
def _without_advice() -> Iterator[None]:
    """TensorFlow tells programmers to use TensorFlow 2; people who run a site cannot."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
