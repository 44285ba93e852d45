"""Export the model of a run for other tools: its network as ONNX, its weights, or a page to draw on.

The suffix of the file chooses: .onnx is the network, which onnxruntime and others run, in many languages and
in browsers. The other suffixes hold the weights by their names in the state dict. A page is a directory,
which any static host shows, and any browser opens.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.inputs import files_of_run, require_no_input
from tinygrad_mnist.cli.output import notify, print_table, show
from tinygrad_mnist.numbers import bytes_text

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint

    Writer = Callable[[Checkpoint, argparse.Namespace], None]

NAME: Final = "export"
HELP: Final = "write a trained model for other tools: ONNX, safetensors, PyTorch, NumPy, a page"

NETWORK: Final = ".onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=shared_options.name,
        help=f"the file to write: {NETWORK} for the network; .safetensors, .pt or .npz for the weights; one "
        "that is there is replaced",
    )
    parser.add_argument(
        "--standardize",
        action="store_true",
        help="put the standardisation of pictures into the network, which then takes grey values, uint8 "
        "(batch, height, width), as of the pictures that it was trained on",
    )
    parser.add_argument(
        "--page",
        type=shared_options.name,
        metavar="DIR",
        help="write the page to draw a digit on, with the model in it and no server, in place of FILE; a "
        "directory that is there must be empty, or hold an earlier page, which is replaced",
    )
    shared_options.add_threshold(parser, None)
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file or the page, and say what is in it."""
    shared_options.use_threads(arguments)
    if arguments.page is not None:
        _write_page(arguments)
        return 0
    write = _writer(arguments)
    _require_writable(arguments)
    checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
    write(checkpoint, arguments)
    shared_options.warn_of_small_digits(checkpoint)
    return 0


def _writer(arguments: argparse.Namespace) -> Writer:
    """Return what writes the file that is asked for.

    Raises
    ------
    RecipeError
        If its suffix is unknown, or an option does not go with it.
    """
    from tinygrad_mnist.exchange import FORMATS
    from tinygrad_mnist.training import RecipeError

    if arguments.threshold is not None:
        raise RecipeError("--threshold is what a page is sure from; it goes with --page DIR alone")
    if arguments.file is None:
        raise RecipeError("neither FILE nor --page DIR was given; name the one that is to be written")
    writers: dict[str, Writer] = {NETWORK: _write_network, **dict.fromkeys(FORMATS, _write_weights)}
    suffix = Path(arguments.file).suffix.lower()
    if suffix not in writers:
        found = f"the suffix {suffix!r}" if suffix else "no suffix"
        raise RecipeError(
            f"{arguments.file} has {found}, which says in what format to write; expected one of "
            f"{', '.join(writers)}"
        )
    if arguments.standardize and suffix != NETWORK:
        raise RecipeError(
            f"--standardize puts the standardisation into a network, {NETWORK}; {suffix} holds weights alone"
        )
    return writers[suffix]


def _require_writable(arguments: argparse.Namespace) -> None:
    """Raise the error for a file that cannot be written, or that is read, before the work."""
    from tinygrad_mnist.files import require_writable
    from tinygrad_mnist.training.errors import writing

    with writing(arguments.file):
        require_writable(arguments.file)
    model = None if arguments.model is None else arguments.model.path
    require_no_input("FILE", arguments.file, model, *files_of_run(arguments.checkpoint))


def _write_network(checkpoint: Checkpoint, arguments: argparse.Namespace) -> None:
    """Write the network, and say what it takes and gives, and how far it is from the model."""
    from tinygrad_mnist.exchange.onnx.checkpoints import save_checkpoint_network
    from tinygrad_mnist.exchange.onnx.errors import ExportError
    from tinygrad_mnist.training import TrainingError
    from tinygrad_mnist.training.checkpoints.version import model_version
    from tinygrad_mnist.training.errors import writing

    path = arguments.file
    try:
        with writing(path):
            found = save_checkpoint_network(checkpoint, path, standardize=arguments.standardize)
    except ExportError as error:
        raise TrainingError(f"{path} was not written: {error}") from error
    standardizer = checkpoint.standardizer
    crop = f", {standardizer.crop} pixels cut off each side" if standardizer.crop else ""
    meaning = (
        "grey values from 0 to 255, as those that it was trained on"
        if arguments.standardize
        else f"(grey value - {standardizer.mean:.6g}) / {standardizer.std:.6g}{crop}"
    )
    show(
        f"{path}: {bytes_text(found.size)}, {found.nodes} nodes, opset {found.opset}; model "
        f"{checkpoint.recipe.model_name}, version {model_version(checkpoint)}",
        *(f"takes {each}: {meaning}" for each in found.inputs),
        *(f"gives {each}" for each in found.outputs),
        "passed onnx.checker (full check); run by onnx.reference on a few batches, it differs from the model "
        f"by {found.difference:.1e} at most",
    )


def _write_weights(checkpoint: Checkpoint, arguments: argparse.Namespace) -> None:
    """Write the weights, and say how many there are."""
    from tinygrad_mnist.exchange import WeightsError, save_weights
    from tinygrad_mnist.training import TrainingError
    from tinygrad_mnist.training.errors import writing

    try:
        with writing(arguments.file):
            save_weights(checkpoint.model, arguments.file)
    except WeightsError as error:
        raise TrainingError(str(error)) from error
    state = checkpoint.model.state_dict()
    size = Path(arguments.file).stat().st_size
    show(
        f"{arguments.file}: {bytes_text(size)}, {len(state)} arrays, "
        f"{sum(values.size for values in state.values()):,} numbers, by their names in the state dict"
    )
    standardizer = checkpoint.standardizer
    notify(
        f"the model takes standardised pictures, (grey value - {standardizer.mean:.6g}) / "
        f"{standardizer.std:.6g}, which is not in a file of weights"
    )


def _write_page(arguments: argparse.Namespace) -> None:
    """Write the page with the model in it, and say what is there and how to look at it."""
    from tinygrad_mnist.serve.static_page import require_page_directory, write_page
    from tinygrad_mnist.training import RecipeError

    if arguments.file is not None or arguments.standardize:
        other = "--standardize" if arguments.file is None else f"FILE ({arguments.file})"
        raise RecipeError(f"--page writes a page alone, and does not go with {other}; leave one of them out")
    require_page_directory(arguments.page)
    checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
    chosen = {} if arguments.threshold is None else {"threshold": arguments.threshold}
    sizes = write_page(checkpoint, arguments.page, **chosen)
    print_table(("file", "size"), [(name, bytes_text(size)) for name, size in sizes.items()])
    show(
        f"page {arguments.page}: {len(sizes)} files, {bytes_text(sum(sizes.values()))}",
        f"look at it: open {os.path.join(arguments.page, 'index.html')} in a browser, or run",
        f"  python3 -m http.server --bind 127.0.0.1 --directory {shlex.quote(arguments.page)}",
        "  and open http://127.0.0.1:8000",
    )
    shared_options.warn_of_small_digits(checkpoint)
