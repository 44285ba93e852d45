"""Draw the picture of the page on jit: the program of the training step that the page shows.

    python scripts/make_jit_picture.py

Writes docs/images/jit_program.svg. The step is the page's own, so run it again when the page or the compiler
changes.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "explanation" / "jit.md"


def first_block() -> tuple[str, str]:
    """Return the first block of Python of the page, which compiles a step, and what stands above it."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert found is not None
    return found[1], PAGE.read_text("utf-8")[: found.start(1)]


def main() -> None:
    """Run the step of the page, and draw its program without times, which differ from run to run."""
    code, above = first_block()
    names: dict[str, Any] = {}
    # As many lines above it as on the page, so that the lines that the picture tells are the page's.
    exec(compile("\n" * above.count("\n") + code, str(PAGE), "exec"), names)
    explained = replace(names["step"].explain(names["x"], names["y"]), times=())
    explained.graph().save(DOCS / "images" / "jit_program.svg")


if __name__ == "__main__":
    main()
