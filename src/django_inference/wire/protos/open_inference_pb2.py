"""The messages of the Open Inference Protocol; declared in `open_inference.proto`."""

from __future__ import annotations

from django_inference.wire.protos.pool import symbols

globals().update(symbols("open_inference.proto"))
