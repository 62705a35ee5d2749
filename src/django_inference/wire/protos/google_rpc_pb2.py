"""What an error by gRPC says beside its code; declared in `google_rpc.proto`."""

from __future__ import annotations

from django_inference.wire.protos.pool import symbols

globals().update(symbols("google_rpc.proto"))
