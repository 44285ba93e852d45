"""Draw computations: a formula, a network with its gradients, and where the first NaN came from.

    python examples/visualize_graph.py
    python examples/visualize_graph.py --out pictures

Writes SVG pictures and HTML pages, which open in a browser; the outlines on the terminal need neither.
"""

import argparse
from pathlib import Path

import numpy as np

from tinygrad_mnist import Tensor, graph, nn


def formula(out: Path) -> None:
    """Draw a neuron, step by step: the page that a teacher shows."""
    x, w, b = (Tensor(value, requires_grad=True) for value in (0.5, -1.2, 0.8))
    loss = (np.tanh(w * x + b) - 1.0) ** 2
    names = {"x": x, "w": w, "b": b}
    print(loss.graph(names=names).text("operations"))
    print(graph.storyboard(loss, names).save(out / "neuron.html"))


def network(out: Path) -> None:
    """Draw the digit recogniser's network, forward and back."""
    rng = np.random.default_rng(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in ((784, 64), (64, 32), (32, 16)):
        layers += [nn.Linear(fan_in, fan_out, rng=rng), nn.BatchNorm1d(fan_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(16, 10, rng=rng))
    x, y = rng.standard_normal((128, 784), dtype=np.float32), rng.integers(0, 10, 128)

    with graph.record(model, {"images": x, "labels": y}) as tape:
        loss = nn.CrossEntropyLoss()(model(x), y)
        loss.backward()
    found = tape.graph()
    print(found.text())
    for view in ("modules", "operations", "backward"):
        print(found.save(out / f"{view}.svg", view))
    print(graph.profile(model, x, y).save(out / "profile.svg", "profile"))
    print(found.save(out / "network.html"))


def first_nan(out: Path) -> None:
    """Draw a logarithm of a number that is not positive, and everything that it spoiled."""
    x = Tensor(np.array([-1.0, 0.5, 1.0, 2.0, 4.0]), requires_grad=True)
    with np.errstate(invalid="ignore"):
        spoiled = np.mean(np.log(x) * 2 + 1)
    found = spoiled.graph(names={"x": x})
    print(found.text("operations"))
    print(found.save(out / "nan.svg", "operations"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/visualize_graph"), help="where to write")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    formula(out)
    network(out)
    first_nan(out)


if __name__ == "__main__":
    main()
