"""The page of the conventions says what is measured: here in both dtypes, and in peers."""

from typing import Any

import pytest

from scripts import make_conventions as conventions
from scripts.make_conventions import DTYPES, ROWS, Row, answer, cell

PAGE = conventions.TARGET.read_text("utf-8")
CELLS: dict[str, list[str]] = {
    case: cells
    for case, *cells in (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| "))
}
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)


def test_the_page_lists_the_rows() -> None:
    assert list(CELLS) == ["case", *(row.case for row in ROWS)]


@pytest.mark.parametrize("dtype", DTYPES)
@each_row
def test_the_page_says_what_happens_here(row: Row, dtype: str) -> None:
    assert CELLS[row.case][2] == answer(row, conventions.ours(), dtype) + conventions.remark(row)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("column", "library", "measure"),
    [(0, "PyTorch", conventions.pytorchs), (1, "JAX", conventions.jaxs)],
    ids=["PyTorch", "JAX"],
)
def test_the_page_says_what_a_peer_does(column: int, library: str, measure: Any) -> None:
    pytest.importorskip(conventions.LIBRARIES[library], reason=f"{library} is not installed")
    if conventions.release(library) not in " ".join(PAGE.split()):
        pytest.skip(f"the page is about another release of {library}")
    gradients = measure()
    measured = {row.case: cell(row, gradients) for row in ROWS}
    assert measured == {case: cells[column] for case, cells in CELLS.items() if case != "case"}
