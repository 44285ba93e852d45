"""A stand-in until the back end is here."""

from typing import Any

from tinygrad_mnist.compiler.program import Program, interpret


class Executable:
    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, arrays: Any, scalars: Any, into: Any = None) -> Any:
        return interpret(self.program, arrays, scalars)


def build(program: Program, *, threads: int = 1) -> Executable:
    return Executable(program)
