"""Digit recognition: the first ancestor of this project, on its engine.

784-64-32-16-10 with batch norm after each hidden layer, ReLU and softmax; z-scored inputs and one-hot labels;
Adam with L2 on the full batch. The ancestor worked out every gradient by hand and reached 90.00 % on its
training digits and 87.1 % on unseen ones after 1000 iterations. Takes some minutes on MNIST.
"""

import argparse
from pathlib import Path

import numpy as np

from tinygrad_mnist import nn, no_grad, optim, plots
from tinygrad_mnist.data import DataError, Standardizer, load, one_hot
from tinygrad_mnist.training import set_threads


def make_model(inputs: int, classes: int) -> nn.Module:
    """Return the network, from images to logits; softmax is part of the loss."""
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in ((inputs, 64), (64, 32), (32, 16)):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(16, classes))


def gradient_descent(
    model: nn.Module, x: np.ndarray, y: np.ndarray, iterations: int, learning_rate: float, l2: float
) -> list[dict[str, float]]:
    """Train on all images at once; ``x`` (n, 1, height, width), ``y`` one-hot (n, classes)."""
    optimizer = optim.Adam(model.parameters(), lr=learning_rate, weight_decay=l2)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=iterations)
    history = []
    for iteration in range(1, iterations + 1):
        optimizer.zero_grad()
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, y)
        loss.backward()
        optimizer.step()
        schedule.step()
        if iteration == 1 or iteration % max(iterations // 20, 1) == 0:
            accuracy = np.mean(logits.data.argmax(axis=1) == y.argmax(axis=1))
            history.append({"epoch": iteration, "train_loss": loss.item(), "train_accuracy": accuracy})
            print(f"iteration {iteration:4}: loss {loss:.4f}, accuracy on training digits {accuracy:.2%}")
    return history


def make_predictions(model: nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the digit that the model sees in each image, and the probability that it gives to it."""
    model.eval()
    with no_grad():
        probabilities = nn.functional.softmax(model(x), dim=1).numpy()
    return probabilities.argmax(axis=1), probabilities.max(axis=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="auto", help="auto, mnist, digits, or a path to data of your own")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--l2", type=float, default=1e-4)
    parser.add_argument("--out", type=Path, default=Path("runs/digit_recognition"), help="for the pictures")
    options = parser.parse_args()
    if options.iterations < 1:
        parser.error(f"--iterations must be at least 1, not {options.iterations}")
    options.out.mkdir(parents=True, exist_ok=True)

    set_threads(1)  # matrices of this size: two threads would wait for each other
    nn.manual_seed(0)
    try:
        digits = load(options.data, notify=print)
    except DataError as error:
        parser.error(str(error))
    standardize = Standardizer.fit(digits.train_images)
    x, y = standardize(digits.train_images), one_hot(digits.train_labels, digits.classes)
    model = make_model(x[0].size, digits.classes)
    history = gradient_descent(model, x, y, options.iterations, options.learning_rate, options.l2)

    predicted, confidence = make_predictions(model, standardize(digits.test_images))
    print(f"accuracy on unseen digits: {np.mean(predicted == digits.test_labels):.2%}")
    shown = slice(0, 25)
    print(plots.save(plots.plot_training(history), options.out / "training.png"))
    figure = plots.plot_predictions(
        digits.test_images[shown], predicted[shown], digits.test_labels[shown], confidence[shown]
    )
    print(plots.save(figure, options.out / "predictions.png"))
