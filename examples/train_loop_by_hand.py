"""A training loop, written out: what `training.fit` does is these lines, and what looks after them.

`train_with_fit.py` trains the same network by `training.fit`. Both print the same numbers to the last bit.
"""

import argparse
import hashlib

import numpy as np

from tinygrad_mnist import nn, no_grad, optim
from tinygrad_mnist.data import Batches, Standardizer, load_digits
from tinygrad_mnist.training import set_threads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=10)
options = parser.parse_args()

set_threads(1)
nn.manual_seed(0)
digits = load_digits()
standardize = Standardizer.fit(digits.train_images)
images, labels = standardize(digits.train_images), digits.train_labels
model = nn.Sequential(
    nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)
)

batches = Batches(images, labels, 64, rng=np.random.default_rng(0))
optimizer = optim.Adam(model.parameters(), lr=0.01)
schedule = optim.CosineAnnealingLR(optimizer, T_max=options.epochs * len(batches))
loss = nn.CrossEntropyLoss(label_smoothing=0.1)

losses = []
model.train()
for _ in range(options.epochs):
    for x, y in batches:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())

model.eval()
with no_grad():
    logits = model(standardize(digits.test_images)).numpy()
accuracy = np.mean(logits.argmax(axis=1) == digits.test_labels)
weights = b"".join(value.tobytes() for value in model.state_dict().values())
print("last losses:", *losses[-3:])
print(f"accuracy on unseen digits: {accuracy:.2%}")
print("weights, by their SHA-256:", hashlib.sha256(weights).hexdigest())
