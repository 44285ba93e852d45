"""The house keeps its shape: imports point one way, the core stays small, extras are loaded when asked for.

The rules are read off the source with `ast`; what importing loads is asked of a fresh interpreter.
"""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "tinygrad_mnist"

CALCULUS = {"engine", "ops"}
ENGINE = {*CALCULUS, "transforms"}

# The rooms of the package, and what each may import besides itself. Nothing else is a room.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"_version"},
    "_version": set(),
    "files": set(),
    "engine": set(),
    "op": {"engine"},
    "ops": {"engine"},
    "transforms": CALCULUS,
    "nn": ENGINE,
    "optim": ENGINE,
    "testing": ENGINE,
    "graph": {"files", "engine"},
    "data": set(),
    "plots": {"files"},
    "training": {*ENGINE, "files", "nn", "optim", "data", "graph", "plots", "_version"},
    "cli": {*ENGINE, "files", "testing", "nn", "optim", "data", "graph", "plots", "training", "_version"},
    "__main__": {"cli"},
}
# Where an import may point the other way if not done at once: the lazy public names, Tensor's short methods.
MAY_IMPORT_LATER = {"__init__", "engine", "nn"}

# Packages beyond NumPy, and the rooms whose modules may import them at their top. Elsewhere functions do.
OPTIONAL: dict[str, set[str]] = {
    "graphviz": {"graph"},
    "hypothesis": {"testing"},
    "matplotlib": {"plots"},
    "PIL": {"plots"},
    "pooch": set(),
    "pytest": {"testing"},
    "threadpoolctl": set(),
    "tqdm": set(),
}

# Functions that import, and what stands for a name that they are given other than as a literal.
IMPORTERS = {"__import__", "import_module", "importlib.import_module"}
COMPUTED = "?"

MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))
OTHERS = (
    path
    for folder in ("tests", "examples", "benchmarks", "docs", "scripts")
    for path in (ROOT / folder).rglob("*.py")
)
SOURCES = sorted([*MODULES, *OTHERS])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Import:
    """One imported module: its dotted name, the line, and when it is loaded.

    `when` is "at once" for what importing the file loads, "called" for what a function loads, and "never"
    for what only the type checker reads.
    """

    target: str
    line: int
    when: str


def dotted(path: Path) -> str:
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(module: str) -> str:
    """Room of a dotted module name within the package; the package itself is the room `__init__`."""
    parts = module.replace("__version__", "_version").split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(source: str, path: str) -> Iterator[Import]:
    """All imports in a source file, relative ones with their full names."""
    package = path.removesuffix(".py").split("/")[:-1]

    def visit(node: ast.AST, when: str) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, when)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{module}.{alias.name}" if module == PACKAGE else module
                yield Import(target, node.lineno, when)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            name = node.args[0] if node.args else None
            literal = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield Import(name.value if literal else COMPUTED, node.lineno, when)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            when = "called"
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            when = "never"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, when)

    return visit(ast.parse(source), "at once")


def imports_of(path: Path) -> list[Import]:
    return list(imports(path.read_text("utf-8"), name_of(path)))


def imports_against_the_grain(source: str, path: str) -> list[str]:
    """What a module of the package imports from rooms that it must not know, as sentences."""
    room = room_of(dotted(ROOT / path))
    faults = []
    for imported in imports(source, path):
        if imported.target.split(".")[0] != PACKAGE:
            continue
        other = room_of(imported.target)
        allowed = other == room or other in MAY_IMPORT.get(room, set())
        later = imported.when != "at once" and room in MAY_IMPORT_LATER and other in MAY_IMPORT
        if not allowed and not later:
            faults.append(f"{path}:{imported.line}: {room!r} must not import {imported.target}")
    return faults


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    assert imports_against_the_grain(path.read_text("utf-8"), name_of(path)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("op.py", "from .tensor import Tensor"),
        ("op.py", "from . import tape"),
        ("tape.py", "def walk():\n    from tinygrad_mnist.tensor import Tensor"),
        ("tape.py", "import tinygrad_mnist.tensor"),
        ("tape.py", "if TYPE_CHECKING:\n    from .tensor import Tensor"),
        ("tape.py", "importlib.import_module('tinygrad_mnist.tensor')"),
        ("tensor.py", "from .ops import elementwise"),
        ("tensor.py", "from tinygrad_mnist import ops"),
        ("ops/loss.py", "from ..nn import functional"),
        ("ops/loss.py", "from tinygrad_mnist import Tensor"),
        ("nn/linear.py", "from ..optim.sgd import SGD"),
        ("nn/linear.py", "class Linear:\n    from ..training import recipes"),
        ("data/idx.py", "if True:\n    from .. import tensor"),
        ("plots/curves.py", "from ..training.history import History"),
        ("training/loop.py", "from ..cli.train import parse"),
        ("__init__.py", "from .tensor import Tensor"),
    ],
)
def test_an_import_the_other_way_is_found(path: str, source: str) -> None:
    assert len(imports_against_the_grain(source, f"{PACKAGE}/{path}")) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tape.py", "from .op import Op"),
        ("tensor.py", "def graph(self):\n    from .graph import read"),
        ("__init__.py", "def __getattr__(name):\n    from .tensor import Tensor"),
        ("__init__.py", "if TYPE_CHECKING:\n    from .tensor import Tensor"),
        ("nn/linear.py", "from ..ops.linalg import linear\nfrom .module import Module"),
        ("nn/layers/linear.py", "from ..module import Module\nfrom ...tensor import Tensor"),
        ("cli/train.py", "from ..training import recipes\nimport numpy as np"),
    ],
)
def test_an_import_the_right_way_is_allowed(path: str, source: str) -> None:
    assert imports_against_the_grain(source, f"{PACKAGE}/{path}") == []


def test_the_rooms_are_the_planned_ones() -> None:
    rooms = {path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert rooms <= MAY_IMPORT.keys()


def test_no_room_is_above_and_below_another() -> None:
    graphlib.TopologicalSorter(MAY_IMPORT).prepare()  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_imported_by_a_computed_name(path: Path) -> None:
    """It would escape the tests above. The package's own lazy names are the exception."""
    if path == ROOT / PACKAGE / "__init__.py":
        pytest.skip("the lazy public names")
    assert [found for found in imports_of(path) if found.target.startswith((COMPUTED, "."))] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_optional_packages_are_imported_when_needed(path: Path) -> None:
    room = room_of(dotted(path))
    unasked = [
        f"line {imported.line}: {imported.target}"
        for imported in imports_of(path)
        if imported.when == "at once" and room not in OPTIONAL.get(imported.target.split(".")[0], {room})
    ]
    assert unasked == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_testing_imports_hypothesis(path: Path) -> None:
    if path.is_relative_to(ROOT / PACKAGE / "testing"):
        pytest.skip("this is its place")
    packages = {imported.target.split(".")[0] for imported in imports_of(path)}
    assert packages.isdisjoint({"hypothesis", "pytest"})


# Rooms that the reference does not describe as modules: it names what they offer, or they are commands.
INNER = {
    *(
        "__init__",
        "__main__",
        "_version",
        "files",
        "attach",
        "cli",
        "draws",
        "ops",
        "refusals",
        "tape",
        "tensor",
        "tree",
    ),
}


@pytest.mark.parametrize("room", sorted({room_of(dotted(path)) for path in MODULES} - INNER))
def test_the_reference_knows_every_public_room(room: str) -> None:
    described = re.findall(r"automodule:: (\S+)", (ROOT / "docs" / "api.md").read_text("utf-8"))
    assert f"{PACKAGE}.{room}" in described


def test_a_module_is_named_after_what_it_holds() -> None:
    names = {part for path in SOURCES for part in path.relative_to(ROOT).with_suffix("").parts}
    assert names.isdisjoint({"utils", "util", "helpers", "helper", "common", "misc"})


def loaded_by(code: str) -> set[str]:
    """Top-level packages, besides the standard library's, that a fresh interpreter loads for `code`."""
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
