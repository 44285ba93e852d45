"""Serve a trained model: a page to draw a digit on, and its answers over HTTP.

Ctrl-C or SIGTERM stops it: what was asked is still answered. The service is for this machine alone unless
--host says otherwise.
"""

from __future__ import annotations

import argparse
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.cli import shared_options
from tinygrad_mnist.cli.output import notify, outlasting_readers, show

if TYPE_CHECKING:
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
        type=_host,
        action="append",
        metavar="NAME",
        help="a name or an address that browsers may ask for the service by, without a port, as "
        "digits.example behind a proxy; more by naming it again (default: those of this machine for itself, "
        "and any where --host is another)",
    )
    parser.add_argument(
        "--keep",
        type=shared_options.name,
        metavar="DIR",
        help="keep the drawings that visitors correct, as DIR/7/....png, which 'train --data DIR' takes; "
        "without it nothing that is drawn or sent is kept",
    )
    shared_options.add_threshold(parser)
    parser.add_argument(
        "--log", action="store_true", help="print a line for each request, with the address it came from"
    )
    shared_options.add_model(parser)
    shared_options.add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is asked to stop."""
    shared_options.use_threads(arguments)

    from tinygrad_mnist.serve.packages import require_packages

    require_packages()

    from tinygrad_mnist.serve.headers import is_loopback
    from tinygrad_mnist.serve.recognition import Recogniser
    from tinygrad_mnist.serve.server import bind, serve

    sockets = bind(arguments.host, arguments.port)
    try:
        checkpoint = shared_options.load_run(arguments.checkpoint, arguments.model)
        recogniser = Recogniser(checkpoint, threshold=arguments.threshold)
        is_private = all(is_loopback(one.getsockname()[0]) for one in sockets)
        title = f"serving {checkpoint.recipe.model_name}, version {recogniser.version},"
        if not is_private:
            notify(
                "anybody who can reach this machine can use the service: it asks for no password, and "
                "encrypts nothing; leave --host out, or put a proxy before it that does both"
            )
        shared_options.warn_of_small_digits(checkpoint)
        hosts = arguments.allow_host or ([] if is_private else None)
        kept = _kept(arguments.keep, checkpoint)
        with outlasting_readers():
            serve(
                recogniser,
                sockets,
                hosts=hosts,
                kept=kept,
                log=show if arguments.log else None,
                started=lambda stop: show(*_where(title, sockets), "Ctrl-C stops it"),
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
    from tinygrad_mnist.data.drawings import FILE
    from tinygrad_mnist.files import require_writable, write_error
    from tinygrad_mnist.serve.kept import KeptDrawings
    from tinygrad_mnist.training import RunError
    from tinygrad_mnist.training.prediction import preparation_of

    if Path(directory).expanduser().is_file():
        raise RunError(f"{directory} is a file, where a directory for drawings was expected; name another")
    try:
        kept = KeptDrawings(directory, preparation_of(checkpoint), checkpoint.class_names)
        require_writable(kept.directory / FILE)  # which may be there already
    except OSError as error:
        raise RunError(
            f"{write_error(directory, error)}; name a directory for drawings that can be made and written to"
        ) from error
    show(f"drawings that visitors correct are kept in {kept.directory}")
    return kept


def _where(title: str, sockets: list[socket.socket]) -> list[str]:
    """Return the lines that say what to open in a browser: here, and on other machines."""
    from tinygrad_mnist.serve.addresses import own_addresses

    host, port = sockets[0].getsockname()[:2]
    if host not in _EVERY:
        return [f"{title} at {_address(host, port)}"]
    lines = [f"{title} at {_address(_EVERY[host], port)}"]
    if others := own_addresses(sockets[0].family):
        lines.append(f"on other machines: {', '.join(_address(other, port) for other in others)}")
    else:
        lines.append("on other machines: this one has no address in a network just now")
    return lines


_EVERY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The address that stands for all of this machine, and that of loopback among them."""


def _address(host: str, port: int) -> str:
    """Return the address of the page."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _host(text: str) -> str:
    """Return the name or the address of a host."""
    from tinygrad_mnist.serve.headers import bare_host

    try:
        return bare_host(shared_options.name(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    """Return the number of a port."""
    port = shared_options.whole_number(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, which are 0 to 65535")
    return port
