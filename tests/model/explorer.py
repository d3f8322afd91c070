"""Visit every state that a few actors and one store can reach, breadth first, and judge each of them.

A state is the store and one local value per actor. All are interned, so that a state is one integer (fields of bits),
and what an actor can do depends on the store and its own local value only: it is computed once for each such pair and
kept as differences of the state's integer. Properties are judged once per store, per step and per pair.

Invariant: `explore` ends with every reachable state visited, or with a fault and a shortest trace to it, or with
`exhausted` false because the limit was reached; nothing is sampled.
"""

import itertools
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

STORE_BITS = 24
LOCAL_BITS = 18


class Step(NamedTuple):
    """One atomic step: its name, what it was about, the store and the actor's local value after it."""

    name: str
    args: str
    store: Hashable
    local: Hashable


class Event(NamedTuple):
    """A step in a trace."""

    actor: str
    name: str
    args: str


class Actor(Protocol):
    """A process: where it starts, and every step that it can take next."""

    name: str

    @property
    def start(self) -> Hashable: ...

    def steps(self, store: Any, local: Any) -> Iterable[Step]: ...


class System(Protocol):
    """What is explored. Each `fault` returns the broken property, or an empty string."""

    actors: list[Actor]

    @property
    def start(self) -> Hashable: ...

    def store_fault(self, store: Any) -> str: ...
    def step_fault(self, before: Any, after: Any) -> str: ...
    def actor_fault(self, store: Any, actor: Actor, local: Any) -> str: ...


@dataclass
class Result:
    """What an exploration found."""

    states: int = 0
    steps: int = 0
    fault: str = ""
    trace: list[Event] = field(default_factory=list)
    exhausted: bool = True


class Interned:
    """Values numbered in the order in which they came."""

    def __init__(self, bits: int) -> None:
        self.values: list[Any] = []
        self._numbers: dict[Hashable, int] = {}
        self._limit = 1 << bits

    def number(self, value: Hashable) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
            assert found < self._limit
        return found


class Explorer:
    """One exploration; afterwards `events`, `trace` and `pairs` look at what was visited."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.stores = Interned(STORE_BITS)
        self.locals = [Interned(LOCAL_BITS) for _ in system.actors]
        self.moves: list[dict[int, tuple[int, ...]]] = [{} for _ in system.actors]
        self.before: dict[int, int] = {}
        self.result = Result()
        self._judged: set[int] = set()

    def explore(self, limit: int = 1 << 62) -> Result:
        """Visit everything (or `limit` states)."""
        start = self._pack(self.system.start, [actor.start for actor in self.system.actors])
        before = self.before = {start: -1}
        store_mask, local_mask = (1 << STORE_BITS) - 1, (1 << LOCAL_BITS) - 1
        table = [(n, STORE_BITS + n * LOCAL_BITS, self.moves[n]) for n in range(len(self.system.actors))]
        frontier, steps = [start], 0
        while frontier and len(before) < limit:
            following: list[int] = []
            for state in frontier:
                store = state & store_mask
                for n, shift, moves in table:
                    key = store | ((state >> shift) & local_mask) << STORE_BITS
                    found = moves.get(key)
                    if found is None:
                        found = moves[key] = self._moves(n, key, state)
                        if self.result.fault:
                            self.result.states, self.result.steps = len(before), steps
                            return self.result
                    steps += len(found)
                    for difference in found:
                        reached = state + difference
                        if reached not in before:
                            before[reached] = state
                            following.append(reached)
            frontier = following
        self.result.states, self.result.steps, self.result.exhausted = len(before), steps, not frontier
        return self.result

    def _pack(self, store: Hashable, values: list[Hashable]) -> int:
        state = self.stores.number(store)
        for n, value in enumerate(values):
            state |= self.locals[n].number(value) << (STORE_BITS + n * LOCAL_BITS)
        return state

    def _pair(self, n: int, key: int) -> tuple[Hashable, Hashable]:
        return self.stores.values[key & ((1 << STORE_BITS) - 1)], self.locals[n].values[key >> STORE_BITS]

    def _moves(self, n: int, key: int, state: int) -> tuple[int, ...]:
        """Compute and judge what actor `n` can do in `state`; a fault goes into the result."""
        store, local = self._pair(n, key)
        actor, system, result = self.system.actors[n], self.system, self.result
        result.fault = system.actor_fault(store, actor, local)
        if result.fault:
            result.trace = self.trace(state)
            return ()
        found = []
        for step in actor.steps(store, local):
            if step.store != store:
                result.fault = system.step_fault(store, step.store) or system.store_fault(step.store)
                if result.fault:
                    result.trace = [*self.trace(state), Event(actor.name, step.name, step.args)]
                    return ()
            difference = self._difference(n, key, step)
            if difference:
                found.append(difference)
        return tuple(found)

    def _difference(self, n: int, key: int, step: Step) -> int:
        store = self.stores.number(step.store) - (key & ((1 << STORE_BITS) - 1))
        local = self.locals[n].number(step.local) - (key >> STORE_BITS)
        return store + (local << (STORE_BITS + n * LOCAL_BITS))

    def events(self, state: int) -> Iterator[tuple[Event, int]]:
        """Return each step that is possible in a state, and the state after it."""
        for n, actor in enumerate(self.system.actors):
            shift = STORE_BITS + n * LOCAL_BITS
            local = (state >> shift) & ((1 << LOCAL_BITS) - 1)
            key = (state & ((1 << STORE_BITS) - 1)) | local << STORE_BITS
            for step in actor.steps(*self._pair(n, key)):
                yield Event(actor.name, step.name, step.args), state + self._difference(n, key, step)

    def way(self, state: int) -> list[int]:
        """Return the states of a shortest way from the start to a visited state, both included."""
        way = [state]
        while (state := self.before[state]) >= 0:
            way.append(state)
        return way[::-1]

    def trace(self, state: int) -> list[Event]:
        """Return the steps of a shortest way from the start to a visited state."""
        way = self.way(state)
        return [
            next(event for event, reached in self.events(previous) if reached == following)
            for previous, following in itertools.pairwise(way)
        ]

    def locals_of(self, state: int) -> dict[str, Hashable]:
        """Return what each actor knows in a state."""
        return {
            actor.name: self.locals[n].values[
                (state >> (STORE_BITS + n * LOCAL_BITS)) & ((1 << LOCAL_BITS) - 1)
            ]
            for n, actor in enumerate(self.system.actors)
        }

    def pairs(self, n: int) -> Iterator[tuple[Hashable, Hashable]]:
        """Return each pair of a store and a local value of actor `n` that some visited state has."""
        return (self._pair(n, key) for key in self.moves[n])


def run_alone(
    actor: Actor, start: Iterable[tuple[Hashable, Hashable]], never: frozenset[str]
) -> dict[Any, int]:
    """Let an actor run alone, in every way that it can, from pairs of a store and its local value.

    Steps named in `never` are not taken. Return each pair that was passed and the most steps that were left from there;
    0 is an end. A way that goes round for ever is a ValueError.
    """
    left: dict[Hashable, int] = {}
    passing: set[Hashable] = set()
    stack = list(start)
    while stack:
        pair = stack[-1]
        if pair in left:
            stack.pop()
            continue
        steps = (step for step in actor.steps(*pair) if step.name not in never)
        after = [(step.store, step.local) for step in steps if (step.store, step.local) != pair]
        missing = [other for other in after if other not in left]
        if any(other in passing for other in missing):
            raise ValueError(f"{actor.name} can go round for ever: {pair}")
        if missing:
            passing.add(pair)
            stack.extend(missing)
        else:
            left[pair] = 1 + max((left[other] for other in after), default=-1)
            passing.discard(pair)
            stack.pop()
    return left


def explore(system: System, limit: int = 1 << 62) -> Result:
    """Visit every state of a system."""
    return Explorer(system).explore(limit)
