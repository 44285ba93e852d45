"""The settings of Sphinx: pages in Markdown, a reference made from docstrings, nothing from the network."""

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from docutils import nodes
from sphinx import addnodes

from tinygrad_mnist._version import __version__

project = "tinygrad_mnist"
author = "the tinygrad_mnist developers"
project_copyright = "the tinygrad_mnist developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "generated/commands.md"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3
smartquotes_action = "qe"  # quotes and dots, but no dashes: `--rounds` stays what one types

# reference/index.md names the public modules, and the few classes that have a page of their own.
INDEX = Path(__file__).parent / "reference" / "index.md"
LISTED = re.findall(r"^   (tinygrad_mnist[\w.]*)$", INDEX.read_text("utf-8"), flags=re.MULTILINE)
OWN_PAGE = [name for name in LISTED if name.rpartition(".")[2][0].isupper()]
MODULES = [name for name in LISTED if name not in OWN_PAGE]


def public_names(module: str) -> list[str]:
    """Return what a module offers: its `__all__`, or else what it defines, without modules and registries."""
    loaded = importlib.import_module(module)
    own = [name for name in vars(loaded) if getattr(getattr(loaded, name), "__module__", "") == module]
    names = getattr(loaded, "__all__", [name for name in own if not name.startswith("_")])
    return [
        name
        for name in names
        if not isinstance(getattr(loaded, name), ModuleType | TypeVar)
        and name not in ("REGISTRY", "__version__")
    ]


def public_values(module: str) -> list[tuple[str, str]]:
    """Return the constants that a module offers, each with its value in short."""
    loaded = importlib.import_module(module)
    values = [(name, getattr(loaded, name)) for name in public_names(module)]
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, Mapping) else repr(value))
        for name, value in values
        if not callable(value)
    ]


def left_out(name: str) -> list[str]:
    """Return what the page of a class does not show: what it does not support, slots without a docstring."""
    module, _, cls = name.rpartition(".")
    loaded = getattr(importlib.import_module(module), cls)
    texts = {each: inspect.getdoc(inspect.getattr_static(loaded, each)) or "" for each in dir(loaded)}
    texts |= dict.fromkeys(vars(loaded).get("__annotations__", ()), "")  # the class itself lists its fields
    unshown = ("Not supported", "Attribute")
    return [each for each, text in texts.items() if not text or text.startswith(unshown)]


# A page for each goes to docs/generated, which git ignores.
autosummary_generate = True
autosummary_ignore_module_all = False  # what a module offers is its `__all__`
autosummary_imported_members = True
autosummary_context = {
    "own_page": OWN_PAGE,
    "left_out": {name: left_out(name) for name in OWN_PAGE},
    "public": {module: public_names(module) for module in MODULES},
    "values": {module: public_values(module) for module in MODULES},
}
default_role = "py:obj"  # `name` in a docstring is a link where it names something
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words, and NumPy's spelled-out types fill five lines
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_theme_options = {
    "light_css_variables": {"code-font-size": "0.75rem"},  # a line of 96 letters fits
    "dark_css_variables": {"code-font-size": "0.75rem"},
}
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"tinygrad_mnist {release}"
pygments_style = "friendly"
highlight_language = "none"  # of blocks in docstrings that are not doctests: formulae, files


def mend_markup(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn what docstrings write in their own way into reStructuredText.

    Each docstring numbers its references from 1. A page holds several docstrings, so references that the text
    cites become footnotes with names; the others become a list. A star in a shape such as (n, *rest) does not
    begin an emphasis.
    """
    label = name.replace(".", "-").replace("_", "-").lower()
    cited = set(re.findall(r"\[(\d+)\]_", "\n".join(lines)))
    for index, line in enumerate(lines):
        line = re.sub(r"\[(\d+)\](?=_\W|_$)", rf"[#{label}-\1]", line)
        if (reference := re.match(r"\.\. \[(\d+)\]", line)) is not None:
            number = reference[1]
            line = (f".. [#{label}-{number}]" if number in cited else f"{number}.") + line[reference.end() :]
        lines[index] = line
    parts = re.split(r"(``.*?``|>>> [^\n]*)", "\n".join(lines), flags=re.DOTALL)  # every other part is code
    parts[::2] = [re.sub(r"(?<=[ (])\*(?=[\w.]+[),])", r"\\*", part) for part in parts[::2]]
    lines[:] = "".join(parts).split("\n")


def split_attributes(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Give each of the attributes `weight, bias : Parameter` an entry each, before napoleon reads them."""
    if "Attributes" not in lines:
        return
    start = lines.index("Attributes") + 2
    entries: list[list[str]] = [[]]
    for line in lines[start:]:
        if line and not line.startswith(" "):
            entries.append([])
        entries[-1].append(line)
    split = []
    for entry in entries:
        names, colon, kind = (entry[0] if entry else "").partition(" : ")
        each = names.split(", ") if colon else [names]
        for single in each:
            split += [single + colon + kind, *entry[1:]] if entry else []
    lines[start:] = split


def write_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write NumPy's default that stands for an argument that was not given as NumPy's pages do."""
    return (signature and signature.replace("=_NO", "=<no value>")), returned


def leave_out(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out methods that the package calls and a user does not; None leaves the choice to Sphinx."""
    cls, _, method = getattr(obj, "__qualname__", "").rpartition(".")
    own = method in ("extra_repr", "count_batch") or name in ("option_checks", "enters_checkpoints")
    return True if own or (cls == "Recording" and method != "graph") else None


def write_fields(app: Any, doctree: Any) -> None:
    """Write "Attributes" where Sphinx writes "Variables"."""
    for name in doctree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name.replace(name[0], nodes.Text("Attributes"))


def unlink_words(app: Any, doctree: Any) -> None:
    """Take the link off "shape" and such words in the type of a parameter: it leads to `Tensor.shape`."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] == "class" and link["reftarget"].islower() and "." not in link["reftarget"]:
            link.replace_self(link.children)


def write_dashes(app: Any, doctree: Any) -> None:
    """Put a dash between a parameter and what is said of it, where Sphinx writes two hyphens."""
    for text in list(doctree.findall(nodes.Text)):
        if " -- " in text and not isinstance(text.parent, nodes.literal | nodes.literal_block):
            text.parent.replace(text, nodes.Text(text.replace(" -- ", " \N{EN DASH} ")))


def write_commands(app: Any, config: Any) -> None:
    """Write what each command of `tinygrad-mnist` says as its help, in a folder that is made anew.

    Its pages of modules are made by autosummary later; none is left of a module that went.
    """
    folder = Path(app.srcdir) / "generated"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    commands = re.findall(r"^    ([\w-]+)(?: |$)", help_of(), flags=re.MULTILINE)
    texts = [f"## {command}\n\n```text\n{help_of(command)}```\n" for command in commands]
    (folder / "commands.md").write_text("\n".join(texts), "utf-8")


def help_of(*command: str) -> str:
    """Return the help of a command, in lines that fit a page."""
    call = [sys.executable, "-m", "tinygrad_mnist", *command, "--help"]
    environment = {**os.environ, "COLUMNS": "90", "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout


def setup(app: Any) -> None:
    app.connect("config-inited", write_commands)
    app.connect("autodoc-process-docstring", split_attributes, priority=400)
    app.connect("autodoc-process-docstring", mend_markup, priority=401)
    app.connect("autodoc-process-signature", write_signature)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("doctree-read", write_fields)
    app.connect("doctree-read", unlink_words)
    app.connect("doctree-read", write_dashes)
