"""What TensorFlow calls the types of tensors, and what signatures of models call them."""

from __future__ import annotations

#: A signature may say `str` or `bytes`; TensorFlow's strings are bytes, and are read as `str`
#: where a name of ours is wanted, since that is what its runtimes declare.
DATA_TYPES: dict[str, str] = {
    "bool": "DT_BOOL",
    "int8": "DT_INT8",
    "int16": "DT_INT16",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "uint8": "DT_UINT8",
    "uint16": "DT_UINT16",
    "uint32": "DT_UINT32",
    "uint64": "DT_UINT64",
    "float16": "DT_HALF",
    "bfloat16": "DT_BFLOAT16",
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "complex64": "DT_COMPLEX64",
    "complex128": "DT_COMPLEX128",
    "str": "DT_STRING",
    "bytes": "DT_STRING",
}
