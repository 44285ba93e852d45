"""Digit classification: the second ancestor of this project, on its engine.

A network of three fully connected layers with ReLU and softmax, trained on mini-batches by momentum, RMSProp
or Adam, its gradients clipped at a threshold; more layers and units by choice. The ancestor reported 98 % on
MNIST's test digits.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from tinygrad_mnist import nn, no_grad, optim, plots
from tinygrad_mnist.data import DataError, Standardizer, batches, load, stratified_split
from tinygrad_mnist.training import set_threads

OPTIMIZERS = {
    "momentum": lambda parameters, lr=0.05: optim.SGD(parameters, lr=lr, momentum=0.9),
    "rmsprop": lambda parameters, lr=5e-4: optim.RMSprop(parameters, lr=lr),
    "adam": lambda parameters, lr=1e-3: optim.Adam(parameters, lr=lr),
}


def make_model(sizes: list[int]) -> nn.Module:
    """Fully connected layers of these sizes, ReLU between them; an image becomes a row of its pixels."""
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def accuracy(model: nn.Module, x: np.ndarray, labels: np.ndarray) -> float:
    with no_grad():
        return float(np.mean(model(x).argmax(axis=1).numpy() == labels))


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", default="auto", help="auto, mnist, digits, or a path to data of your own")
parser.add_argument("--hidden", type=int, nargs="+", default=[256, 128], help="units of each hidden layer")
parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam")
parser.add_argument("--lr", type=float, help="learning rate at the start; the optimiser's own by default")
parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--out", type=Path, default=Path("runs/digit_classification"), help="for the pictures")
options = parser.parse_args()
if options.epochs < 1:
    parser.error(f"--epochs must be at least 1, not {options.epochs}")
options.out.mkdir(parents=True, exist_ok=True)

set_threads(1)  # matrices of this size: two threads would wait for each other
nn.manual_seed(0)
rng = np.random.default_rng(0)
try:
    digits = load(options.data, notify=print)
    training, held_out = stratified_split(digits.train_labels, 0.1, rng)
except DataError as error:
    parser.error(str(error))
images, labels = digits.train_images[training], digits.train_labels[training]
standardize = Standardizer.fit(images)
held_out_x, held_out_labels = standardize(digits.train_images[held_out]), digits.train_labels[held_out]

model = make_model([held_out_x[0].size, *options.hidden, digits.classes])
chosen = {} if options.lr is None else {"lr": options.lr}
optimizer = OPTIMIZERS[options.optimizer](model.parameters(), **chosen)
schedule = optim.CosineAnnealingLR(optimizer, T_max=options.epochs)
print(model)

history = []
for epoch in range(1, options.epochs + 1):
    losses, norms = [], []
    for x, y in batches(images, labels, 128, rng=rng, standardize=standardize):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        norms.append(optim.clip_grad_norm_(model.parameters(), options.clip))
        optimizer.step()
        losses.append(loss.item())
    schedule.step()
    right = accuracy(model, held_out_x, held_out_labels)
    clipped = np.mean(np.array(norms) > options.clip)
    history.append({"epoch": epoch, "train_loss": np.mean(losses), "validation_accuracy": right})
    print(
        f"epoch {epoch:2}: loss {np.mean(losses):.4f}, accuracy on held-out digits {right:.2%}, "
        f"gradients clipped in {clipped:.0%} of the steps"
    )

test_x = standardize(digits.test_images)
print(f"accuracy on unseen digits: {accuracy(model, test_x, digits.test_labels):.2%}")
with no_grad():
    probabilities = nn.functional.softmax(model(test_x[:25]), dim=1).numpy()
print(plots.save(plots.plot_training(history), options.out / "training.png"))
figure = plots.plot_predictions(
    digits.test_images[:25], probabilities.argmax(axis=1), digits.test_labels[:25], probabilities.max(axis=1)
)
print(plots.save(figure, options.out / "predictions.png"))
