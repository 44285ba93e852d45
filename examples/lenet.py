"""LeNet, a small convolutional network, learns to read digits: 99.2 % of MNIST after one pass over it.

Two convolutions find strokes and parts of digits; each pool halves the images; batch norm keeps the numbers
in range; two linear layers decide. `@jit` compiles the training step, if the extra `jit` is installed.

LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition".
"""

import argparse

import numpy as np

from tinygrad_mnist import Tensor, jit, nn, no_grad, optim
from tinygrad_mnist.data import DataError, Standardizer, batches, load
from tinygrad_mnist.training import set_threads

BATCH = 64

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", default="auto", help="auto, mnist, digits, or a path to data of your own")
parser.add_argument("--epochs", type=int, help="passes over the data; 1 over MNIST, more over less")
options = parser.parse_args()
if options.epochs is not None and options.epochs < 1:
    parser.error(f"--epochs must be at least 1, not {options.epochs}")
try:
    digits = load(options.data, notify=print)
except DataError as error:
    parser.error(str(error))
if (images := len(digits.train_images)) < BATCH:
    parser.error(f"{options.data} has too few images to train on, {images}; at least {BATCH} make a batch")
if min(digits.image_shape) < 4:
    parser.error(f"{options.data} has images of fewer than 4 x 4 pixels; two pools leave nothing of them")

epochs = options.epochs or max(20_000 // len(digits.train_images), 1)

set_threads(1)
nn.manual_seed(0)
height, width = digits.image_shape
model = nn.Sequential(
    nn.Conv2d(1, 16, 5, padding="same"), nn.MaxPool2d(2), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 32, 5, padding="same"), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * (height // 4) * (width // 4), 128), nn.BatchNorm1d(128), nn.ReLU(),
    nn.Linear(128, digits.classes),
)  # fmt: skip
print(model)
standardize = Standardizer.fit(digits.train_images)  # it gives (n, 1, height, width), float32
optimizer = optim.Adam(model.parameters())
schedule = optim.OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * (len(digits.train_images) // BATCH))


@jit
def step(x: Tensor, y: Tensor) -> Tensor:
    """Change the parameters; return the loss."""
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


rng = np.random.default_rng(0)
for epoch in range(1, epochs + 1):
    losses = []
    for x, y in batches(
        digits.train_images, digits.train_labels, BATCH, rng=rng, drop_last=True, standardize=standardize
    ):
        losses.append(step(Tensor(x), Tensor(y)).item())
        schedule.step()
    print(f"epoch {epoch}: loss {np.mean(losses):.4f}")

model.eval()
predict, right = jit(model), 0
for x, y in batches(digits.test_images, digits.test_labels, 500, standardize=standardize):
    with no_grad():
        right += np.sum(predict(Tensor(x)).numpy().argmax(axis=1) == y)
print(f"accuracy on unseen digits: {right / len(digits.test_labels):.2%}")
