"""Models for MLServer; imported by its own interpreter, without this project."""

from __future__ import annotations

import asyncio

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Double(MLModel):  # type: ignore[misc]
    """y = 2 x, as Triton's model of that name does."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        if x.size and x.max() > 1000:
            # The row says for how many milliseconds.
            await asyncio.sleep((float(x.max()) - 1000) / 1000)
        if x.size and x.min() < 0:
            raise ValueError("the model does not like this")
        y = (x * np.float32(2)).astype(np.float32)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output("y", y)],
        )


class Same(MLModel):  # type: ignore[misc]
    """Every input comes back as `…_out`; it tells nobody what it takes."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = []
        for tensor in payload.inputs:
            name = f"{tensor.name}_out"
            if tensor.datatype == "BYTES":
                texts = StringCodec.decode_input(tensor)
                outputs.append(StringCodec.encode_output(name, texts))
            else:
                outputs.append(NumpyCodec.encode_output(name, NumpyCodec.decode_input(tensor)))
        return InferenceResponse(model_name=self.name, outputs=outputs)
