"""Trainings that are done by one process and by several, in float64, of 20 steps or so."""

import hashlib

import numpy as np

from tinygrad_mnist import nn, optim, training
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.training import choose
from tinygrad_mnist.training.loop.passes import Passes
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split


def in_float64(model):
    """Return a model, with float64 in the place of float32."""
    for _, parameter in model.named_parameters():
        parameter.data = parameter.data.astype(np.float64)
    for module in model.modules():
        for name, values in list(module.named_buffers(recurse=False)):
            if values.dtype == np.float32:
                vars(module)[name] = values.astype(np.float64)
    return model


def numbers(samples=103, classes=3):
    """Return inputs, and labels of which some are to be ignored."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(samples, 6)), rng.integers(0, classes, samples)
    y[5:9] = -100
    return x, y


def mlp(communicator=None, *, data=None, seed=0, model=None, **options):
    """Train a small model with class weights and ignored labels; the last batch of a pass has 3 rows."""
    model = model or in_float64(nn.Sequential(nn.Linear(6, 8, rng=seed), nn.ReLU(), nn.Linear(8, 3, rng=1)))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loss = nn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5]))
    given = {"epochs": 4, "batch_size": 25, "jit": "off", "lint": False, **options}
    data = numbers() if data is None else data
    done = training.fit(model, optimizer, data, loss=loss, communicator=communicator, **given)
    return model.state_dict(), done


def cnn(communicator=None, *, steps=20, **options):
    """Train by augmented images of digits, with batch norm and dropout."""
    recipe = choose("digits", changes={"augmentation": "affine-8x8"}).recipe
    rngs = generators(0)
    dataset = load_digits()
    parts = split(dataset, recipe.validation, rngs["split"])
    source = Passes(recipe, parts, 50, 20, rngs)
    model = in_float64(
        nn.Sequential(
            *(nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Dropout(0.3, rng=3), nn.Linear(36, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU()),
            nn.Linear(8, 10, rng=1),
        )
    )
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    given = {"epochs": steps / len(source), "jit": "off", "lint": False, **options}
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    done = training.fit(model, optimizer, source, loss=loss, communicator=communicator, **given)
    return model.state_dict(), done


CASES = {
    "mlp": (mlp, {"validation": numbers(40), "metrics": ["accuracy", "confusion"]}),
    "clipping": (mlp, {"clip_norm": 0.1, "ema": 0.9}),
    "accumulation": (mlp, {"accumulate": 3, "validation": numbers(40), "patience": 2}),
    "cnn": (cnn, {}),
    "cnn, accumulation": (cnn, {"accumulate": 2, "clip_norm": 0.5}),
}
"""Functions that train, and their options."""


def difference(one, other):
    """Return the greatest difference of two results, over all weights, losses and validation losses."""
    (state, done), (others, others_done) = one, other
    assert state.keys() == others.keys()
    histories = [np.array(result.history.losses) for result in (done, others_done)]
    records = [
        np.array([record.validation_loss for record in result.history.records])
        for result in (done, others_done)
    ]
    pairs = [*((state[name], others[name]) for name in state), histories, records]
    return float(np.max([np.abs(a - b).max(initial=0) for a, b in pairs]))  # unlike max, NaN if any is


def digest(result):
    """Return a hash of all that a training leaves, but for times."""
    state, done = result
    found = hashlib.sha256()
    for name, values in state.items():
        found.update(name.encode() + np.ascontiguousarray(values).tobytes())
    history = done.history.to_dict()
    found.update(repr([{**one, "seconds": 0} for one in history.pop("records")]).encode())
    found.update(repr(history).encode())
    return found.hexdigest()
