"""What docs/transforms.md shows is what happens."""

import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinygrad_mnist import transforms
from tinygrad_mnist.op import FUNCTIONS, REGISTRY, UFUNCS

PAGE = Path(__file__).parents[1] / "docs" / "transforms.md"


@pytest.fixture
def registries() -> Iterator[None]:
    """What is declared on the page is forgotten again."""
    before = [(registry, dict(registry)) for registry in (REGISTRY, UFUNCS, FUNCTIONS)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)


@pytest.mark.usefixtures("registries")
def test_the_examples_run_as_they_stand() -> None:
    text = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL))
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.DocTestRunner(optionflags=flags).run(page, out=report.append)
    assert tried > 20
    assert not failed, "".join(report)


def test_the_page_speaks_of_every_transform() -> None:
    text = PAGE.read_text("utf-8")
    for name in ("checkpoint", "detect_anomaly", *transforms.__all__):
        assert f"{name}(" in text, name
