"""A network of one's own for the command line: convolutions with a shortcut around each pair of them.

    tinygrad-mnist train --model examples/residual_network.py:build

trains it as the recipe `cnn` says. `evaluate`, `predict` and `graph` build it again from this file. Run as a
script, it prints the network for MNIST's images.

He, Zhang, Ren & Sun (2016), "Deep residual learning for image recognition".
"""

from tinygrad_mnist import Tensor, nn


class Block(nn.Module):
    """Two convolutions; what comes in is added to what they make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding="same", bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        changed = nn.functional.relu(self.first_norm(self.first(x)))
        return nn.functional.relu(x + self.second_norm(self.second(changed)))


def build(image_shape: tuple[int, int], classes: int) -> nn.Module:
    """Return a network from images of shape (n, 1, height, width) to logits of shape (n, classes)."""
    height, width = (side // 4 for side in image_shape)  # each of the two pools halves it
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        Block(16), nn.MaxPool2d(2),
        Block(16), nn.Flatten(),
        nn.Linear(16 * height * width, classes),
    )  # fmt: skip


if __name__ == "__main__":
    print(build((28, 28), 10))
