"""Imports point one way and in no circle, and what is optional is loaded when somebody asks for it.

The rules are read off the source with `ast`; what an import loads is asked of a fresh interpreter. A finder
takes a dict of paths and sources, so that small packages that break a rule on purpose show that it works.
"""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "tinygrad_mnist"

CALCULUS = {"engine", "ops", "transforms"}

# The folders of the package (and the files beside them), and what each may import besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "_version": set(),
    "__init__": {"_version"},
    "files": set(),
    "numbers": set(),
    "extras": set(),
    "exit_status": set(),
    "npz": {"numbers"},
    "engine": set(),
    "op": {"engine"},
    "ops": {"engine", "numbers"},
    "transforms": {"engine", "ops"},
    "nn": {*CALCULUS, "numbers"},
    "optim": {*CALCULUS, "numbers"},
    "testing": CALCULUS,
    "graph": {"engine", "files", "numbers"},
    "compiler": {*CALCULUS, "nn", "optim", "graph", "files", "numbers", "_version"},
    "data": {"files", "npz", "numbers", "extras"},
    "plots": {"files", "numbers", "extras"},
    "training": {
        *(*CALCULUS, "compiler", "nn", "optim", "graph", "data", "plots"),
        *("files", "numbers", "extras", "exit_status", "npz", "_version"),
    },
    "exchange": {
        *(*CALCULUS, "nn", "optim", "graph", "data", "training"),
        *("files", "numbers", "extras", "npz", "_version"),
    },
    "onnx": {"exchange"},
    "serve": {
        *(*CALCULUS, "compiler", "nn", "data", "plots", "training", "exchange"),
        *("files", "numbers", "extras", "_version"),
    },
    "cli": {
        *(*CALCULUS, "compiler", "nn", "optim", "testing", "graph", "data", "plots", "training"),
        *("exchange", "serve", "files", "numbers", "exit_status", "__init__"),
    },
    "__main__": {"cli"},
}

# The face of the package loads its public names from all folders when they are asked for. Two files below
# have methods that stand for what lies above them, as `Tensor.graph` does: they ask the face, by
# `import tinygrad_mnist` inside a function. That is no import of what is asked for, and makes no circle. All
# three may name to the type checker what lies above.
FACE = f"{PACKAGE}/__init__.py"
MAY_ASK_THE_FACE = {f"{PACKAGE}/engine/tensor.py", f"{PACKAGE}/nn/module.py"}

# Packages beyond NumPy, and the folders that may import them at the top of a file; elsewhere functions do.
# Without a row no folder may. The last two may not be imported outside their folder at all.
OPTIONAL: dict[str, set[str]] = {
    "graphviz": {"graph"},
    "matplotlib": {"plots"},
    "PIL": {"plots"},
    "prometheus_client": {"serve"},
    "python_multipart": {"serve"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "hypothesis": {"testing"},
    "pytest": {"testing"},
}
FOR_TESTS = {"hypothesis", "pytest"}

# Functions that import, and what stands for a name that they are given other than as a literal.
IMPORTERS = {"__import__", "import_module", "importlib.import_module"}
COMPUTED = "?"

# Path below the root to source.
Sources = Mapping[str, str]


@pytest.fixture(scope="module")
def sources() -> Sources:
    paths = sorted((ROOT / PACKAGE).rglob("*.py"))
    assert len(paths) > 50
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


# ---- reading imports -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported name: where, its dotted name, and when it is loaded.

    `when` is "at once" for what importing the file loads, "called" for what a function loads, and "never" for
    what only the type checker reads.
    """

    file: str
    line: int
    target: str
    when: str


@functools.cache
def parsed(source: str) -> ast.Module:
    """Return the tree of a source, which several tests walk through."""
    return ast.parse(source)


def imports(sources: Sources) -> Iterator[Import]:
    """Yield every import in every file; the names of relative ones are made full."""
    for file, source in sources.items():
        yield from imports_of(file, source)


@functools.cache
def imports_of(file: str, source: str) -> tuple[Import, ...]:
    return tuple(imports_within(parsed(source), file, "at once"))


def dotted(node: ast.AST) -> str:
    """Return the dotted name that an expression is; of any other expression, what is no name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=of, attr=name):
            return f"{dotted(of)}.{name}"
    return "()"


def imports_within(node: ast.AST, file: str, when: str) -> Iterator[Import]:
    parts: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(file, node.lineno, alias.name, when)
    elif isinstance(node, ast.ImportFrom):
        folders = file.split("/")[:-1]
        base = folders[: len(folders) - node.level + 1] if node.level else []
        module = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            yield Import(file, node.lineno, f"{module}.{alias.name}", when)
    elif isinstance(node, ast.Call) and dotted(node.func) in IMPORTERS:
        match node.args:
            case [ast.Constant(value=str(name)), *_]:
                yield Import(file, node.lineno, name, when)
            case _:
                yield Import(file, node.lineno, COMPUTED, when)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        when = "never" if when == "never" else "called"
    elif isinstance(node, ast.If) and dotted(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        for checked in node.body:
            yield from imports_within(checked, file, "never")
        parts = list(node.orelse)
    for part in parts:
        yield from imports_within(part, file, when)


# ---- the direction ---------------------------------------------------------------------------------------


def folder_of(path: str) -> str:
    """Return the folder of the package (or the file beside the folders) that a path belongs to."""
    return path.split("/")[1].removesuffix(".py")


def folder_of_target(target: str) -> str:
    """Return the folder that a dotted name belongs to; the package's own names belong to `__init__`."""
    _, second, *_ = [*target.split("."), ""]
    return second if second in MAY_IMPORT else "__init__"


def asks_the_face(each: Import) -> bool:
    return each.file in MAY_ASK_THE_FACE and each.when == "called" and each.target == PACKAGE


def imports_the_other_way(sources: Sources) -> list[str]:
    found = [f"{file}: not in the table" for file in sources if folder_of(file) not in MAY_IMPORT]
    for each in imports(sources):
        if each.target.split(".")[0] != PACKAGE:
            continue
        folder, other = folder_of(each.file), folder_of_target(each.target)
        below = other in {folder, *MAY_IMPORT.get(folder, set())}
        named = each.when == "never" and each.file in {FACE, *MAY_ASK_THE_FACE}
        offered = each.when == "called" and each.file == FACE
        if not (below or named or offered or asks_the_face(each)):
            found.append(f"{each.file}:{each.line}: {folder!r} must not import {each.target}")
    return found


def test_imports_point_one_way(sources: Sources) -> None:
    found = imports_the_other_way(sources)
    assert not found, "\n".join(["imports the other way:", *found])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/op.py", "from ..ops import elementwise"),
        ("engine/tape.py", "def walk():\n    from tinygrad_mnist.ops.elementwise import exp"),
        ("engine/tape.py", "import tinygrad_mnist.files"),
        ("engine/tape.py", "def walk():\n    import tinygrad_mnist"),
        ("engine/tape.py", "if TYPE_CHECKING:\n    from ..graph import Graph"),
        ("engine/tape.py", "importlib.import_module('tinygrad_mnist.ops')"),
        ("engine/tensor.py", "import tinygrad_mnist"),
        ("engine/tensor.py", "def graph():\n    from tinygrad_mnist import graph"),
        ("ops/loss.py", "from ..nn import functional"),
        ("ops/loss.py", "from tinygrad_mnist import Tensor"),
        ("nn/linear.py", "from ..optim.sgd import SGD"),
        ("nn/linear.py", "class Linear:\n    from ..training import recipes"),
        ("graph/record.py", "from tinygrad_mnist.nn.module import Module"),
        ("data/idx.py", "if True:\n    from .. import engine"),
        ("plots/curves.py", "from ..training.history import History"),
        ("training/evaluation.py", "from ..cli.train import parse"),
        ("__init__.py", "from .engine.tensor import Tensor"),
        ("files.py", "from .data import errors"),
        ("helpers.py", ""),
    ],
)
def test_an_import_the_other_way_is_found(path: str, source: str) -> None:
    assert len(imports_the_other_way({f"{PACKAGE}/{path}": source})) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/tape.py", "from .op import Op"),
        ("engine/tensor.py", "def graph(self):\n    import tinygrad_mnist\n    return tinygrad_mnist.graph"),
        ("nn/module.py", "if TYPE_CHECKING:\n    from tinygrad_mnist.graph import Graph"),
        ("__init__.py", "if TYPE_CHECKING:\n    from .engine.tensor import Tensor"),
        ("__init__.py", "def __getattr__(name):\n    import_module('tinygrad_mnist.ops')"),
        ("nn/linear.py", "from ..ops.linalg import linear\nfrom .module import Module"),
        ("nn/layers/linear.py", "from ..module import Module\nfrom ...engine.tensor import Tensor"),
        ("training/files.py", "from tinygrad_mnist import files, nn"),
        ("data/idx.py", "from ..files import write"),
        ("cli/train.py", "from ..training import recipes\nimport numpy as np"),
    ],
)
def test_an_import_the_right_way_is_allowed(path: str, source: str) -> None:
    assert imports_the_other_way({f"{PACKAGE}/{path}": source}) == []


def test_nothing_is_imported_by_a_computed_name(sources: Sources) -> None:
    """It would escape the other tests. The package's own lazy names are the exception."""
    computed = [
        f"{each.file}:{each.line}"
        for each in imports(sources)
        if each.target == COMPUTED or each.target.startswith(".")
    ]
    assert {place.split(":")[0] for place in computed} == {FACE}, computed


# ---- circles ---------------------------------------------------------------------------------------------


def circles(sources: Sources) -> list[str]:
    """Return the circles in which files import each other, each as "a.py:1 imports b.py:1 imports a.py".

    Imports inside functions count, those for the type checker do not. That Python runs the `__init__.py` of
    every folder above a module is no import that anybody wrote, and does not count either.
    """
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in sources}
    lines: dict[str, dict[str, int]] = {file: {} for file in sources}  # file, what it imports, where
    for each in imports(sources):
        target = each.target
        while target not in modules and "." in target:
            target = target.rpartition(".")[0]  # the name of something in the module
        counts = each.when != "never" and not asks_the_face(each)
        if counts and modules.get(target, each.file) != each.file:
            lines[each.file].setdefault(modules[target], each.line)
    found: dict[frozenset[str], str] = {}
    for file, imported in lines.items():
        for other in imported:
            chain = [file, *shortest_chain(lines, other, file)]
            if len(chain) > 1 and frozenset(chain) not in found:
                steps = [f"{one}:{lines[one][two]}" for one, two in pairwise(chain)]
                found[frozenset(chain)] = " imports ".join([*steps, file])
    return list(found.values())


def shortest_chain(lines: Mapping[str, Mapping[str, int]], start: str, end: str) -> list[str]:
    """Return the files on the shortest way of imports from `start` to `end`, or nothing if there is none."""
    chains = [[start]]
    seen = {start}
    for chain in chains:  # breadth first: the list grows while it is read
        if chain[-1] == end:
            return chain
        chains += [[*chain, file] for file in lines[chain[-1]] if file not in seen]
        seen.update(lines[chain[-1]])
    return []


def test_no_files_import_each_other(sources: Sources) -> None:
    found = circles(sources)
    assert not found, "\n".join(["files that import each other:", *sorted(found, key=len)])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": "from p.b import x", "b": "import p.a"}, "p/a.py:1 imports p/b.py:1 imports p/a.py"),
        (
            {"a": "import os\nfrom p import b", "b": "def f():\n\n    from .a import x"},
            "p/a.py:2 imports p/b.py:3 imports p/a.py",
        ),
        (
            {"a": "from p.b import x", "b": "f = lambda: import_module('p.c')", "c": "from . import a"},
            "p/a.py:1 imports p/b.py:1 imports p/c.py:1 imports p/a.py",
        ),
        (
            {"a/__init__": "from p.a import b", "a/b": "from p import a"},
            "p/a/__init__.py:1 imports p/a/b.py:1 imports p/a/__init__.py",
        ),
        (
            {"a": "if TYPE_CHECKING:\n    import os\nelse:\n    from p.b import x", "b": "from p.a import y"},
            "p/a.py:4 imports p/b.py:1 imports p/a.py",
        ),
    ],
    ids=["two files", "in a function", "three files", "a folder and its file", "beside TYPE_CHECKING"],
)
def test_a_circle_is_found_and_named(files: dict[str, str], expected: str) -> None:
    assert circles({f"p/{name}.py": source for name, source in files.items()}) == [expected]


def test_circles_that_share_a_file_are_each_found() -> None:
    package = {"p/a.py": "from p import b, c", "p/b.py": "from p import a", "p/c.py": "from p import a"}
    assert len(circles(package)) == 2


def test_a_lazy_name_that_is_asked_for_makes_no_circle() -> None:
    face = {
        FACE: "import tinygrad_mnist.ops",
        f"{PACKAGE}/ops.py": "import tinygrad_mnist.engine.tensor",
    }
    asking = "import tinygrad_mnist"
    assert circles({**face, f"{PACKAGE}/engine/tensor.py": f"def graph():\n    {asking}"}) == []
    assert len(circles({**face, f"{PACKAGE}/engine/tensor.py": asking})) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"a": "from p.b import x", "b": "if TYPE_CHECKING:\n    from p.a import y"},
        {"a": "from p import b, c", "b": "from p import c", "c": "import numpy"},
        {"a/__init__": "from p.a.b import x", "a/b": "from p.a.c import y", "a/c": "import q.a"},
        {"a": "import p.a"},
    ],
    ids=["for the type checker", "a diamond", "files of one folder", "itself"],
)
def test_what_is_no_circle_is_not_found(files: dict[str, str]) -> None:
    assert circles({f"p/{name}.py": source for name, source in files.items()}) == []


# ---- what is optional ------------------------------------------------------------------------------------


def imports_nobody_asked_for(sources: Sources) -> list[str]:
    always = {PACKAGE, "numpy", COMPUTED, *sys.stdlib_module_names}
    return [
        f"{each.file}:{each.line}: {each.target}"
        for each in imports(sources)
        if (package := each.target.split(".")[0]) not in always
        and folder_of(each.file) not in OPTIONAL.get(package, set())
        and (each.when == "at once" or package in FOR_TESTS)
    ]


def test_optional_packages_are_imported_when_needed(sources: Sources) -> None:
    found = imports_nobody_asked_for(sources)
    assert not found, "\n".join(["imports that nobody asked for:", *found])


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import matplotlib.pyplot", 1),
        ("from an_extra import name", 1),
        ("def check():\n    import hypothesis", 1),
        ("def draw():\n    import matplotlib.pyplot", 0),
        ("if TYPE_CHECKING:\n    from PIL import Image", 0),
        ("import os, numpy.linalg", 0),
    ],
)
def test_an_optional_package_at_the_top_of_a_file_is_found(source: str, count: int) -> None:
    assert len(imports_nobody_asked_for({f"{PACKAGE}/training/runs/pictures.py": source})) == count


# ---- what an import loads --------------------------------------------------------------------------------


def loaded_by(code: str) -> set[str]:
    """Return the packages outside the standard library that a fresh interpreter loads for `code`."""
    # What has no spec was not imported: Cython's run time makes such modules for NumPy.
    loaded = "(name for name in sys.modules.keys() - before if getattr(sys.modules[name], '__spec__', None))"
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*{loaded})"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return {name.split(".")[0] for name in ran.stdout.splitlines()[-1].split()} - sys.stdlib_module_names


def test_importing_the_package_loads_nothing_else() -> None:
    assert loaded_by("import tinygrad_mnist") == {PACKAGE}


def test_the_version_is_known_without_numpy() -> None:
    assert loaded_by("import tinygrad_mnist; assert tinygrad_mnist.__version__") == {PACKAGE}


def test_the_engine_needs_numpy_alone() -> None:
    assert loaded_by("from tinygrad_mnist import Tensor, nn, optim") == {PACKAGE, "numpy"}


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_line_answers_without_numpy(option: str) -> None:
    code = (
        "from tinygrad_mnist.cli import main\n"
        f"sys.argv = ['tinygrad-mnist', {option!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_by(code) == {PACKAGE}


# ---- how docstrings begin --------------------------------------------------------------------------------


def test_no_docstring_opens_with_a_question_word(sources: Sources) -> None:
    """A docstring says what a thing does or is; ruff's D401 holds the imperative, and knows no nouns."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    opening = [
        f"{file}:{getattr(node, 'lineno', 1)}: {doc.splitlines()[0]}"
        for file, source in sources.items()
        for node in ast.walk(parsed(source))
        if isinstance(node, documented)
        and (doc := ast.get_docstring(node))
        and re.match(r"(What|Which|Where|How|Whether|Who)\b", doc)
    ]
    assert not opening, "\n".join([f"{len(opening)} docstrings open with a question word:", *opening])
