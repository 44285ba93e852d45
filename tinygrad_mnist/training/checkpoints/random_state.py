"""The state of all random numbers that a model draws, as plain data, to go on with them later.

A generator is restored in place: whoever holds it, as a compiled step does, draws the numbers that would have
come next. Three kinds of generators are known: NumPy's ``Generator``, its older ``RandomState``, and
``random.Random`` of Python.
"""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import init
from tinygrad_mnist.training.errors import CheckpointError


def random_state(model: nn.Module) -> dict[str, Any]:
    """Return the state of the generators of a model, and of those that belong to the process.

    Parameters
    ----------
    model : Module
        The model. Generators are looked for in the attributes of its modules, and in what these hold: lists,
        tuples, dicts, and objects with attributes. One in the closure of a function is not found.

    Returns
    -------
    dict
        Plain data, as `pack` takes it. ``"generators"`` is a list of states, and ``"places"`` names for each
        attribute with a generator which of them it has: a generator that several modules share is one of
        them. ``"root"`` is that of `nn.init.manual_seed`, ``"numpy"`` and ``"python"`` are the global
        generators of `numpy.random` and `random`.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dropout(0.5, rng=0), nn.Dropout(0.5, rng=1))
    >>> state = random_state(model)
    >>> state["places"]
    {'0.rng': 0, '1.rng': 1}
    >>> ones = np.ones(8, np.float32)
    >>> first = model(ones)
    >>> set_random_state(model, state)
    >>> bool((model(ones) == first).all())
    True
    """
    places, sources = _found(_modules_of(model))
    root = init.root_seed()
    return {
        "generators": [_kind_of(source).get(source) for source in sources],
        "places": places,
        "root": None if root is None else _seed_state(root),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - a user's, too
        "python": random.getstate(),
    }


def set_random_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Set all generators to what `random_state` returned, in place.

    Parameters
    ----------
    model : Module
        A model that was built in the same way.
    state : mapping
        The state.

    Raises
    ------
    CheckpointError
        If a generator is not there, is of another class, or is shared by other modules; nothing is changed
        then.
    """
    places, sources = _found(_modules_of(model))
    before = random_state(model)
    try:
        _require_same(places, sources, state)
        _set(sources, state)
    except CheckpointError:
        raise
    except Exception as error:  # NumPy raises errors of many kinds for a state that is none
        _set(sources, before)
        raise CheckpointError(f"a state of random numbers is damaged ({error})") from error


def generators_of(owners: Mapping[str, object]) -> dict[str, Any]:
    """Return the states of the generators in some objects, in attributes and what these hold.

    Parameters
    ----------
    owners : mapping
        The objects by name: modules and others, as a loss or a source of batches. A long list or dict of
        another object is not gone through: it is data.

    Returns
    -------
    dict
        ``"generators"`` and ``"places"``, as `random_state` has them.

    Examples
    --------
    >>> generators_of({"loss": nn.Dropout(0.5, rng=0)})["places"]
    {'loss.rng': 0}
    """
    places, sources = _found(_parts_of(owners), _LONGEST)
    return {"generators": [_kind_of(source).get(source) for source in sources], "places": places}


def set_generators_of(owners: Mapping[str, object], state: Mapping[str, Any]) -> None:
    """Set the generators in some objects, in place, to what `generators_of` returned.

    A generator that is only here, or only there, is left alone: batches may make one for each pass.

    Raises
    ------
    CheckpointError
        If a generator is of another class, or a state is damaged; nothing is changed then.
    """
    places, sources = _found(_parts_of(owners), _LONGEST)
    before = [_kind_of(source).get(source) for source in sources]
    try:
        contents = {place: state["generators"][number] for place, number in state["places"].items()}
        for place in (place for place in places if place in contents):
            source, content = sources[places[place]], contents[place]
            if _class_of(source) != content["class"]:
                raise CheckpointError(f"{place} is a {_class_of(source)}, and was a {content['class']}")
            _kind_of(source).set(source, content)
    except Exception as error:
        _set_each(sources, before)
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"a state of random numbers is damaged ({error})") from error


class Generators:
    """The generators of a model, of other objects and of the process, found once, and noted often.

    Parameters
    ----------
    model : Module
        Its generators are found as by `random_state`.
    owners : mapping
        As `generators_of` takes them.

    Examples
    --------
    >>> layer = nn.Dropout(0.5, rng=0)
    >>> generators = Generators(layer, {})
    >>> generators.note()
    >>> ones = np.ones(8, np.float32)
    >>> first = layer(ones)
    >>> generators.put_back()
    >>> bool((layer(ones) == first).all())
    True
    """

    def __init__(self, model: nn.Module, owners: Mapping[str, object]) -> None:
        of_model, of_owners = _found(_modules_of(model))[1], _found(_parts_of(owners), _LONGEST)[1]
        self._sources = [*of_model, *of_owners]
        self._global = b""
        self._noted: dict[str, Any] = {}

    def note(self) -> None:
        """Keep the states that the generators have now."""
        noted, root = self._noted, init.root_seed()
        noted["generators"] = [_kind_of(source).get(source) for source in self._sources]
        noted["root"] = None if root is None else _seed_state(root)
        noted["python"] = random.getstate()
        if (now := _global_bytes()) != self._global or not now:  # to read it takes as long as all the others
            self._global, noted["numpy"] = now, np.random.get_state(legacy=False)  # noqa: NPY002

    def put_back(self) -> None:
        """Let the generators have the states that were noted last."""
        _set(self._sources, self._noted)


def _global_bytes() -> bytes:
    """Return the memory of NumPy's global generator, to compare it; none where it is of another kind."""
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(bits) is not np.random.MT19937:
        return b""
    return ctypes.string_at(bits.ctypes.state_address, 625 * 4)  # its words, and the place among them


def _set_each(sources: list[Any], contents: Sequence[Mapping[str, Any]]) -> None:
    for source, content in zip(sources, contents, strict=True):
        _kind_of(source).set(source, content)


def _set(sources: list[Any], state: Mapping[str, Any]) -> None:
    _set_each(sources, state["generators"])
    root = state["root"]
    init.set_root_seed(None if root is None else _seed(root))
    _require_inside(state["numpy"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])


def _require_same(places: dict[str, int], sources: list[Any], state: Mapping[str, Any]) -> None:
    """Raise an error if the model has other generators than the state."""
    saved = state["places"]
    faults = [f"{place} is missing" for place in saved if place not in places]
    faults += [f"{place} is unexpected" for place in places if place not in saved]
    for place in (place for place in places if place in saved):
        found, expected = _class_of(sources[places[place]]), state["generators"][saved[place]]["class"]
        if found != expected:
            faults.append(f"{place} is a {found}, and was a {expected}")
    if not faults and places != dict(saved):
        faults.append("other modules share a generator")
    if faults:
        more = "; and more" if len(faults) > 10 else ""
        raise CheckpointError(
            f"the random numbers that were saved are those of another model: {'; '.join(faults[:10])}{more}"
        )


# ---- finding generators ------------------------------------------------------------------------------------

_DEEPEST: Final = 6
"""Levels of attributes and containers below a module."""
_NO_HOLDERS: Final = (
    str,
    bytes,
    int,
    float,
    complex,
    np.ndarray,
    np.generic,
    Tensor,
    nn.Module,
    type,
    ModuleType,
)
"""What is not looked into. The modules of a model are gone through by themselves."""


_LONGEST: Final = 1000
"""Entries of a list or dict that is gone through in an object that is no module."""


def _modules_of(model: nn.Module) -> Iterator[tuple[str, object]]:
    return iter(model.named_modules())


def _parts_of(owners: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the objects that have generators, with their places; a module with all below it."""
    for name, owner in owners.items():
        if isinstance(owner, nn.Module):
            for path, module in owner.named_modules():
                yield f"{name}.{path}".removesuffix("."), module
        else:
            yield name, owner


def _found(
    owners: Iterable[tuple[str, object]], longest: float = math.inf
) -> tuple[dict[str, int], list[Any]]:
    """Return the number of the generator in each place, and the generators."""
    places: dict[str, int] = {}
    numbers: dict[int, int] = {}
    sources: list[Any] = []
    seen: set[int] = set()
    for path, owner in owners:
        seen.add(id(owner))
        for name, value in getattr(owner, "__dict__", {}).items():
            for place, source in _within(value, f"{path}.{name}".removeprefix("."), seen, _DEEPEST, longest):
                identity = id(source.bit_generator if isinstance(source, np.random.Generator) else source)
                if identity not in numbers:
                    numbers[identity] = len(sources)
                    sources.append(source)
                places[place] = numbers[identity]
    return places, sources


def _within(value: Any, place: str, seen: set[int], depth: int, longest: float) -> Iterator[tuple[str, Any]]:
    """Yield the generators in a value of an object, with their places."""
    if isinstance(value, tuple(_KINDS)):
        yield place, value
        return
    if depth == 0 or id(value) in seen or isinstance(value, _NO_HOLDERS):
        return
    seen.add(id(value))
    if isinstance(value, Mapping | list | tuple) and len(value) > longest:
        return
    if isinstance(value, Mapping):
        parts = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(str(number), entry) for number, entry in enumerate(value)]
    else:
        parts = list(getattr(value, "__dict__", {}).items())
    for name, entry in parts:
        yield from _within(entry, f"{place}.{name}", seen, depth - 1, longest)


# ---- the kinds of generators -------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """Two functions: one returns the state of a kind of generator, the other sets it."""

    get: Callable[[Any], dict[str, Any]]
    set: Callable[[Any, Mapping[str, Any]], None]


def _kind_of(source: Any) -> _Kind:
    return next(kind for base, kind in _KINDS.items() if isinstance(source, base))


def _class_of(source: Any) -> str:
    kind = type(source.bit_generator) if isinstance(source, np.random.Generator) else type(source)
    return kind.__name__


def _generator_state(generator: np.random.Generator) -> dict[str, Any]:
    bits = generator.bit_generator
    seed = bits.seed_seq
    return {
        "class": _class_of(generator),
        "state": bits.state,
        "seed": _seed_state(seed) if type(seed) is np.random.SeedSequence else None,
    }


def _set_generator(generator: np.random.Generator, content: Mapping[str, Any]) -> None:
    bits: Any = generator.bit_generator
    _require_inside(content["state"])
    if content["seed"] is None:
        bits.state = dict(content["state"])
    else:  # as unpickling does: the seed says which generators `spawn` gives
        bits.__setstate__((dict(content["state"]), _seed(content["seed"])))


def _old_state(source: np.random.RandomState) -> dict[str, Any]:
    return {"class": _class_of(source), "state": source.get_state(legacy=False)}


def _set_old(source: np.random.RandomState, content: Mapping[str, Any]) -> None:
    _require_inside(content["state"])
    source.set_state(content["state"])


def _python_state(source: random.Random) -> dict[str, Any]:
    return {"class": _class_of(source), "state": source.getstate()}


def _set_python(source: random.Random, content: Mapping[str, Any]) -> None:
    source.setstate(content["state"])


_KINDS: Final[dict[type, _Kind]] = {
    np.random.Generator: _Kind(_generator_state, _set_generator),
    np.random.RandomState: _Kind(_old_state, _set_old),
    random.Random: _Kind(_python_state, _set_python),
}
"""The kinds of generators, and how each is read and set."""


def _require_inside(state: Mapping[str, Any]) -> None:
    """Raise an error for a place outside of a buffer: NumPy takes it, and reads whatever lies there."""
    places = [(state.get("buffer_pos", 0), 4)]
    if isinstance(state["state"], Mapping):
        places.append((state["state"].get("pos", 0), 624))
    for place, size in places:
        if type(place) is not int or not 0 <= place <= size:
            raise ValueError(f"the place {place!r} is outside of a buffer of {size}")


_LARGEST_POOL: Final = 1024
"""Words in the pool of a seed; NumPy's own have 4."""


def _seed_state(seed: np.random.SeedSequence) -> dict[str, Any]:
    entropy: Any = seed.entropy
    return {
        "entropy": int(entropy) if np.ndim(entropy) == 0 else [int(number) for number in entropy],
        "spawn_key": [int(number) for number in seed.spawn_key],
        "pool_size": int(seed.pool_size),
        "children": int(seed.n_children_spawned),
    }


def _seed(state: Mapping[str, Any]) -> np.random.SeedSequence:
    entropy, key, pool = state["entropy"], state["spawn_key"], state["pool_size"]
    numbers = [*(entropy if isinstance(entropy, list) else [entropy]), *key, pool, state["children"]]
    if any(type(number) is not int for number in numbers) or not 4 <= pool <= _LARGEST_POOL:
        raise ValueError("a seed is no list of whole numbers")
    return np.random.SeedSequence(
        entropy, spawn_key=tuple(key), pool_size=pool, n_children_spawned=state["children"]
    )
