"""Weights move to other tools and back: by files, in memory, and as dicts, as JAX's Flax keeps them.

It writes model.safetensors, model.npz and model.pt into the current directory. PyTorch is not needed; where
it is installed, it reads the last file.
"""

import importlib.util

import numpy as np

from tinygrad_mnist import exchange, nn


def network() -> nn.Module:
    """An image of 8 x 8 pixels goes through a convolution and two layers to 10 scores."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)
    )


def outputs(model: nn.Module, images: np.ndarray) -> np.ndarray:
    return model.eval()(images).detach().numpy()


rng = np.random.default_rng(0)
images = rng.normal(size=(5, 1, 8, 8)).astype(np.float32)
model = network()
expected = outputs(model, images)

# Files: the suffix chooses the format, and the names in it are PyTorch's.
for suffix in (".safetensors", ".npz", ".pt"):
    model.save(f"model{suffix}")
    twin = network()
    twin.load(f"model{suffix}")
    print(f"model{suffix}: the same outputs:", np.array_equal(outputs(twin, images), expected))

# Flax keeps dicts in dicts, images as (n, height, width, channels), and its kernels with the outputs last.
state = model.state_dict()
flax = {
    "Conv_0": {"kernel": state["0.weight"].transpose(2, 3, 1, 0), "bias": state["0.bias"]},
    "Dense_0": {
        # the rows of what was flattened: (channels, height, width) here, (height, width, channels) there
        "kernel": state["3.weight"].reshape(16, 4, 6, 6).transpose(2, 3, 1, 0).reshape(144, 16),
        "bias": state["3.bias"],
    },
    "BatchNorm_0": {"scale": state["4.weight"], "bias": state["4.bias"]},
    "Dense_1": {"kernel": state["5.weight"].T, "bias": state["5.bias"]},
}
statistics = {"BatchNorm_0": {"mean": state["4.running_mean"], "var": state["4.running_var"]}}

# And back: a transposed array is loaded as it lies.
twin = network()
twin.load_state_dict(
    {
        "0.weight": flax["Conv_0"]["kernel"].transpose(3, 2, 0, 1),
        "0.bias": flax["Conv_0"]["bias"],
        "3.weight": flax["Dense_0"]["kernel"].reshape(6, 6, 4, 16).transpose(3, 2, 0, 1).reshape(16, 144),
        "3.bias": flax["Dense_0"]["bias"],
        "4.weight": flax["BatchNorm_0"]["scale"],
        "4.bias": flax["BatchNorm_0"]["bias"],
        "4.running_mean": statistics["BatchNorm_0"]["mean"],
        "4.running_var": statistics["BatchNorm_0"]["var"],
        "4.num_batches_tracked": 0,
        "5.weight": flax["Dense_1"]["kernel"].T,
        "5.bias": flax["Dense_1"]["bias"],
    }
)
print("Flax's layouts and back: the same outputs:", np.array_equal(outputs(twin, images), expected))

# PyTorch reads the file, and takes the arrays in memory.
if importlib.util.find_spec("torch"):
    import torch

    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 16),
        torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 10),
    ).eval()  # fmt: skip
    for name, given in (
        ("PyTorch by a file", torch.load("model.pt", weights_only=True)),
        ("PyTorch in memory", exchange.to_torch(model)),
    ):
        theirs.load_state_dict(given)
        with torch.no_grad():
            found = theirs(torch.from_numpy(images)).numpy()
        print(f"{name}: the same outputs:", np.allclose(found, expected, atol=1e-6))
