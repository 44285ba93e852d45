"""Fusion: which values are kept in memory, and which instructions share a loop.

An instruction of a loop reads its arguments element by element. So where its argument is such an instruction
too, it need not be kept in memory: it is computed where it is read. :func:`plan` decides what is kept all the
same (the results of reductions and products; what a loop would otherwise compute again for each element, or
what is dear and read in several loops), and joins what runs over the same elements into one kernel.

A plan has two parts. The first computes everything, and changes nothing that the caller sees. The second, the
commit, writes to the memory of the inputs; it runs only if all conditions hold. An optimiser's update is
computed within its commit, in one pass over memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tinygrad_mnist.compiler import products
from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS
from tinygrad_mnist.compiler.layout import blas_order
from tinygrad_mnist.compiler.prepare import SLOW, Prepared, only_moves_axes
from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, VIEWS, Instruction, Value

COST: Final[Mapping[str, int]] = defaultdict(lambda: 1, dict.fromkeys(SLOW | {"power"}, 12))
"""What an element of an operation costs, in additions."""

CHEAP: Final = 3
"""What costs no more than this is computed again in each kernel that reads it, rather than kept."""

DEAR: Final = 40
"""What costs more than this is kept in any case: a kernel that computes it twice would be slow."""

LARGE: Final = 1 << 20
"""The bytes of a value beyond which it does not stay in the second cache until all of it was computed."""

Index: TypeAlias = tuple[int | None, ...]
"""For each axis of a value the loop that runs along it; None where its length is 1."""


@dataclass(eq=False)
class Kernel:
    """Loops over one space that compute and store some values.

    Attributes
    ----------
    space : tuple of int
        The lengths of the loops: those of the axes of each value, or of what it reduces, but for ones.
    values : list of Value
        What is computed and kept in memory.
    writes : list of (Value, Value)
        What is computed and stored in the memory of an input, as in `Program.writes`.
    """

    space: tuple[int, ...]
    values: list[Value] = field(default_factory=list)
    writes: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(eq=False)
class Product:
    """A product of matrices, by BLAS or generated, or a generated convolution.

    Attributes
    ----------
    instruction : Instruction
        The product or convolution.
    generated : bool
        Whether it is generated.
    finish : Kernel, optional
        The only loop that reads the product: a generated one does what that does with each element, before it
        is stored. Then the product itself is not in memory.
    no_nan : Value, optional
        The condition that no element is NaN: a generated product looks at what it stores. A loop that looked
        at it later would read all of it from memory once more.
    """

    instruction: Instruction
    generated: bool = False
    finish: Kernel | None = None
    no_nan: Value | None = None


@dataclass(eq=False)
class Call:
    """An instruction that NumPy runs."""

    instruction: Instruction


Piece: TypeAlias = Kernel | Product | Call


@dataclass(eq=False)
class Plan:
    """The pieces that run, in order.

    Attributes
    ----------
    ready : Prepared
        The program.
    kept : set of Value
        What is computed and lies in memory; everything else is computed where it is read.
    pieces : list of Kernel, Product or Call
        The first part, which computes.
    commit : list of Kernel
        The second part, which writes to the inputs.
    """

    ready: Prepared
    kept: set[Value]
    pieces: list[Piece]
    commit: list[Kernel]

    def reads(self, piece: Piece) -> set[Value]:
        """Return the roots of what a piece reads from memory: kept values, inputs, constants, scalars."""
        if isinstance(piece, Kernel):
            wanted = [*piece.values, *(new for new, _ in piece.writes)]
            found = leaves(self.ready, self.kept, wanted, inside=set(piece.values))
            return found - self.ready.uniform.keys()  # which stand in the code as numbers
        found = {self.ready.roots[value] for value in piece.instruction.inputs}
        if isinstance(piece, Product) and piece.finish:
            found |= self.reads(piece.finish) - {*piece.instruction.outputs}
        return found

    def stores(self, piece: Piece) -> tuple[Value, ...]:
        """Return the kept values that a piece computes."""
        if isinstance(piece, Kernel):
            return tuple(piece.values)
        if isinstance(piece, Product) and piece.finish:
            return tuple(piece.finish.values)
        condition = isinstance(piece, Product) and piece.no_nan
        return (*piece.instruction.outputs, condition) if condition else piece.instruction.outputs

    def instructions(self, piece: Piece) -> list[Instruction]:
        """Return the instructions that a piece runs, in their order in the program."""
        found = set() if isinstance(piece, Kernel) else {piece.instruction}
        inside = set(self.stores(piece))
        waiting = [*inside, *(new for new, _ in piece.writes)] if isinstance(piece, Kernel) else [*inside]
        while waiting:
            value = waiting.pop()
            producer = self.ready.producers.get(value)
            if producer is None or producer in found or (value in self.kept and value not in inside):
                continue
            found.add(producer)
            waiting.extend(producer.inputs)
        return [i for i in self.ready.program.instructions if i in found]


def leaves(
    ready: Prepared, kept: set[Value], values: Iterable[Value], *, inside: set[Value] | None = None
) -> set[Value]:
    """Return the roots in memory that the computation of some values reads.

    Parameters
    ----------
    ready : Prepared
        The program.
    kept : set of Value
        What lies in memory.
    values : iterable of Value
        What is computed, kept or not.
    inside : set of Value, optional
        Kept values that are computed here too; so they are not read.
    """
    found: set[Value] = set()
    inside = inside or set()
    waiting = list(values)
    seen: set[Value] = set()
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        root = ready.roots[value]
        if (root in kept and root not in inside) or root not in ready.producers:
            found.add(root)
        else:
            waiting.extend(ready.producers[value].inputs)
    return found


def moved(view: Instruction, index: Index) -> Index:
    """Return the index at which a view reads its argument."""
    shape = view.inputs[0].shape
    if view.name == "transpose":
        placed = dict(zip(view.static["axes"], index, strict=True))
        return tuple(placed[axis] for axis in range(len(shape)))
    if view.name == "reshape":
        rest = iter([i for i, n in zip(index, view.outputs[0].shape, strict=True) if n != 1])
        return tuple(None if n == 1 else next(rest) for n in shape)
    return broadcast(index, shape)


def broadcast(index: Index, shape: tuple[int, ...]) -> Index:
    """Return the index at which an argument that broadcasts is read."""
    inner = index[len(index) - len(shape) :]
    return tuple(None if n == 1 else i for i, n in zip(inner, shape, strict=True)) if 1 in shape else inner


def space_index(shape: tuple[int, ...]) -> Index:
    """Return the index of a value in the loops over its own shape.

    >>> space_index((5, 1, 7))
    (0, None, 1)
    """
    loops = iter(range(len(shape)))
    return tuple(None if n == 1 else next(loops) for n in shape) if 1 in shape else tuple(loops)


def space_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths of the loops over a shape."""
    return tuple(n for n in shape if n != 1) if 1 in shape else shape


def plan(ready: Prepared) -> Plan:
    """Decide what is kept in memory, and what shares a loop.

    Parameters
    ----------
    ready : Prepared
        The program.
    """
    keeping = _Keeping(ready)
    groups = list(_commit_groups(ready, keeping.kept))
    for group in groups:
        if not _fits_one_kernel(ready, keeping.kept, group):
            keeping.kept.update(ready.roots[new] for new, _ in group if ready.roots[new] in ready.producers)
    keeping.decide()
    commit: list[Kernel] = []
    for group in groups:
        if _fits_one_kernel(ready, keeping.kept, group):
            commit.append(Kernel(space_of(group[0][1].shape), [], group))
        else:
            commit += [Kernel(space_of(target.shape), [], [(new, target)]) for new, target in group]
    made = Plan(ready, keeping.kept, _Schedule(ready, keeping.kept).pieces(), commit)
    _finish_products(made)
    _bring_together(made)
    return made


def is_generated(ready: Prepared, product: Instruction) -> bool:
    """Return whether a product is generated; else BLAS computes it."""
    if product.name in CONVOLUTIONS:
        return True
    first, second = product.inputs
    orders = [blas_order(ready.layouts[value], value.shape, value.dtype.itemsize) for value in product.inputs]
    assert orders[0]
    assert orders[1]
    (m, k), n = first.shape[-2:], second.shape[-1]
    transposed = {"transposed_a": orders[0][0], "transposed_b": orders[1][0]}
    return products.choose(m, n, k, **transposed, dtype=first.dtype) == "generated"


class _Keeping:
    """The choice of the values that are kept in memory."""

    def __init__(self, ready: Prepared):
        self.ready = ready
        program = ready.program
        self.kept: set[Value] = {*program.numbers, *program.conditions}
        self.kept.update(ready.roots[value] for value in program.outputs)
        self.users: dict[Value, list[Instruction]] = defaultdict(list)
        for instruction in program.instructions:
            for value in dict.fromkeys(instruction.inputs):
                self.users[value].append(instruction)
        for instruction in program.instructions:
            self._keep_for(instruction)

    def _keep_for(self, instruction: Instruction) -> None:
        ready = self.ready
        kind = ready.kinds[instruction]
        if kind != "view" and (kind != "loop" or instruction.name in REDUCTIONS):
            self.kept.update(instruction.outputs)
        if kind == "view" and only_moves_axes(instruction):
            return
        for value in instruction.inputs:
            root = ready.roots[value]
            if root not in ready.producers:
                continue
            if kind != "loop":
                self.kept.add(root)
            elif root.size < self._size(instruction):
                # It broadcasts: computed once, in its own shape.
                self.kept.add(root)

    @staticmethod
    def _size(instruction: Instruction) -> int:
        """Return the number of elements that an instruction runs over."""
        values = instruction.inputs if instruction.name in REDUCTIONS else instruction.outputs
        return max((value.size for value in values), default=0)

    def decide(self) -> None:
        """Keep what is dear and read in several kernels."""
        levels = self._levels()
        written = {new for new, _ in self.ready.program.writes}
        cost: dict[Value, int] = {}
        for instruction in self.ready.program.instructions:
            if self.ready.kinds[instruction] != "loop" or instruction.outputs[0] in self.kept:
                continue
            value = instruction.outputs[0]
            own = COST[instruction.name] if instruction.name != "astype" else 0
            # What it reads of a larger array, others will have driven out of the cache.
            own += sum(v.size < self.ready.roots[v].size for v in instruction.inputs)
            cost[value] = own + sum(cost.get(self.ready.roots[v], 0) for v in instruction.inputs)
            read_at = {levels[user] for user in self._readers(value)}
            if written & self._itself_and_views(value):
                read_at.add(-1)  # a commit is a kernel of its own
            dear = (cost[value] > CHEAP and len(read_at) > 1) or cost[value] > DEAR
            if dear and not self._only_for_commit(value):
                self.kept.add(value)
                cost[value] = 0

    def _only_for_commit(self, value: Value) -> bool:
        """Return whether nothing but writes needs a value: they are computed in one kernel."""
        waiting, seen = [value], set()
        while waiting:
            found = waiting.pop()
            if found in seen:
                continue
            seen.add(found)
            if found in self.kept and found is not value:
                return False
            for user in self.users[found]:
                if self.ready.kinds[user] not in ("loop", "view"):
                    return False
                waiting.extend(user.outputs)
        return True

    def _itself_and_views(self, value: Value) -> set[Value]:
        found, waiting = {value}, [value]
        while waiting:
            for user in self.users[waiting.pop()]:
                if self.ready.kinds[user] == "view":
                    found.update(user.outputs)
                    waiting.extend(user.outputs)
        return found

    def _readers(self, value: Value) -> Iterator[Instruction]:
        for view in self._itself_and_views(value):
            for user in self.users[view]:
                if self.ready.kinds[user] != "view":
                    yield user

    def _levels(self) -> dict[Instruction, int]:
        """Return for each instruction how many kernels have to come before the one that runs it."""
        levels: dict[Instruction, int] = {}
        after: dict[Value, int] = defaultdict(int)
        for instruction in self.ready.program.instructions:
            level = max((after[value] for value in instruction.inputs), default=0)
            levels[instruction] = level
            ends = (
                self.ready.kinds[instruction] in ("product", "call")
                or instruction.name in REDUCTIONS
                or any(
                    value in self.kept and self._size(user) > value.size
                    for value in instruction.outputs
                    for user in self.users[value]
                )
            )
            for value in instruction.outputs:
                after[value] = level + bool(ends)
        return levels


def _commit_groups(ready: Prepared, kept: set[Value]) -> Iterator[list[tuple[Value, Value]]]:
    """Yield the writes in groups: no group reads what another writes to."""
    writes = ready.program.writes
    group_of = {target: {target} for _, target in writes}
    for new, target in writes:
        for read in leaves(ready, kept, [new]):
            if read in group_of and group_of[read] is not group_of[target]:
                joined = group_of[read] | group_of[target]
                for member in joined:
                    group_of[member] = joined
    for group in {id(group): group for group in group_of.values()}.values():
        yield [(new, target) for new, target in writes if target in group]


def _fits_one_kernel(ready: Prepared, kept: set[Value], group: list[tuple[Value, Value]]) -> bool:
    """Return whether one kernel can write a group in place.

    It can if it runs over the same space for all, and reads what it writes to at the place that it writes to.
    """
    space = space_of(group[0][1].shape)
    targets = {target for _, target in group}
    for new, target in group:
        if space_of(target.shape) != space:
            return False
        for read, index in _read_at(ready, kept, new, space_index(new.shape)):
            if read in targets and index != space_index(read.shape):
                return False
    return True


def _read_at(
    ready: Prepared, kept: set[Value], value: Value, index: Index
) -> Iterator[tuple[Value, Index | None]]:
    """Yield what the computation of a value reads from memory, and at which index; None is some other one."""
    seen = set()
    waiting: list[tuple[Value, Index]] = [(value, index)]
    while waiting:
        entry = waiting.pop()
        if entry in seen:
            continue
        seen.add(entry)
        value, index = entry
        producer = ready.producers.get(value)
        if producer is None or value in kept:
            yield value, index
        elif producer.name not in VIEWS:
            waiting += [(argument, broadcast(index, argument.shape)) for argument in producer.inputs]
        elif only_moves_axes(producer):
            waiting.append((producer.inputs[0], moved(producer, index)))
        else:
            yield ready.roots[value], None


def _read_elsewhere(ready: Prepared, kept: set[Value], instruction: Instruction) -> set[Value]:
    """Return what an instruction reads not at its own index, but as a view for which there must be memory."""
    result = instruction.inputs if instruction.name in REDUCTIONS else instruction.outputs
    if ready.kinds[instruction] != "loop" or not result:
        return set()
    start = space_index(result[0].shape)
    arguments = ((value, broadcast(start, value.shape)) for value in instruction.inputs)
    reads = (read for value, index in arguments for read in _read_at(ready, kept, value, index))
    return {read for read, index in reads if index is None}


def _finish_products(made: Plan) -> None:
    """Let generated products do what the only loop that reads them does, where that is simple.

    What runs between the two may make what the loop reads. So the product takes the place of the loop.
    """
    readers: dict[Value, list[Piece]] = defaultdict(list)
    for piece in (*made.pieces, *made.commit):
        for value in made.reads(piece):
            readers[value].append(piece)
    needed = {made.ready.roots[value] for value in made.ready.program.outputs}
    for piece in list(made.pieces):
        if not isinstance(piece, Product) or not piece.generated or piece.no_nan is not None:
            continue
        if piece.instruction.name == "convolution_by_weight":
            continue  # its sums are not complete before the last picture
        (result,) = piece.instruction.outputs
        if len(readers[result]) == 1 and result not in needed:
            (reader,) = readers[result]
            if isinstance(reader, Kernel) and _can_finish(made, result, reader):
                made.pieces.remove(piece)
                piece.finish = reader
                made.pieces[made.pieces.index(reader)] = piece


def _bring_together(made: Plan) -> None:
    """Let a convolution run right before the only loop that reads it, and right behind the one that makes it.

    What passes between them is large: `module` lets the two take turns, some pictures at a time. A sum that
    needs all pictures is then a loop of its own, where it reads what that loop keeps.
    """
    readers: dict[Value, list[Piece]] = defaultdict(list)
    for piece in (*made.pieces, *made.commit):
        for value in made.reads(piece):
            readers[value].append(piece)
    makers = {value: piece for piece in made.pieces for value in made.stores(piece)}
    for product in [piece for piece in made.pieces if is_convolution(piece)]:
        assert isinstance(product, Product)
        if product.instruction.name == "convolution_by_weight":
            gradient = made.ready.roots[product.instruction.inputs[1]]
            maker = makers.get(gradient)
            if isinstance(maker, Kernel) and maker.values == [gradient] and readers[gradient] == [product]:
                made.pieces.remove(maker)
                made.pieces.insert(made.pieces.index(product), maker)
        else:
            (stored,) = made.stores(product)
            if len(readers[stored]) == 1 and is_large(stored):
                _bring_to_reader(made, product, stored, readers[stored][0])


def _bring_to_reader(made: Plan, product: Product, stored: Value, reader: Piece) -> None:
    """Let a convolution run right before the piece that reads it, if that is a loop."""
    if isinstance(reader, Kernel) and reader in made.pieces:
        made.pieces.remove(product)
        position = made.pieces.index(reader)
        made.pieces[position : position + 1] = [product, *_without_sums(made, reader, stored)]


def is_convolution(piece: Piece) -> bool:
    """Return whether a piece is a convolution or a transpose of one."""
    return isinstance(piece, Product) and piece.instruction.name in CONVOLUTIONS


def passed(made: Plan, first: Piece, second: Piece) -> Value | None:
    """Return what passes between two pieces that may take turns: see `turns`; None if they may not.

    One is a convolution, the other the loop before or behind it, and what passes is large, and read by
    nothing else.
    """
    if isinstance(second, Kernel) and isinstance(first, Product) and is_convolution(first):
        (value,) = made.stores(first)
        can = first.instruction.name != "convolution_by_weight"
    elif isinstance(first, Kernel) and isinstance(second, Product) and is_convolution(second):
        value = made.ready.roots[second.instruction.inputs[1]]
        can = second.instruction.name == "convolution_by_weight" and value in made.stores(first)
    else:
        return None
    if not can or not is_large(value):
        return None
    readers = [piece for piece in (*made.pieces, *made.commit) if value in made.reads(piece)]
    return value if readers == [second] else None


def is_large(value: Value) -> bool:
    """Return whether a value does not stay in the second cache."""
    return value.size * value.dtype.itemsize > LARGE


def _without_sums(made: Plan, kernel: Kernel, read: Value) -> list[Kernel]:
    """Return a kernel as two, the second of which has its reductions, if that one need not read a value."""
    sums = [value for value in kernel.values if made.ready.producers[value].name in REDUCTIONS]
    rest = [value for value in kernel.values if value not in sums]
    if not sums or not rest:
        return [kernel]
    second = Kernel(kernel.space, sums)
    if read in made.reads(second):
        return [kernel]
    return [Kernel(kernel.space, rest), second]


COMPARISONS: Final = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")

FINISHING: Final = frozenset(("add", "subtract", "multiply", "divide", "where", *COMPARISONS))
"""What a product can do with an element before it is stored: one instruction of vectors each."""


def _can_finish(made: Plan, result: Value, kernel: Kernel) -> bool:
    """Return whether a loop makes one element of each of a product, from it and what goes with its column."""
    ready = made.ready
    if kernel.writes or len(kernel.values) != 1 or kernel.space != result.shape:
        return False
    for instruction in made.instructions(kernel):
        of = (*instruction.inputs, *instruction.outputs)
        simple = instruction.name in FINISHING or instruction.name in VIEWS
        if not simple or any(value.dtype not in (result.dtype, bool) for value in of):
            return False
    (value,) = kernel.values
    start = space_index(value.shape)
    for argument in ready.producers[value].inputs:
        for read, index in _read_at(ready, made.kept, argument, broadcast(start, argument.shape)):
            if index != start if read is result else not _goes_with_column(ready, read, index, start[-1]):
                return False
            if read.dtype != result.dtype:
                return False
    return value.dtype == result.dtype


def _goes_with_column(ready: Prepared, read: Value, index: Index | None, last: int | None) -> bool:
    """Return whether what is read is one number, or a row of numbers, one for each column."""
    if index is None or read in ready.uniform:
        return index is not None
    return all(
        loop is None or (loop == last and stride == read.dtype.itemsize)
        for loop, stride in zip(index, ready.layouts[read].strides, strict=True)
    )


class _Schedule:
    """List scheduling: each kernel takes in all that runs over its space and can run by now."""

    def __init__(self, ready: Prepared, kept: set[Value]):
        self.ready, self.kept = ready, kept
        self.done: set[Value] = set()
        # What is left to run: instructions whose results are kept.
        self.left = [
            i
            for i in ready.program.instructions
            if ready.kinds[i] == "call" or any(value in kept for value in i.outputs)
        ]
        self.needs = {
            i: {root for root in leaves(ready, kept, i.inputs) if root in ready.producers} for i in self.left
        }
        # Of these, what is read at places that only memory can be read at.
        self.needs_memory = {i: self.needs[i] & _read_elsewhere(ready, kept, i) for i in self.left}

    def pieces(self) -> list[Piece]:
        found: list[Piece] = []
        while self.left:
            first = next(i for i in self.left if self.ready_to_run(i))
            kind = self.ready.kinds[first]
            if kind == "loop":
                members = self.joined(first)
                found.append(Kernel(self.space(first), [i.outputs[0] for i in members]))
            elif kind == "product":
                product = self.product(first)
                found.append(product)
                members = [first, *(i for i in self.left if i.outputs[0] is product.no_nan)]
            else:
                members = [first]
                found.append(Call(first))
            taken = set(members)
            self.left = [i for i in self.left if i not in taken]
            self.done.update(value for i in members for value in i.outputs)
        return found

    def ready_to_run(self, instruction: Instruction) -> bool:
        if not self.needs[instruction] <= self.done:
            return False
        # Calls run in the order of the program, as some may have effects.
        return self.ready.kinds[instruction] != "call" or all(
            i is instruction or self.ready.kinds[i] != "call"
            for i in self.left[: self.left.index(instruction) + 1]
        )

    def product(self, instruction: Instruction) -> Product:
        """Return a product, with the condition that no element of it is NaN, if there is one to look for."""
        (result,) = instruction.outputs
        if not is_generated(self.ready, instruction):
            return Product(instruction)
        if instruction.name in CONVOLUTIONS:
            return Product(instruction, True)
        for condition in self.left:
            (value, *others), of = condition.outputs, condition.inputs
            if condition.name == "all" and value.size == 1 and not others:
                compared = self.ready.producers.get(of[0])
                if compared and compared.name == "equal" and compared.inputs == (result, result):
                    return Product(instruction, True, no_nan=value)
        return Product(instruction, True)

    @staticmethod
    def space(instruction: Instruction) -> tuple[int, ...]:
        reduces = instruction.name in REDUCTIONS
        return space_of((instruction.inputs if reduces else instruction.outputs)[0].shape)

    def joined(self, first: Instruction) -> list[Instruction]:
        """Return the instructions that run in one kernel with the first, in their order."""
        space = self.space(first)
        members = {first: None}
        within: set[Value] = set()  # computed in this kernel element by element, so that it can be read in it
        if first.name in ELEMENTWISE:
            within.add(first.outputs[0])
        # One pass is enough, as an instruction comes after those that it needs.
        for instruction in self.left:
            if instruction in members or self.ready.kinds[instruction] != "loop":
                continue
            if (
                self.space(instruction) == space
                and self.needs[instruction] <= self.done | within
                and self.needs_memory[instruction] <= self.done
            ):
                members[instruction] = None
                if instruction.name in ELEMENTWISE:
                    within.add(instruction.outputs[0])
        return [i for i in self.left if i in members]
