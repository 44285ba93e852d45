"""Two interleaved half-moons, told apart by a small network; its decision boundary is drawn."""

import argparse
from pathlib import Path

import numpy as np

from tinygrad_mnist import nn, no_grad, optim, plots


def two_moons(n: int, noise: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 2) on two half circles, the second turned and shifted, and the circle of each."""
    labels = np.arange(n) % 2
    angle = rng.uniform(0, np.pi, n)
    sign = 1 - 2 * labels
    points = np.stack([sign * np.cos(angle) + labels, sign * np.sin(angle) + 0.5 * labels], axis=1)
    return (points + rng.normal(0, noise, points.shape)).astype(np.float32), labels


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--out", type=Path, default=Path("runs/two_moons"), help="for the picture")
options = parser.parse_args()
options.out.mkdir(parents=True, exist_ok=True)

rng = np.random.default_rng(0)
nn.manual_seed(0)
points, labels = two_moons(400, noise=0.15, rng=rng)
model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = optim.AdamW(model.parameters(), lr=1e-2)
loss_of = nn.BCEWithLogitsLoss()

for step in range(options.steps + 1):
    optimizer.zero_grad()
    loss = loss_of(model(points)[:, 0], labels.astype(np.float32))
    loss.backward()
    optimizer.step()
    if step % max(options.steps // 5, 1) == 0:
        print(f"step {step:5}: loss {loss:.4f}")


def probability(grid: np.ndarray) -> np.ndarray:
    """Return the probability that each point (n, 2) lies on the second moon."""
    with no_grad():
        return model(grid.astype(np.float32))[:, 0].sigmoid().numpy()


new_points, new_labels = two_moons(2000, noise=0.15, rng=rng)
print(f"accuracy on new points: {np.mean((probability(new_points) > 0.5) == new_labels):.1%}")
figure = plots.plot_decision_boundary(probability, points, labels)
print("drawn:", plots.save(figure, options.out / "boundary.png"))
