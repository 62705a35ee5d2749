"""The codes of TensorFlow's status messages; declared in `tensorflow_error.proto`."""

from __future__ import annotations

from django_inference.wire.protos.pool import symbols

globals().update(symbols("tensorflow_error.proto"))
