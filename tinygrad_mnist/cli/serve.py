"""Serve a trained model: a page to draw a digit on, and its answers over HTTP.

Ctrl-C or SIGTERM stops it: what was asked is still answered. The service is for this machine alone unless
--host says otherwise.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import notify, outlasting_readers, show

if TYPE_CHECKING:
    from socket import socket

    from tinygrad_mnist.serve.kept import KeptDrawings
    from tinygrad_mnist.training import Checkpoint

NAME: Final = "serve"
HELP: Final = "serve a trained model, and a page to draw on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", metavar="RUN", help="a run directory, or a checkpoint")
    parser.add_argument(
        "--host",
        type=shared_options.name,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to be reached at (default 127.0.0.1, which this machine alone can reach; 0.0.0.0 "
        "for every address of it)",
    )
    parser.add_argument(
        "--port", type=_port, default=8000, metavar="N", help="its port (default 8000; 0 for a free one)"
    )
    parser.add_argument(
        "--allow-host",
        type=shared_options.name,
        action="append",
        metavar="NAME",
        help="a name that browsers may ask for the service by, as behind a proxy; more by naming it again "
        "(default: those of this machine for itself, and any where --host is another)",
    )
    parser.add_argument(
        "--keep",
        type=shared_options.name,
        metavar="DIR",
        help="keep the drawings that visitors correct, as DIR/7/....png, which 'train --data DIR' takes; "
        "without it nothing that is drawn or sent is kept",
    )
    parser.add_argument(
        "--threshold",
        type=_probability,
        default=0.7,
        metavar="P",
        help="the probability below which the page says 'not sure' (default 0.7)",
    )
    parser.add_argument(
        "--log", action="store_true", help="print a line for each request, with the address it came from"
    )
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is asked to stop."""
    shared_options.use_threads(arguments)

    from tinygrad_mnist.serve.extra import require_extra

    require_extra()

    from tinygrad_mnist.serve.headers import is_loopback
    from tinygrad_mnist.serve.recognition import Recogniser
    from tinygrad_mnist.serve.server import bind, serve

    sockets = bind(arguments.host, arguments.port)
    try:
        checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
        recogniser = Recogniser(checkpoint, threshold=arguments.threshold)
        is_private = all(is_loopback(one.getsockname()[0]) for one in sockets)
        title = f"serving {checkpoint.recipe.name}, version {recogniser.version},"
        if not is_private:
            notify(
                "anybody who can reach this machine can use the service: it asks for no password, and "
                "encrypts nothing; leave --host out, or put a proxy before it that does both"
            )
        hosts = arguments.allow_host or ([] if is_private else None)
        kept = _kept(arguments.keep, checkpoint)
        with outlasting_readers():
            serve(
                recogniser,
                sockets,
                hosts=hosts,
                kept=kept,
                log=show if arguments.log else None,
                started=lambda stop: show(f"{title} at {_address(sockets[0])}", "Ctrl-C stops it"),
            )
    finally:
        for one in sockets:
            one.close()
    show("stopped")
    return 0


def _kept(directory: str | None, checkpoint: Checkpoint) -> KeptDrawings | None:
    """Return where drawings are kept, if they are."""
    if directory is None:
        return None
    from tinygrad_mnist.serve.kept import KeptDrawings
    from tinygrad_mnist.training.prediction import preparation_of

    kept = KeptDrawings(directory, preparation_of(checkpoint), checkpoint.class_names)
    show(f"drawings that visitors correct are kept in {kept.directory}")
    return kept


def _address(bound: socket) -> str:
    """Return what to open in a browser on this machine."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _port(text: str) -> int:
    """Return the number of a port."""
    port = shared_options.whole_number(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, which are 0 to 65535")
    return port


def _probability(text: str) -> float:
    """Return a probability."""
    probability = shared_options.number(text)
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no probability, which are 0 to 1")
    return probability
