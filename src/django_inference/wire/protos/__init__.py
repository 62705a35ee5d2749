"""Messages and services of both protocols by gRPC, compiled from the `.proto` files beside this.

`make protos` writes `descriptors.binpb` (what is sent) and the `.pyi` files (what mypy reads).
There is no generated code: the classes are made from the descriptors when a `…_pb2` module is
imported, by whatever release of protobuf is there.
"""
