"""A training step, compiled: the same function with `@jit` in front of it.

The first call of `step` records all that it does, the forward, the walk back and the optimiser, and compiles
it. Later calls run the machine code. It needs the extra `jit`; without it the function runs as it is.
"""

import argparse
import time

import numpy as np

from tinygrad_mnist import Tensor, jit, nn, no_grad, optim
from tinygrad_mnist.data import Standardizer, batches, load_digits
from tinygrad_mnist.training import set_threads

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
options = parser.parse_args()

set_threads(1)
nn.manual_seed(0)
digits = load_digits()
standardize = Standardizer.fit(digits.train_images)
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
optimizer = optim.Adam(model.parameters(), lr=0.003)


@jit
def step(x: Tensor, y: Tensor) -> Tensor:
    """Change the parameters; return the loss."""
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


rng = np.random.default_rng(0)
seconds = []
for epoch in range(1, options.epochs + 1):
    losses = []
    for x, y in batches(
        digits.train_images, digits.train_labels, 64, rng=rng, drop_last=True, standardize=standardize
    ):
        began = time.perf_counter()
        loss = step(Tensor(x), Tensor(y))
        seconds.append(time.perf_counter() - began)
        losses.append(loss.item())  # outside: inside there is no value yet, only what will be computed
    if epoch % max(options.epochs // 5, 1) == 0:
        print(f"epoch {epoch:3}: loss {np.mean(losses):.4f}")

# A model can be compiled, too: it is called as before. Evaluation mode is another program.
model.eval()
forward = jit(model)
with no_grad():
    logits = forward(Tensor(standardize(digits.test_images))).numpy()
print(f"accuracy on unseen digits: {np.mean(logits.argmax(axis=1) == digits.test_labels):.2%}")

times = len(step.compilations)
print(f"compiled {times} time{'' if times == 1 else 's'}: {[one.reason for one in step.compilations]}")
print(f"the first step took {seconds[0]:.2f} s, a later one {1e6 * np.median(seconds[1:]):.0f} microseconds")
