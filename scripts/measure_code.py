"""Measure the package: modules, lines of code, comments, the largest functions, how docstrings begin.

Run ``python scripts/measure_code.py [FOLDER OR FILE ...]``. The numbers say where to look, not what is good.
"""

from __future__ import annotations

import ast
import io
import os
import sys
import tokenize
from collections import Counter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "tinygrad_mnist"

BRANCHES = (
    ast.If, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.IfExp, ast.comprehension, ast.match_case,
)  # fmt: skip
LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
QUESTIONS = {"What", "Which", "Where", "How", "Whether", "Who", "When"}


class Function(NamedTuple):
    """A function: where it is, its lines of code, its branches."""

    place: str
    lines: int
    branches: int


class Lines(NamedTuple):
    """The numbers of the lines that hold code, and how many comments there are."""

    code: set[int]
    comments: int


def lines_of(source: str, tree: ast.Module) -> Lines:
    """Return the lines that hold code: neither blank, nor only a comment, nor part of a docstring."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    code = {
        line
        for token in tokens
        if token.type not in {tokenize.COMMENT, *LAYOUT}
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        # A string that stands alone is a docstring, be it of an attribute.
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    markers = ("# fmt:", "# type:", "# noqa")
    comments = sum(
        token.type == tokenize.COMMENT and not token.string.startswith(markers) for token in tokens
    )
    return Lines(code, comments)


def functions_of(tree: ast.Module, place: str, code: set[int]) -> list[Function]:
    """Measure each function of a file; one that stands in another counts for both."""
    return [
        Function(
            f"{place}:{node.lineno} {node.name}",
            sum(node.lineno <= line <= (node.end_lineno or node.lineno) for line in code),
            sum(isinstance(part, BRANCHES) for part in ast.walk(node)),
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def first_words(tree: ast.Module) -> list[str]:
    """Return the first word of each docstring of a module, class or function."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return [doc.split()[0].strip("`:,.") for doc in docs if doc]


def main(places: list[Path]) -> None:
    """Print the measures of some Python files, and of every one below some folders."""
    code = comments = modules = lines = 0
    functions: list[Function] = []
    words: Counter[str] = Counter()
    files = {file for place in places for file in [place, *place.rglob("*.py")] if file.is_file()}
    for path in sorted(files):
        source = path.read_text("utf-8")
        tree = ast.parse(source)
        own = lines_of(source, tree)
        modules, lines = modules + 1, lines + source.count("\n")
        code, comments = code + len(own.code), comments + own.comments
        functions += functions_of(tree, os.path.relpath(path), own.code)
        words.update(first_words(tree))
    print(f"{modules} modules, {lines:,} lines, {code:,} of them code")
    print(f"{100 * comments / max(code, 1):.1f} comments per 100 lines of code")
    asking = sum(words[word] for word in QUESTIONS)
    print(f"{words.total():,} docstrings, {asking} of them begin with a question word")
    print("they begin with " + ", ".join(f"{word} {count}" for word, count in words.most_common(12)))
    for measure in ("branches", "lines"):
        print(f"most {measure}:")
        for function in sorted(functions, key=lambda one: -getattr(one, measure))[:8]:
            print(f"  {getattr(function, measure):4} {function.place}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [PACKAGE])
