"""Draw the pictures of the page on graphs: each view of the digit recogniser's network, and two HTML pages.

    python scripts/make_graph_pictures.py [CHROMIUM]

Writes docs/images/graph_*.svg, and with the path of a Chromium, and the package playwright, the
pictures of the HTML pages too.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from tinygrad_mnist import Tensor, graph, nn

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def network(hidden: tuple[int, ...] = (64, 32, 16), dropout: bool = False) -> nn.Sequential:
    rng = np.random.default_rng(0)
    layers: list[nn.Module] = []
    fan_in = 784
    for fan_out in hidden:
        layers += [nn.Linear(fan_in, fan_out, rng=rng), nn.BatchNorm1d(fan_out), nn.ReLU()]
        if dropout and fan_out == hidden[0]:
            layers.append(nn.Dropout(0.1, rng=rng))
        fan_in = fan_out
    return nn.Sequential(*layers, nn.Linear(fan_in, 10, rng=rng))


def recorded(model: nn.Module) -> graph.Graph:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((128, 784), dtype=np.float32), rng.integers(0, 10, 128)
    with graph.record(model, {"images": x, "labels": y}) as tape:
        nn.CrossEntropyLoss()(model(x), y).backward()
    return tape.graph()


def neuron() -> graph.Storyboard:
    x, w, b = (Tensor(value, requires_grad=True) for value in (0.5, -1.2, 0.8))
    return graph.storyboard((np.tanh(w * x + b) - 1.0) ** 2, {"x": x, "w": w, "b": b})


def photograph(chromium: str, page: str, name: str, place: str = "", focus: str = "") -> None:
    """Take a picture of a page at a place, with the element in focus that a selector names."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(page, "utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
        view.goto(path.as_uri() + place)
        if focus:
            view.focus(focus)
        view.screenshot(path=IMAGES / name, animations="disabled")
        browser.close()


def main() -> None:
    found = recorded(network())
    for view in ("modules", "operations", "backward"):
        print(found.save(IMAGES / f"graph_{view}.svg", view))
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((128, 784), dtype=np.float32), rng.integers(0, 10, 128)
    print(graph.profile(network(), x, y).save(IMAGES / "graph_profile.svg", "profile"))

    values = Tensor(np.array([-1.0, 0.5, 1.0, 2.0, 4.0]), requires_grad=True)
    with np.errstate(invalid="ignore"):
        spoiled = np.mean(np.log(values) * 2 + 1)
    print(spoiled.graph(names={"x": values}).save(IMAGES / "graph_nan.svg", "operations"))

    print(graph.diff(found, recorded(network((64, 32, 24), dropout=True))).save(IMAGES / "graph_diff.svg"))
    if len(sys.argv) > 1:
        photograph(sys.argv[1], found.html(), "graph_page.png", focus="g.node[data-id='model/1']")
        photograph(sys.argv[1], neuron().html(), "graph_storyboard.png", "#4")


if __name__ == "__main__":
    main()
