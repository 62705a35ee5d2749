"""The messages of TensorFlow Serving; declared in `tensorflow_serving.proto`."""

from __future__ import annotations

from django_inference.wire.protos.pool import symbols

globals().update(symbols("tensorflow_serving.proto"))
