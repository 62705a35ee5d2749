"""TensorFlow's Example messages, and features by name."""

from __future__ import annotations

from django_inference.exceptions import InvalidInput
from django_inference.wire.examples import Examples, Features
from django_inference.wire.protos import tensorflow_pb2 as tf
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs

#: Of a whole number, beside its sign. The least one of 64 bits is left out.
_BITS = 63


def examples_of(asked: tfs.Input) -> Examples:
    """The features of what Classify and Regress are sent.

    Raises:
        InvalidInput: there are no examples.
    """
    kind = asked.WhichOneof("kind")
    if kind is None:
        raise InvalidInput("the input has no examples.")
    sent = getattr(asked, kind)
    if not sent.examples:
        raise InvalidInput("the input has no examples.")
    context = _features(sent.context) if kind == "example_list_with_context" else {}
    return Examples([_features(example) for example in sent.examples], context)


def serialised(asked: Examples) -> list[bytes]:
    """Each example as a message of its own, for graphs that parse such messages themselves.

    Raises:
        InvalidInput: a feature holds what no such message has room for.
    """
    return [_example({**asked.context, **example}) for example in asked.examples]


def _example(features: Features) -> bytes:
    example = tf.Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        kinds = set(map(type, values))
        if kinds <= {int, bool}:
            if any(value.bit_length() > _BITS for value in values):
                raise InvalidInput(f"the feature {name!r} has a number of more than 64 bits.")
            feature.int64_list.value.extend(map(int, values))
        elif kinds <= {int, float}:
            feature.float_list.value.extend(values)
        elif kinds <= {str, bytes}:
            encoded = [each.encode() if isinstance(each, str) else each for each in values]
            feature.bytes_list.value.extend(encoded)
        else:
            raise InvalidInput(f"the feature {name!r} is neither all numbers nor all texts.")
    return example.SerializeToString()


def _features(example: tf.Example) -> Features:
    found: Features = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        # A feature without values is none, as TensorFlow has it.
        if kind is not None:
            found[name] = list(getattr(feature, kind).value)
    return found
