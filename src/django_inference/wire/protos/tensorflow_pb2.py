"""TensorFlow's tensors, signatures and examples; declared in `tensorflow.proto`."""

from __future__ import annotations

from django_inference.wire.protos.pool import symbols

globals().update(symbols("tensorflow.proto"))
