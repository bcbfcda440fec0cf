"""Walking back in a recorder; and walking the same way later, from fewer of its ends.

What a walk does at each node is noted: the instructions that lead from the node's cotangents to those of its inputs. A
Mirror is a tape of nothing but such notes. It can be walked when the tape that it was made from is gone: no array, no
tensor and no function of the user's is kept for it. What no cotangent reaches is not in such a walk, as in any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from ...errors import GradientError, fail
from ...hooks import run_hooks
from ...modes import MODES, Switch
from ...ops.arithmetic import add
from ...ops.create import full_like
from ...ops.record import Op
from ...tape import Edge, Label, Node, Pick, reachable, walk
from ...tensor import Tensor, wrap
from ..program import Instruction, Value
from .recorder import Origin, Recorder
from .replay import again
from .symbol import Buffer, Symbol

PRIVATE: dict[str, Any] = {"grad": True, "pack": None, "autocast": None, "watch": None}  # modes of tapes of our own


@contextmanager
def cut_off(edges: Iterable[Edge]) -> Iterator[None]:
    """These are where a walk ends: what lies below them, and their hooks, are somebody else's."""
    before = [(e, e._hooks, None if isinstance(e, Tensor) else e.edges) for e in dict.fromkeys(edges)]
    try:
        for e, _, _ in before:
            e._hooks = None
            if not isinstance(e, Tensor):
                e.edges = ()
        yield
    finally:
        for e, hooks, below in before:
            e._hooks = hooks
            if not isinstance(e, Tensor):
                assert below is not None
                e.edges = below


def walk_back(seeds: Sequence[tuple[Edge, Any]], targets: Sequence[Edge], record: bool = False) -> dict[Edge, Any]:
    """The cotangents that reach `targets`, which end the walk."""
    with Switch(**PRIVATE), cut_off(targets):
        return walk(seeds, keep=True, record=record, targets=targets)


def noted_walk(
    recorder: Recorder, seeds: Sequence[tuple[Edge, Any]], targets: Sequence[Edge]
) -> tuple[dict[Edge, Any], Mirror]:
    """The same, and how it was done; the mirror's ends and goals are the seeds' edges and the targets, in order."""
    with cut_off(targets):
        notes = Notes(recorder, [e for e, _ in seeds], [recorder.operand(g) for _, g in seeds], targets)
        with notes.listening(), Switch(**{**PRIVATE, "watch": notes.note}):
            found = walk(seeds, keep=True, record=False, targets=targets)
        return found, notes.mirror()


# -- what was noted ----------------------------------------------------------------------------------------------------


class Noted:
    """What a recorder has noted up to now. It can be gone on with, any number of times."""

    def __init__(self, recorder: Recorder) -> None:
        self.instructions, self.clock = tuple(recorder.instructions), tuple(recorder._clock)
        self.constants, self.numbers = dict(recorder.constants), dict(recorder.numbers)
        self.count = recorder._count

    def resumed(self) -> Again:
        """A recorder that has noted this."""
        recorder = Again()
        recorder.instructions, recorder._clock = list(self.instructions), list(self.clock)
        recorder._origins = [Origin(i.position, None, i.phase, i.region, i) for i in self.instructions]
        recorder.constants, recorder.numbers = dict(self.constants), dict(self.numbers)
        recorder._count = self.count
        return recorder


def standing(value: Any) -> Any:
    """What stands for a value of the recorder that is at work."""
    if type(value) is not Value:
        return value
    if value.weak:
        return next(number for number, known in MODES.capture.numbers.values() if known is value)
    return Symbol(Buffer(value), value)


class Again(Recorder):
    """A recorder that goes on with what was noted."""

    def __init__(self) -> None:
        super().__init__()
        self.twins: dict[Value, Any] = {}  # of cotangents in the first walk: what they are in this one


class Passage(NamedTuple):
    """From cotangents to those that a node, or a hook, makes of them."""

    given: tuple[Value | None, ...]
    others: tuple[Value, ...]  # cotangents of other nodes, which a function of the user's has kept until now
    instructions: tuple[Instruction, ...]  # those that depend on both
    pulled: tuple[Value, ...]
    devices: tuple[str, ...]  # on which they lie

    def again(self, gs: Sequence[Any], absent: Iterable[int] = ()) -> list[Any]:
        """The same for other cotangents. What depends on `absent` ones alone is None, and is not added to anything."""
        known: dict[Value, Any] = {}
        for value, g in zip(self.given, gs, strict=True):
            if value is not None:
                known[value] = None if g is None else standing(g.value())
        for value in self.others:
            if MODES.capture.twins.get(value) is None:
                fail(
                    GradientError,
                    "a hook or a Function uses another gradient, which does not come when only some results are used",
                    "give each result of the compiled function a cotangent, zeros where it is not used",
                )
            known[value] = MODES.capture.twins[value]
        none = {self.given[k] for k in absent}
        for instruction in self.instructions:
            given = [v for v in instruction.values if v in known]
            missing, made = [v for v in given if v in none], instruction.outputs[0]
            if len(missing) == len(given):
                none.update(instruction.outputs)
            if any(known[v] is None for v in missing) and len(missing) == len(given):
                known.update(dict.fromkeys(instruction.outputs))
                continue
            if missing and instruction.op is add and made not in none:
                (rest,) = [known[x] if x in known else standing(x) for x in instruction.inputs if x not in none]
                if (getattr(rest, "shape", None), getattr(rest, "dtype", None)) == (made.shape, made.dtype):
                    known[made] = rest
                    continue
            out = again(instruction, [known[x] if x in known else standing(x) for x in instruction.inputs])
            known.update(zip(instruction.outputs, out if type(out) is tuple else (out,), strict=True))
        MODES.capture.twins.update((v, x) for v, x in known.items() if v not in none)
        found = [None if v in none else known[v] if v in known else standing(v) for v in self.pulled]
        return [
            None if x is None else Symbol(Buffer(x.value(), where), x.value())
            for x, where in zip(found, self.devices, strict=True)
        ]


# -- noting ------------------------------------------------------------------------------------------------------------


class Notes:
    """Notes a walk."""

    def __init__(
        self, recorder: Recorder, ends: Sequence[Edge], seeds: Iterable[Value], targets: Sequence[Edge]
    ) -> None:
        self.recorder, self.ends, self.targets = recorder, ends, targets
        own = [e for e in reachable(ends, set(targets)) if isinstance(e, Node)]
        self.own = set(own) - set(targets)
        self.first = self.at = self.seen = len(recorder.instructions)
        self.late = set(seeds)  # what depends on cotangents ...
        self.known: set[Any] = set()  # ... and what of it will be known in another walk
        self.nodes: list[tuple[Node, list[Edge], Passage]] = []  # as they were walked
        self.hooks: dict[Node, Passage] = {}
        self.before: dict[Node, list[Value]] = {}  # cotangents of several results, as they came to hooks

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks are noted, too."""
        before = [(node, node._hooks) for node in self.own if node._hooks]
        try:
            for node, hooks in before:
                node._hooks = {0: partial(self.hook, node, hooks)}
            yield
        finally:
            for node, hooks in before:
                node._hooks = hooks

    def hook(self, node: Node, hooks: Any, g: Tensor) -> Tensor:
        """Run a node's hooks."""
        start, given = len(self.recorder.instructions), self.recorder.operand(g._array)
        out = run_hooks(hooks, g._array)
        if node.outputs == 1:
            self.hooks[node] = self.passage(start, [given], [out])
        else:
            self.before.setdefault(node, []).append(given)
        return wrap(out)

    def note(self, node: Node, g: Any, pulled: Sequence[tuple[Edge | None, Any]]) -> None:
        """A node has been walked. Others, below a rule that walks a tape of its own, belong to the rule."""
        if node not in self.own:
            return
        sent = [(e, x) for e, x in pulled if e is not None and x is not None]
        parts = g if node.outputs > 1 else [g]
        came = iter(self.before.get(node) or [self.recorder.operand(x) for x in parts if x is not None])
        given = [None if x is None else next(came) for x in parts]
        self.nodes.append((node, [e for e, _ in sent], self.passage(self.at, given, [x for _, x in sent])))
        self.at = len(self.recorder.instructions)

    def passage(self, start: int, given: Sequence[Value | None], pulled: Sequence[Any]) -> Passage:
        """What was noted since `start` and leads from the values to the symbols."""
        values = [self.recorder.operand(g) for g in pulled]
        noted = self.recorder.instructions
        for instruction in noted[self.seen :]:
            if not self.late.isdisjoint(instruction.values):
                self.late.update(instruction.outputs)
        self.seen = len(noted)
        needed, new, kept = {v for v in values if v in self.late}, set(given), []
        for n in range(len(noted) - 1, self.first - 1, -1):
            if n < start and needed <= new | self.known:  # what a function of the user's has kept until now
                break
            outputs = noted[n].outputs
            if not needed.isdisjoint(outputs) and new.isdisjoint(outputs) and self.known.isdisjoint(outputs):
                kept.append(noted[n])
                needed.difference_update(outputs)
                needed.update(v for v in noted[n].values if v in self.late)
        others = needed - new
        self.known.update(v for v in given if v is not None)
        self.known.update(v for i in kept for v in i.outputs)
        devices = [getattr(g, "device", "cpu") for g in pulled]
        return Passage(tuple(given), tuple(others), tuple(kept[::-1]), tuple(values), tuple(devices))

    def mirror(self) -> Mirror:
        """The tape of the notes."""
        made: dict[Edge, Node] = {e: End(e) for e in self.targets}

        def at(e: Edge | None) -> Node | None:
            """What stands for an edge; None where nothing leads to a target."""
            if e is None or e in made or not (isinstance(e, Pick) and e.of in made):
                return None if e is None else made.get(e)
            return put(e, Pick(made[e.of], e.index, e))

        def put(e: Any, twin: Node) -> Node:
            made[e] = twin
            twin._id, twin.position = e._id, e.position
            if e in self.hooks:
                twin._hooks = {0: partial(hooked, self.hooks[e])}
            return twin

        for node, edges, one in reversed(self.nodes):
            own: Callable[..., Node] | None = getattr(type(node), "mirrored", None)
            put(node, Step(node, [at(e) for e in edges], one) if own is None else own(node, at))
        return Mirror([at(e) for e in self.ends], [made[e] for e in self.targets])


def hooked(noted: Passage, g: Tensor) -> Tensor:
    """A hook that does what was noted."""
    return wrap(noted.again([g._array])[0])


# -- the mirror --------------------------------------------------------------------------------------------------------


class End(Node):
    """Stands for where a walk ended. It has its turn when all others had theirs."""

    def __init__(self, e: Edge) -> None:
        like = e._array if isinstance(e, Tensor) else e
        super().__init__(Label("end"), (), like.shape, like.dtype)
        self._id = 0


class Step(Node):
    """Stands for a node that was walked: it does what was noted."""

    def __init__(self, node: Node, edges: Sequence[Edge | None], noted: Passage) -> None:
        super().__init__(node.op, edges, node.shape, node.dtype)
        self.outputs, self.picks, self.noted = node.outputs, {}, noted
        ctx = getattr(node, "ctx", None)
        self.zeros = node.zeros if ctx is None else ctx._materialize
        self.nothing = isinstance(node.op, Op)  # do the rules take None for what did not come?

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        if self.outputs == 1:
            return zip(self.edges, self.noted.again([g]), strict=True)
        some = next(part for part in g if part is not None)
        gs = [
            full_like(some, value=0.0, shape=s, dtype=d)
            if part is None and value is not None and (self.zeros or not self.nothing)
            else part
            for part, value, s, d in zip(g, self.noted.given, self.shape, self.dtype, strict=True)
        ]
        absent = () if self.zeros else [k for k, part in enumerate(g) if part is None]
        return zip(self.edges, self.noted.again(gs, absent), strict=True)


class Mirror:
    """A tape that was walked once, as it was noted."""

    def __init__(self, ends: Sequence[Node | None], goals: Sequence[Node]) -> None:
        self.ends, self.goals = ends, goals

    def walk(self, seeds: Iterable[tuple[int, Any]]) -> list[Any]:
        """Back from some of the ends: for each goal the cotangent that comes there, or None."""
        given = [(e, g) for k, g in seeds if (e := self.ends[k]) is not None]
        found = walk(given, keep=True, record=False, targets=self.goals) if given else {}
        return [found.get(e) for e in self.goals]
