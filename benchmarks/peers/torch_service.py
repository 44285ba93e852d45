"""The smallest service of a model in PyTorch: a picture comes, goes through the network alone, is answered.

It prepares a picture as ours does, and answers the same. It has no limits, no batches, and one thread.

``python -m benchmarks.peers.torch_service RUN PORT`` serves the model of a run directory.
"""

from __future__ import annotations

import sys
from io import BytesIO

import numpy as np
import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.peers.torch_recipe import twin
from tinygrad_mnist.data.prepare import place_digit
from tinygrad_mnist.training import load_checkpoint


def application(run: str) -> Starlette:
    """Return the service."""
    checkpoint = load_checkpoint(run)
    model = twin(checkpoint.model).to(memory_format=torch.contiguous_format).eval()

    async def predict(request: Request) -> JSONResponse:
        picture = np.array(Image.open(BytesIO(await request.body())).convert("L"))
        prepared = place_digit(picture)
        with torch.inference_mode():
            logits = model(torch.from_numpy(checkpoint.standardizer(prepared.image[np.newaxis])))
            probabilities = logits.softmax(1)[0].tolist()
        index = int(np.argmax(probabilities))
        prediction = {
            "class": checkpoint.class_names[index],
            "index": index,
            "probability": probabilities[index],
            "sure": probabilities[index] >= 0.7,
            "probabilities": probabilities,
            "image": prepared.image.tolist(),
            "placement": prepared.placement.tolist(),
        }
        return JSONResponse({"classes": checkpoint.class_names, "predictions": [prediction]})

    return Starlette(routes=[Route("/predict", predict, methods=["POST"])])


if __name__ == "__main__":
    torch.set_num_threads(1)
    uvicorn.run(application(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
