"""The command line in an interpreter of its own, without pictures: they take most of a short run."""

import sys

WITHOUT_PICTURES = (
    "import sys\nfrom tinygrad_mnist.cli import main\nfrom tinygrad_mnist.training.runs import run\n"
    "run.draw_pictures = lambda *_: ((), ())"
)
COMMAND = [sys.executable, "-c", f"{WITHOUT_PICTURES}\nsys.exit(main())"]
