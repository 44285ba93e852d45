"""A model as text: a tree of its modules, with the shapes and number of their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_mnist.nn.module import Module


def tree(module: Module) -> str:
    """The text that is a module's ``repr``: a line a module, and behind a ``#`` its own parameters."""
    lines = list(_lines(module, "", 0))
    lines[-1] = (lines[-1][0], _total(module, own=len(lines) == 1))
    width = max(len(code) for code, _ in lines)
    return "\n".join(f"{code:{width}}  # {remark}" if remark else code for code, remark in lines)


def _lines(module: Module, label: str, depth: int) -> list[tuple[str, str]]:
    """Code and remark of each line."""
    indent = "  " * depth
    head = f"{indent}{label}{type(module).__name__}({module.extra_repr()}"
    children = list(module._named("module"))
    if not children:
        return [(head + ")", _own(module))]
    lines = [(head, _own(module))]
    for name, child in children:
        lines += _lines(child, f"({name}): ", depth + 1)
    return [*lines, (indent + ")", "")]


def _own(module: Module) -> str:
    """Shapes and number of the parameters that a module itself has."""
    own = list(module.named_parameters(recurse=False))
    if not own:
        return ""
    shapes = ", ".join(f"{name} {parameter.shape}" for name, parameter in own)
    return f"{shapes}: {sum(parameter.size for _, parameter in own):,}"


def _total(module: Module, own: bool) -> str:
    """The number of all parameters, and of those that are trained if some are frozen."""
    parameters = list(module.parameters())
    count = sum(parameter.size for parameter in parameters)
    trained = sum(parameter.size for parameter in parameters if parameter.requires_grad)
    text = f"{_own(module)} parameters" if own and parameters else f"{count:,} parameters"
    if own and not parameters:
        return ""
    return text if trained == count else f"{text}, {trained:,} of them trained"
