"""Draw the digit recogniser's network with torchviz and torchview, for the page that sets them beside ours.

    pip install torch torchviz torchview pygraphviz
    python scripts/make_graph_peers.py

Writes docs/images/graph_torchviz.svg and docs/images/graph_torchview.svg, and prints what they hold.
"""

import re
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from torchview import draw_graph
from torchviz import make_dot

from tinygrad_mnist.graph.formats.layout import render

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in ((784, 64), (64, 32), (32, 16)):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.BatchNorm1d(fan_out), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(16, 10))


def drawn_by_torchviz() -> str:
    model, x, y = network(), torch.randn(128, 784), torch.randint(0, 10, (128,))
    loss = torch.nn.functional.cross_entropy(model(x), y)
    return make_dot(loss, params=dict(model.named_parameters())).source


def drawn_by_torchview() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return draw_graph(network(), input_size=(128, 784), expand_nested=True).visual_graph.source


def main() -> None:
    for name, draw in (("torchviz", drawn_by_torchviz), ("torchview", drawn_by_torchview)):
        source = draw()
        nodes = len(re.findall(r"^\s*\w+ \[", source, re.MULTILINE))
        same = "the same" if draw() == source else "another"
        svg = render(source, "svg").decode()
        size = re.search(r'width="(\d+)pt" height="(\d+)pt"', svg)
        path = IMAGES / f"graph_{name}.svg"
        path.write_text(svg, "utf-8")
        print(
            f"{name} {version(name)}: {nodes} nodes, {source.count('AccumulateGrad')} called AccumulateGrad, "
            f"{size and ' x '.join(size.groups())} points; a second run gives {same} text"
        )


if __name__ == "__main__":
    main()
