"""The Python of the documentation and the README runs, page by page, and prints what a page shows."""

import contextlib
import doctest
import importlib.util
import inspect
import io
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist
from tinygrad_mnist import op, transforms
from tinygrad_mnist.data import AUGMENTATIONS
from tinygrad_mnist.engine.op import FUNCTIONS, REGISTRY, UFUNCS
from tinygrad_mnist.exchange.onnx.table import CONVERTERS
from tinygrad_mnist.training import OPTIMIZERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"_build", "generated"}
CHECKER = doctest.OutputChecker()
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

# A comment before a block says when it runs. Without one it does.
FROM_THE_PACKAGE = "from the package"
BLOCK = re.compile(r"(?:<!-- (?P<comment>.*?) -->\n)?```python\n(?P<code>.*?)```", flags=re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of Python on a page, and the package that it needs, if any."""

    code: str
    comment: str

    @property
    def needs(self) -> str | None:
        return self.comment.removeprefix("needs ") if self.comment.startswith("needs ") else None


def blocks_of(page: Path) -> list[Block]:
    return [Block(found["code"], found["comment"] or "") for found in BLOCK.finditer(page.read_text("utf-8"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
    if MADE.isdisjoint(page.parts) and blocks_of(page)
]


TABLES: tuple[Any, ...] = (REGISTRY, UFUNCS, FUNCTIONS, OPTIMIZERS, AUGMENTATIONS, CONVERTERS, os.environ)


@pytest.fixture
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a page declare operations, add choices, set variables, write files; forget all of it afterwards."""
    monkeypatch.chdir(tmp_path)
    before = [(table, dict(table)) for table in TABLES]
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("hypothesis"):
            from hypothesis import settings

            settings.register_profile("before the page", settings.default)
            stack.callback(settings.load_profile, "before the page")
        yield
    for table, entries in before:
        table.clear()
        table.update(entries)


def run_session(code: str, names: dict[str, Any], page: Path) -> None:
    """Run a block of `>>>` lines, and compare what it prints."""
    session = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed, _ = runner.run(session, out=report.append, clear_globs=False)
    assert not failed, "".join(report)
    names.update(session.globs)


def run_script(code: str, names: dict[str, Any], page: Path) -> None:
    """Run a block, and compare what `print(...)  # text` printed with the text; `...` stands for anything."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(page), "exec"), names)
    require_printed(printed.getvalue(), code, page)


def require_printed(printed: str, code: str, page: Path) -> None:
    """Compare what was printed with the texts behind the `print(...)` of a block."""
    for expected in re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.MULTILINE):
        lines = printed.splitlines()
        assert any(CHECKER.check_output(f"{expected}\n", f"{line}\n", FLAGS) for line in lines), (
            f"{name_of(page)} says that it prints {expected!r}; it printed {lines}"
        )


def run_alone(code: str, page: Path) -> None:
    """Run a block in a process of its own: MPI starts threads in it, and ends with it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    require_printed(done.stdout, code, page)


def run_page(page: Path, available: Any) -> dict[str, Any]:
    """Run the blocks of a page from top to bottom, and the tests that they define; return their names."""
    names: dict[str, Any] = {"__name__": page.stem}
    for block in blocks_of(page):
        if block.comment == FROM_THE_PACKAGE or (block.needs and not available(block.needs)):
            continue
        if block.needs == "mpi4py":
            run_alone(block.code, page)
            continue
        (run_session if ">>>" in block.code else run_script)(block.code, names, page)
    for name, test in list(names.items()):
        if name.startswith("test_") and callable(test):
            fixtures = {"gradcheck": names.get("gradcheck")}
            wanted = inspect.signature(test).parameters.keys() & fixtures.keys()
            test(**{fixture: fixtures[fixture] for fixture in wanted})
    return names


def is_installed(package: str) -> bool:
    """Say whether a package is there that a block needs; PyTorch has a test of its own."""
    return package != "torch" and importlib.util.find_spec(package) is not None


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_python_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "hypothesis" in page.read_text("utf-8"):
        pytest.importorskip("hypothesis", reason="the page tests with Hypothesis")
    if "onnxruntime" in page.read_text("utf-8"):
        pytest.importorskip("onnx", reason="the page writes a file of ONNX")
        pytest.importorskip("onnxruntime", reason="the page runs a file of ONNX")
    if any(re.search(r"\bjit\b", block.code) for block in blocks_of(page)):
        pytest.importorskip("llvmlite", reason="the page compiles a function")
    if not any(re.search(r"png|svg|pictures|report", block.code) for block in blocks_of(page)):
        no_pictures(monkeypatch)
    run_page(page, available=is_installed)


def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings draw no pictures and write no report, which takes longer than they do."""
    from tinygrad_mnist.training.runs import run

    monkeypatch.setattr(run, "draw_pictures", lambda *_: ((), ()))
    monkeypatch.setattr(run, "write_report", lambda run: None)


@pytest.mark.peers
@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.needs == "torch" for b in blocks_of(page))], ids=name_of
)
def test_the_python_of_a_page_runs_with_pytorch(page: Path) -> None:
    run_page(page, available=lambda package: True)


def test_what_pages_show_of_the_package_is_in_it() -> None:
    package = "".join(path.read_text("utf-8") for path in (ROOT / "tinygrad_mnist").rglob("*.py"))
    source = re.sub(r"\s|,(?=\s*\))", "", package)
    shown = [(page, b.code) for page in PAGES for b in blocks_of(page) if b.comment == FROM_THE_PACKAGE]
    assert shown
    assert [(name_of(page), code) for page, code in shown if re.sub(r"\s", "", code) not in source] == []


def test_pages_in_all_folders_run() -> None:
    assert {page.parent.name for page in PAGES} >= {"docs", "tutorials", "how_to", "explanation"}
    assert ROOT / "README.md" in PAGES


# ---- the page for those who come from PyTorch ------------------------------------------------------------

FROM_PYTORCH = DOCS / "how_to" / "from_pytorch.md"
PAIRS = re.findall(r"^\| `(.+?)` \| `(.+?)` \|", FROM_PYTORCH.read_text("utf-8"), flags=re.MULTILINE)


def evaluated(code: str, names: dict[str, Any]) -> Any:
    """Run one cell of the table: the value of an expression, or None of a statement."""
    try:
        compiled = compile(code, "cell", "eval")
    except SyntaxError:
        exec(code, names)
        return None
    return eval(compiled, names)


def plain(value: Any) -> Any:
    """Return what a cell gave as arrays and text, which do not depend on the library."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, (str, bool, int, float, np.ndarray, np.generic, type(None))):
        return value
    return type(value).__name__


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of parts of its own
@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_a_pair_of_the_table_is_the_same(theirs: str, ours: str) -> None:
    import torch

    torchs: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "nn": torch.nn, "optim": torch.optim}
    own: dict[str, Any] = {}
    for block in blocks_of(FROM_PYTORCH):
        exec(block.code, torchs if block.needs else own)
    expected, found = plain(evaluated(theirs, torchs)), plain(evaluated(ours, own))
    if has_text(expected):
        assert found == expected
    else:
        assert_close(found, expected)


def has_text(value: Any) -> bool:
    return value is None or isinstance(value, str) or (isinstance(value, list) and isinstance(value[0], str))


def assert_close(found: Any, expected: Any) -> None:
    if isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
        return
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_our_side_of_every_pair_runs() -> None:
    setting = [block.code for block in blocks_of(FROM_PYTORCH) if not block.needs]
    assert len(PAIRS) > 100
    for _, ours in PAIRS:
        names: dict[str, Any] = {}
        for code in setting:
            exec(code, names)
        evaluated(ours, names)


# ---- pages that promise to be complete -------------------------------------------------------------------


def test_the_page_of_transforms_speaks_of_every_transform() -> None:
    text = (DOCS / "how_to" / "transforms.md").read_text("utf-8")
    for name in ("checkpoint", *transforms.__all__):
        assert f"{name}(" in text, name


@pytest.mark.parametrize("name", ["elementwise", "linear", "multilinear", "general", "fused"])
def test_the_page_of_operations_declares_one_by_each_declarator(name: str) -> None:
    assert name in op.__all__
    text = (DOCS / "how_to" / "declare_operations.md").read_text("utf-8")
    assert f"= {name}(" in text


def test_the_reference_has_a_page_for_every_public_module() -> None:
    listed = re.findall(r"^   (tinygrad_mnist[\w.]*)$", (DOCS / "reference" / "index.md").read_text(), re.M)
    public = {name for name in tinygrad_mnist.__all__ if inspect.ismodule(getattr(tinygrad_mnist, name))}
    assert {f"tinygrad_mnist.{name}" for name in public | {"plots", "testing", "training"}} <= set(listed)


def test_the_page_about_weights_is_found_by_its_title() -> None:
    title = (DOCS / "how_to" / "save_and_load.md").read_text("utf-8").splitlines()[0]
    assert {"save", "load", "weights"} <= set(title.lower().split())


def links_of(page: Path) -> list[str]:
    """Return the links of a page to other files, without those that only look so in code."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)


def test_extras_are_installed_from_the_clone_as_no_index_has_the_package() -> None:
    pages = [page for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if MADE.isdisjoint(page.parts)]
    texts_of_pages = {name_of(page): page.read_text("utf-8") for page in pages}
    wrong = [name for name, text in texts_of_pages.items() if re.search(r"pip install \W?tinygrad", text)]
    assert wrong == []


def test_links_lead_to_files() -> None:
    pages = [page for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")] if MADE.isdisjoint(page.parts)]
    links = [(page, link) for page in pages for link in links_of(page)]
    broken = [f"{name_of(page)}: {link}" for page, link in links if not (page.parent / link).exists()]
    assert broken == []


# ---- names of files and modules --------------------------------------------------------------------------

MADE_BY_RUNS = re.compile(r"(runs?|generated|_build)/|\.json$|\.html$|\.pkl$")


def texts() -> Iterator[tuple[str, str]]:
    """Yield the pages and the sources that name files, each with its text; CHANGELOG names what went."""
    folders = [ROOT / name for name in ("docs", "tinygrad_mnist", "examples", "scripts", "benchmarks")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.*"))]
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", *paths]:
        if path.suffix in {"", ".py", ".md"} and MADE.isdisjoint(path.parts):
            yield name_of(path), path.read_text("utf-8")


def files_of_the_clone() -> Iterator[str]:
    """Yield the path of each file, and each part of it that follows a slash."""
    for folder, within, files in os.walk(ROOT):
        within[:] = [name for name in within if name not in (".venv", ".git")]
        for file in files:
            parts = (Path(folder).relative_to(ROOT) / file).parts
            yield from ("/".join(parts[i:]) for i in range(len(parts)))


def test_files_that_are_named_exist() -> None:
    there = set(files_of_the_clone())
    missing = [
        f"{name}: {file}"
        for name, text in texts()
        for file in re.findall(r"(?<![\w/.{}*<-])((?:[\w-]+/)+[\w-]+\.\w{2,4})\b", text)
        if file not in there and not MADE_BY_RUNS.search(file)
    ]
    assert missing == []


def is_there(dotted: str) -> bool:
    """Say whether a dotted name of the package is a module, or something in one."""
    # The second, as the function `graph.storyboard` has the name of a folder, and is found in its place.
    for find in (pkgutil.resolve_name, importlib.util.find_spec):
        with contextlib.suppress(AttributeError, ModuleNotFoundError):
            if find(dotted) is not None:
                return True
    return False


def test_names_of_the_package_that_are_written_out_exist() -> None:
    missing = [
        f"{name}: {dotted}"
        for name, text in texts()
        for dotted in re.findall(r"tinygrad_mnist(?:\.[a-zA-Z]\w*)+", text)
        if not dotted.endswith((".py", ".toml")) and not is_there(dotted)
    ]
    assert missing == []


def test_the_page_on_jit_names_every_file_of_the_compiler() -> None:
    text = (DOCS / "explanation" / "jit.md").read_text("utf-8")
    files = {path.name for path in (ROOT / "tinygrad_mnist" / "compiler").glob("[a-z]*.py")}
    assert {file for file in files if f"`{file}`" not in text} == set()


def test_the_architecture_lists_the_package_the_engine_and_the_folders_of_training() -> None:
    text = (DOCS / "explanation" / "architecture.md").read_text("utf-8")
    listing = re.search(r"```text\ntinygrad_mnist/\n(.*?)```", text, flags=re.DOTALL)
    assert listing is not None
    entries = re.findall(r"^(?:  |    )([\w.]+/?) ", listing[1], flags=re.MULTILINE)
    package = ROOT / "tinygrad_mnist"
    folders = [*package.iterdir(), *(package / "training").iterdir()]
    there = [f"{path.name}/" for path in folders if (path / "__init__.py").exists()]
    there += [path.name for folder in (package, package / "engine") for path in folder.glob("[a-z]*.py")]
    assert sorted(entries) == sorted(there)
