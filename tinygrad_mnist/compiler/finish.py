"""The end of a generated product: what a loop would do with each element, done before it is stored.

`fuse` decides where. The loop is simple there: each element is made of the one of the product, of what goes
with its column, as a bias does, and of numbers. Here that becomes instructions of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_mnist.compiler.llvm import ARITHMETIC, COMPARISONS, TYPES, literal
from tinygrad_mnist.compiler.loops import Literal, Nest, Operand, Operation
from tinygrad_mnist.compiler.memory import Place
from tinygrad_mnist.compiler.products import Code


class FinishingLoop:
    """A loop as the end of a product, in vectors: a `products.Finish`.

    Parameters
    ----------
    made : Nest
        The loop. It loads the element of the product from where it stores its own.

    Attributes
    ----------
    places : list of Place
        Where the memory begins that it reads beside the product: the further arguments of the function.
    """

    def __init__(self, made: Nest):
        operations = [operation for level in made.body for operation in level]
        (self._store,) = (operation for operation in operations if operation.name == "store")
        self._operations = [operation for operation in operations if operation is not self._store]
        assert self._store.access
        self._result = self._store.access.pointer
        self._numbers = [number for number in range(len(made.pointers)) if number != self._result]
        self.places: Sequence[Place] = [made.pointers[number] for number in self._numbers]

    @property
    def arguments(self) -> str:
        """The arguments of the function, each with a comma behind it."""
        return "".join(f"ptr noalias %r{number}, " for number in range(len(self.places)))

    def of_columns(self, code: Code, column: str, start: int, lanes: int, filled: int) -> dict[int, str]:
        """Write the loads of what goes with some columns, and return it by the number of the register."""
        found = {}
        for operation in self._operations:
            access, result = operation.access, operation.result
            if access and result and access.pointer != self._result:
                place = f"%r{self._numbers.index(access.pointer)}"
                if access.strides and access.strides[-1]:
                    found[result.number] = code.load(code.place(place, (column, 1)), start, lanes, filled)
                else:
                    number = code.new(f"load {code.real}, ptr {place}, align {access.dtype.itemsize}")
                    found[result.number] = code.splat(number, lanes)
        return found

    def of_elements(self, code: Code, known: dict[int, str], vector: str, lanes: int) -> str:
        """Write what is done with a vector of elements, and return the result."""
        known = dict(known)
        for operation in self._operations:
            assert operation.result
            if operation.access:
                if operation.access.pointer == self._result:
                    known[operation.result.number] = vector
            else:
                known[operation.result.number] = self._computed(code, operation, known, lanes)
        return self._operand(self._store.operands[0], known, lanes)

    def _operand(self, operand: Operand, known: dict[int, str], lanes: int) -> str:
        if not isinstance(operand, Literal):
            return known[operand.number]
        number = f"{TYPES[operand.dtype]} {literal(operand.value, operand.dtype)}"
        return f"<{', '.join([number] * lanes)}>"

    def _computed(self, code: Code, operation: Operation, known: dict[int, str], lanes: int) -> str:
        kind = f"<{lanes} x {TYPES[operation.operands[-1].dtype]}>"
        first, *rest = (self._operand(operand, known, lanes) for operand in operation.operands)
        if operation.name in ARITHMETIC:
            return code.new(f"{ARITHMETIC[operation.name][0]} {kind} {first}, {rest[0]}")
        if operation.name in COMPARISONS:
            return code.new(f"fcmp {COMPARISONS[operation.name][0]} {kind} {first}, {rest[0]}")
        assert operation.name == "where", operation
        return code.new(f"select <{lanes} x i1> {first}, {kind} {rest[0]}, {kind} {rest[1]}")
