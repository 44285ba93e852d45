"""Draw docs/images/plot_*.png: each picture of `tinygrad_mnist.plots`, from a small model of MNIST.

python scripts/make_plot_gallery.py
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tinygrad_mnist import Tensor, nn, no_grad, optim, plots
from tinygrad_mnist.data import Dataset, Standardizer, load

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WIDTH, EPOCHS, BATCH = 5.0, 3, 64


def main() -> None:
    """Train a model with batch norm and one without, and draw."""
    digits = load("mnist")
    standardize = Standardizer.fit(digits.train_images)
    model, rows, losses, rates, norms, steps = train(digits, standardize, [nn.BatchNorm1d(64)])
    plain_rows = train(digits, standardize, [])[1]
    x = standardize(digits.test_images)
    probabilities, labels = predict(model, x), digits.test_labels
    guesses = probabilities.argmax(axis=1)
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (labels, guesses), 1)
    some = np.r_[np.arange(8), np.flatnonzero(guesses != labels)[:4]]
    pixels = Tensor(x[:6], requires_grad=True)
    scores = model(pixels)
    np.sum(scores[np.arange(6), guesses[:6]]).backward()
    images = digits.test_images
    figures = {
        "training": plots.plot_training(rows, losses=losses, width=WIDTH),
        "comparison": plots.plot_comparison({"with norm": rows, "without": plain_rows}, width=WIDTH),
        "schedule": plots.plot_schedule(rates, width=WIDTH),
        "gradient_norms": plots.plot_gradient_norms(steps, plots.norms_by_layer(norms), width=WIDTH),
        "confusion": plots.plot_confusion(matrix, width=WIDTH),
        "class_accuracy": plots.plot_class_accuracy(matrix, width=WIDTH),
        "calibration": plots.plot_calibration(probabilities, labels, width=WIDTH),
        "predictions": plots.plot_predictions(
            images[some], guesses[some], labels[some], probabilities[some].max(axis=1), width=WIDTH
        ),
        "mistakes": plots.plot_mistakes(images, probabilities, labels, most=8, width=WIDTH),
        "weights": plots.plot_weights(model[1].weight.detach().numpy(), most=15, width=WIDTH),
        "saliency": plots.plot_saliency(
            images[:6], pixels.grad.numpy(), captions=[f"score of {k}" for k in guesses[:6]], width=WIDTH
        ),
    }
    for name, figure in figures.items():
        write(figure, FOLDER / f"plot_{name}.png")


def train(digits: Dataset, standardize: Standardizer, norm: Sequence[nn.Module]) -> tuple:
    """Return a model, rows of evaluations, losses, rates, gradient norms by parameter, and their steps."""
    nn.init.manual_seed(0)
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), *norm, nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    optimizer = optim.AdamW(model.parameters(), lr=0.005)
    x, y = digits.train_images[:12_000], digits.train_labels[:12_000]
    total = EPOCHS * (len(x) // BATCH)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=total)
    rows, losses, rates, steps = [], [], [], []
    norms = {name: [] for name, _ in model.named_parameters()}
    for step in range(1, total + 1):
        chosen = rng.integers(0, len(x), BATCH)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(Tensor(standardize(x[chosen]))), y[chosen])
        loss.backward()
        if step % 5 == 1:
            steps.append(step)
            for name, parameter in model.named_parameters():
                norms[name].append(np.linalg.norm(parameter.grad.numpy()))
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % (total // 8) == 0:
            row = {"step": step, "train_loss": np.mean(losses[-total // 8 :])}
            for part, (images, labels) in {
                "train": (x[:2000], y[:2000]),
                "validation": (digits.train_images[-2000:], digits.train_labels[-2000:]),
            }.items():
                p = predict(model, standardize(images))
                row[f"{part}_accuracy"] = np.mean(p.argmax(axis=1) == labels)
                row[f"{part}_loss"] = -np.mean(np.log(p[np.arange(len(p)), labels]))
            row["train_loss"] = np.mean(losses[-total // 8 :])
            rows.append(row)
    return model, rows, losses, rates, norms, steps


def predict(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return probabilities in evaluation mode."""
    model.eval()
    with no_grad():
        probabilities = nn.functional.softmax(model(Tensor(x)), dim=1).numpy()
    model.train()
    return probabilities


def write(figure: Figure, path: Path) -> None:
    """Write a figure with few colours: a third as large, and nobody sees it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=plots.figure.DOTS_PER_INCH)
    with Image.open(file) as picture:
        picture.convert("RGB").quantize(128).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
