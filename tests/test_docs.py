"""What the pages of the documentation show is what happens: their Python runs, from the top to the bottom."""

import doctest
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinygrad_mnist import transforms
from tinygrad_mnist.engine.op import FUNCTIONS, REGISTRY, UFUNCS

DOCS = Path(__file__).parents[1] / "docs"
NOT_RUN = {"architecture.md": "shows lines of the package itself"}


def python_of(page: Path) -> list[str]:
    """The blocks of Python on a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)


PAGES = [page for page in sorted(DOCS.glob("*.md")) if python_of(page) and page.name not in NOT_RUN]
SESSIONS = [page for page in PAGES if ">>>" in "".join(python_of(page))]


@pytest.fixture
def restored() -> Iterator[None]:
    """What is declared on a page, or set in the environment, is forgotten again."""
    before = [(registry, dict(registry)) for registry in (REGISTRY, UFUNCS, FUNCTIONS, os.environ)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_a_page_of_sessions_prints_what_it_shows(page: Path) -> None:
    session = doctest.DocTestParser().get_doctest("\n".join(python_of(page)), {}, page.name, str(page), 0)
    report: list[str] = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.DocTestRunner(optionflags=flags).run(session, out=report.append)
    assert tried > 20
    assert not failed, "".join(report)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("page", [page for page in PAGES if page not in SESSIONS], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_and_its_tests_pass(page: Path) -> None:
    if "hypothesis" in page.read_text("utf-8"):
        pytest.importorskip("hypothesis", reason="the page tests with Hypothesis")
    names: dict[str, object] = {}
    for block in python_of(page):
        exec(compile(block, str(page), "exec"), names)
    for name, test in names.items():
        if name.startswith("test_") and callable(test):
            test()


def test_the_pages_that_should_run_do() -> None:
    assert {page.name for page in PAGES} >= {"gradient_checks.md", "transforms.md", "tutorial.md"}
    assert all(python_of(DOCS / name) for name in NOT_RUN)


def test_the_page_speaks_of_every_transform() -> None:
    text = (DOCS / "transforms.md").read_text("utf-8")
    for name in ("checkpoint", "detect_anomaly", *transforms.__all__):
        assert f"{name}(" in text, name
