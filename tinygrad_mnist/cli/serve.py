"""Answer requests for predictions over HTTP, and show a page to draw on."""

from __future__ import annotations

import argparse
from typing import Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import show

NAME: Final = "serve"
HELP: Final = "serve a trained model over HTTP, with a page to draw on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=shared_options.whole_number, default=8000, help="(default 8000)")
    parser.add_argument("--threshold", type=shared_options.number, default=0.7, metavar="P")
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is asked to stop."""
    shared_options.use_threads(arguments)
    from tinygrad_mnist.serve.recognition import Recogniser
    from tinygrad_mnist.serve.server import bind, serve

    sockets = [bind(arguments.host, arguments.port)]
    checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
    recogniser = Recogniser(checkpoint, threshold=arguments.threshold)
    host, port = sockets[0].getsockname()[:2]
    show(f"serving {checkpoint.recipe.name} (version {recogniser.version}) on http://{host}:{port}/")
    serve(recogniser, sockets)
    return 0
