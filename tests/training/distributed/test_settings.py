"""Settings that differ between ranks are refused by name, with the values of all; what may differ is not."""

import dataclasses
import functools
import re

import numpy as np
import pytest

from tests.ranks import run_threads
from tests.training.distributed.cases import numbers
from tinygrad_mnist import nn, optim, training
from tinygrad_mnist.training import TrainingError
from tinygrad_mnist.training.distributed.settings import Settings


class Scaled(nn.Module):
    """A module of the user's with some attribute."""

    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)

    def forward(self, x):
        return x


class Shown(nn.Module):
    """A module of the user's that shows what nobody else sees."""

    def __init__(self, factor):
        super().__init__()
        self._factor = factor

    def extra_repr(self):
        return f"factor={self._factor}"


@dataclasses.dataclass
class Options:
    """Settings of the user's."""

    depth: int


def compare(communicator, layer, loss=None, lr=0.1, schedule=None, **options):
    """Compare the settings of a training with a layer, which is the one of this rank."""
    model = nn.Sequential(nn.Linear(4, 3, rng=communicator.rank), layer or nn.ReLU())
    optimizer = optim.SGD([{"params": model.parameters(), "lr": lr}], lr=0.5, **options)
    schedule = schedule and schedule(optimizer)
    Settings.of(model, loss or nn.CrossEntropyLoss(), optimizer, schedule).require_same(communicator)


def stepped(*sizes):
    return lambda o: optim.SequentialLR(o, [optim.StepLR(o, size) for size in sizes], [3])


DIFFERENT = {
    "p of layer 1 of the model is 0.2": lambda rank: {"layer": nn.Dropout(0.5 if rank else 0.2)},
    "momentum of layer 1 of the model is 0.1": lambda rank: {
        "layer": nn.BatchNorm1d(3, momentum=0.5 if rank else 0.1)
    },
    "eps of layer 1.0 of the model is 1e-05": lambda rank: {
        "layer": nn.Sequential(nn.BatchNorm1d(3, eps=1e-3 if rank else 1e-5))
    },
    "the class of layer 1 of the model is ReLU": lambda rank: {"layer": nn.Tanh() if rank else nn.ReLU()},
    "label_smoothing of the loss is 0.0": lambda rank: {
        "loss": nn.CrossEntropyLoss(label_smoothing=0.1 * rank)
    },
    "what repr shows of the loss is functools.partial(<function": lambda rank: {
        "loss": functools.partial(nn.functional.mse_loss, reduction="sum" if rank else "mean")
    },
    "lr of parameter group 0 is 0.1": lambda rank: {"lr": 1.1 if rank else 0.1},
    "momentum of parameter group 0 is 0.0": lambda rank: {"momentum": 0.9 * rank},
    "step_size of the schedule is 2": lambda rank: {"schedule": lambda o: optim.StepLR(o, 2 + rank)},
    "step_size of part 1 of the schedule is 2": lambda rank: {"schedule": stepped(2, 2 + rank)},
    "sizes of layer 1 of the model is (1, 0)": lambda rank: {"layer": Scaled(sizes=(1, rank))},
    "names of layer 1 of the model is (a=0)": lambda rank: {"layer": Scaled(names={"a": rank})},
    "dtype of layer 1 of the model is float32": lambda rank: {
        "layer": Scaled(dtype=np.dtype(np.float64 if rank else np.float32))
    },
    "options of layer 1 of the model is Options(depth=0)": lambda rank: {
        "layer": Scaled(options=Options(rank))
    },
    "what repr shows of layer 1 of the model is factor=0": lambda rank: {"layer": Shown(rank)},
}


@pytest.mark.parametrize("sentence", DIFFERENT)
def test_a_setting_that_differs_is_named_with_its_place_and_both_values(sentence):
    def run(communicator):
        with pytest.raises(TrainingError, match=re.escape(sentence)) as caught:
            compare(communicator, **{"layer": None, **DIFFERENT[sentence](communicator.rank)})
        assert re.search(r" on rank 0 \(here\), and .* on rank 1 \(here\)", str(caught.value))

    run_threads(2, run)


EQUAL = {
    "generators": lambda rank: {"layer": nn.Dropout(0.5, rng=rank)},
    "mode": lambda rank: {"layer": nn.ReLU().train(bool(rank))},
    "private": lambda rank: {"layer": Scaled(_rank=rank)},
    "objects": lambda rank: {"layer": Scaled(thing=object(), call=lambda: rank)},
    "address": lambda rank: {"loss": functools.partial(lambda a, b, c: a, c=object())},
    "no number": lambda rank: {"layer": Scaled(value=float("nan"))},
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_may_differ_is_not_compared(name):
    run_threads(2, lambda c: compare(c, **{"layer": None, **EQUAL[name](c.rank)}))


def test_long_values_that_differ_are_told_apart_by_a_hash():
    def run(communicator):
        layer = Scaled(table=[*range(100), communicator.rank])
        with pytest.raises(TrainingError, match=r"table of .*SHA-256 (\w{12})\) on rank 0 .*SHA-256 (?!\1)"):
            compare(communicator, layer)

    run_threads(2, run)


def test_a_training_does_not_begin_with_other_settings_in_one_rank():
    def run(communicator):
        model = nn.Linear(6, 3, rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        loss = nn.CrossEntropyLoss(label_smoothing=0.1 * communicator.rank)
        with pytest.raises(TrainingError, match="label_smoothing of the loss"):
            training.fit(model, optimizer, numbers(), loss=loss, epochs=1, communicator=communicator)

    run_threads(2, run)
