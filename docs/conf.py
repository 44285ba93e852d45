"""How Sphinx builds the documentation: Markdown by MyST, the reference by autodoc, nothing from the net."""

import re
from typing import Any

from tinygrad_mnist._version import __version__

project = "tinygrad_mnist"
author = "the tinygrad_mnist developers"
project_copyright = "the tinygrad_mnist developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
smartquotes_action = "qe"  # quotes and dots, but no dashes: `--rounds` stays what one types

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"tinygrad_mnist {release}"
pygments_style = "friendly"


def mend_markup(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of what docstrings say in their own way.

    Each numbers its references from 1: on a page that holds several, they become footnotes that count on. And
    a shape such as (n, *rest) is no emphasis.
    """
    label = name.replace(".", "-").replace("_", "-").lower()
    for index, line in enumerate(lines):
        line = re.sub(r"\[(\d+)\](?=_\W|_$)|(?<=^\.\. )\[(\d+)\]", rf"[#{label}-\1\2]", line)
        lines[index] = re.sub(r"(?<=[ (])\*(?=[\w.]+[),])", r"\\*", line)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", mend_markup)
