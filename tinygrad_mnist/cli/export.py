"""Export the model of a run for other tools: its network as ONNX, or its weights.

The suffix of the file chooses: .onnx is the network, which onnxruntime and others run, in many languages and
in browsers. The other suffixes hold the weights by their names in the state dict.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.inputs import files_of_run, require_no_input
from tinygrad_mnist.cli.output import notify, show
from tinygrad_mnist.numbers import bytes_text

if TYPE_CHECKING:
    from tinygrad_mnist.training import Checkpoint

    Writer = Callable[[Checkpoint, argparse.Namespace], None]

NAME: Final = "export"
HELP: Final = "write a trained model for other tools: ONNX, safetensors, PyTorch, NumPy"

NETWORK: Final = ".onnx"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "file",
        metavar="FILE",
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
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file, and say what is in it."""
    shared_options.use_threads(arguments)
    write = _writer(arguments)
    _require_writable(arguments)
    write(shared_options.load_run(arguments.checkpoint, arguments.model), arguments)
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
    from tinygrad_mnist.serve.recognition import model_version
    from tinygrad_mnist.training import TrainingError
    from tinygrad_mnist.training.errors import writing

    path, version = arguments.file, model_version(checkpoint)
    try:
        with writing(path):
            found = save_checkpoint_network(checkpoint, path, version, standardize=arguments.standardize)
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
        f"{checkpoint.recipe.name}, version {version}",
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
