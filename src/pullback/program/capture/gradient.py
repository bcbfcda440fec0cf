"""The gradient of a Program: two Programs, one there and one back.

What the tape does going back is noted behind what was done going there, in one recorder. That one line of instructions
is then cut in two: `carve` finds what belongs to the way back, and what it needs from the way there. Those values are
the residuals. Inputs and constants are not copied; a view is looked at again instead of being kept.

There is a way back for each set of results whose cotangents came: what nobody used contributes nothing, as on the tape.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ...dtypes import FLOATS
from ...errors import GradientError, PullbackError, fail
from ...modes import MODES, Switch
from ...ops.record import REPLAY, Plan
from ...tape import Alias, Edge, Label, Node, attach, edge
from ...tensor import Storage, Tensor, wrap
from ..compare import same
from ..passes import optimize, prune
from ..program import Input, Instruction, Program, Value
from .recorder import Recorder
from .replay import replay
from .symbol import Buffer, Number, Symbol
from .walks import PRIVATE, Mirror, Noted, noted_walk, standing, walk_back

INPUT, RESIDUAL, COTANGENT = "input", "residual", "cotangent"
NUMBERS: dict[str, Any] = {"f": 0.5, "i": 1}  # stand in for numbers that are not known
Run = Callable[[Sequence[Any]], Sequence[Any]]


class Pair(NamedTuple):
    """A Program's gradient."""

    forward: Program  # gives the original results, then the residuals
    backward: Program  # gives the cotangents of wanted inputs
    sources: tuple[tuple[str, int], ...]  # for each input of `backward`: ("input" | "residual" | "cotangent", which)
    gives: tuple[int | None, ...]  # for each wanted input: which output of `backward`; None: nothing flows there
    fewer: Callable[[frozenset[int]], Pair] | None = None  # the pair for the cotangents of just these results

    def operands(self, inputs: Sequence[Any], residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """What `backward` is to be run on. A cotangent is asked for by the number of its result."""
        parts = {INPUT: inputs, RESIDUAL: residuals, COTANGENT: cotangents}
        return [parts[kind][which] for kind, which in self.sources]

    @property
    def differentiable(self) -> list[int]:
        """The results whose cotangents matter."""
        return [which for kind, which in self.sources if kind == COTANGENT]


# -- cutting a line of instructions in two -----------------------------------------------------------------------------


class Carved(NamedTuple):
    """The way back."""

    instructions: list[Instruction]
    constants: dict[Value, Any]
    inputs: list[Value]  # those it reads
    residuals: list[Value]  # that the way there has to keep for it


def carve(
    program: Program,
    late: Iterable[Value],
    results: Sequence[Value],
    free: Iterable[Value] = (),
    there: Iterable[Value] | None = None,
) -> Carved:
    """What makes `results` and comes after the inputs `late`, and what it needs of the rest.

    `free` inputs are there at both times: what depends on nothing else is computed again and not kept. So are views,
    and what a checkpoint computes again. With `there`, just these values are kept, and all else is made anew.
    """
    makers = program.makers()
    inputs = {given.value for given in program.inputs}
    after, everywhere, known = set(late), {*free, *program.constants}, there if there is None else set(there)
    for instruction in program.instructions:
        if not after.isdisjoint(instruction.values):
            after.update(instruction.outputs)
        elif everywhere.issuperset(instruction.values):
            everywhere.update(instruction.outputs)

    def again(value: Value, maker: Instruction) -> bool:
        """Is this made anew on the way back?"""
        if value in after:
            return True
        if known is not None:
            return value not in known
        if value in everywhere or maker.region:
            return True
        if not maker.op.view:
            return False
        base = maker.inputs[0]
        return base in inputs or base in everywhere or base.nbytes <= value.nbytes

    needed: dict[Value, None] = {}
    mine: set[Instruction] = set()
    stack = list(results)
    while stack:
        value = stack.pop()
        if value in needed:
            continue
        needed[value] = None
        maker = makers.get(value)
        if maker is not None and again(value, maker):
            mine.add(maker)
            stack.extend(maker.values)
    kept = [v for i in program.instructions if i not in mine for v in i.outputs if v in needed]
    return Carved(
        [i for i in program.instructions if i in mine],
        {v: array for v, array in program.constants.items() if v in needed},
        [given.value for given in program.inputs if given.value in needed and given.value not in after],
        kept,
    )


def named(values: Iterable[Value], kind: str, name: str) -> list[Input]:
    return [Input(value, kind, f"{name}{i}") for i, value in enumerate(values)]


class Round(NamedTuple):
    """The way there and the way back in one line of instructions."""

    name: str
    inputs: Sequence[Input]
    results: Sequence[Value]
    cotangents: dict[int, Value]  # by the number of their result
    pulled: Sequence[Value | None]  # for each wanted input

    def whole(self, recorder: Recorder, more: Sequence[Value | None] = ()) -> tuple[Program, list[Value], list[Value]]:
        """All that the recorder has noted, as a Program; its results, and what it pulls: the last of `more`, if any."""
        late = named(self.cotangents.values(), "argument", "g")
        found = [v for v in self.pulled if v is not None]
        outputs = [*self.results, *found, *[v for v in more if v is not None]]
        program = Program(self.name, [*self.inputs, *late], recorder.constants, recorder.instructions, outputs)
        program = optimize(program.check())
        n = len(self.results)
        return program, list(program.outputs[:n]), list(program.outputs[n + len(found) if more else n :])

    def pair(self, recorder: Recorder, mirror: Mirror | None, goals: Sequence[int | None]) -> Pair:
        """Cut in two."""
        whole, there, back = self.whole(recorder)
        cut = carve(whole, self.cotangents.values(), back)
        forward = optimize(prune(whole.replaced(inputs=self.inputs, outputs=[*there, *cut.residuals])))
        pair = self.back(forward, cut, cut.residuals, back, self.pulled, self.cotangents)
        if mirror is None:
            return pair
        noted = Noted(recorder)

        def fewer(given: frozenset[int]) -> Pair:
            """The way back is walked again, from just these results. What it needs was kept for all of them."""
            again = noted.resumed()
            with Switch(capture=again, **PRIVATE):
                seeds = [(n, standing(g)) for n, (k, g) in enumerate(self.cotangents.items()) if k in given]
                found = mirror.walk(seeds)
                pulled = [None if n is None or found[n] is None else again.operand(found[n]) for n in goals]
            if not any(pulled):
                return Pair(forward, Program(f"{self.name} backward", (), {}, (), ()), (), (None,) * len(pulled))
            whole, _, back = self.whole(again, pulled)
            less = carve(whole, self.cotangents.values(), back, there=cut.residuals)
            if not set(less.inputs) <= set(cut.inputs):
                what = "going back from some of its results needs an input that going back from all of them does not"
                fail(GradientError, f"{self.name}: {what}", "give each result a cotangent, zeros where it is not used")
            return self.back(
                forward, less, cut.residuals, back, pulled, {k: g for k, g in self.cotangents.items() if k in given}
            )

        return pair._replace(fewer=fewer)

    def back(
        self, forward: Program, cut: Carved, kept: Sequence[Value], back: Sequence[Value],
        pulled: Sequence[Value | None], cotangents: dict[int, Value],
    ) -> Pair:  # fmt: skip
        """The pair with this way back; `kept` is what `forward` gives beyond the results."""
        place = {given.value: (INPUT, i) for i, given in enumerate(self.inputs)}
        place.update((v, (RESIDUAL, i)) for i, v in enumerate(kept))
        place.update((v, (COTANGENT, k)) for k, v in cotangents.items())
        givens = [i for i in self.inputs if i.value in set(cut.inputs)]
        givens += [*named(cut.residuals, "argument", "saved"), *named(cotangents.values(), "argument", "g")]
        program = Program(f"{self.name} backward", givens, cut.constants, cut.instructions, back)
        count = iter(range(len(back)))
        gives = tuple([None if v is None else next(count) for v in pulled])
        return Pair(forward, optimize(program.check()), tuple([place[i.value] for i in givens]), gives)


# -- the gradient of what was recorded, and of a Program ---------------------------------------------------------------


def pullback_of_graph(
    name: str, recorder: Recorder, inputs: Sequence[Input], outs: Sequence[Any], wanted: Sequence[Edge | None]
) -> Pair:
    """The pair of what was recorded on the tape and in `recorder`, from the edges `wanted` to the tensors `outs`.

    This is the tape's own gradient, which knows of detach(), no_grad() and Functions; a Program does not.
    """
    with Switch(capture=recorder, **PRIVATE):
        arrays = [x._array if isinstance(x, Tensor) else x for x in outs]
        edges = [edge(x) if isinstance(x, Tensor) and x._array.dtype in FLOATS else None for x in outs]
        results = [recorder.operand(array) for array in arrays]
        symbols = {
            k: recorder.symbol(a.shape, a.dtype, device=a.device)
            for k, (a, e) in enumerate(zip(arrays, edges, strict=True))
            if e is not None
        }
        seeds = [(edges[k], g) for k, g in symbols.items()]
        targets = [e for e in dict.fromkeys(wanted) if e is not None]
        mirror: Mirror | None = None
        if len(seeds) == 1 or not targets:  # no fewer results than all of them
            found = walk_back(seeds, targets) if targets else {}  # type: ignore[arg-type]
        else:
            found, mirror = noted_walk(recorder, seeds, targets)  # type: ignore[arg-type]
        pulled = [None if e is None or e not in found else recorder.operand(found[e]) for e in wanted]
        cotangents = {k: g.value() for k, g in symbols.items()}
    place = {e: n for n, e in enumerate(targets)}
    goals = [None if e is None else place[e] for e in wanted]
    return Round(name, inputs, results, cotangents, pulled).pair(recorder, mirror, goals)


def pullback_of(program: Program, wanted: Sequence[int]) -> Pair:
    """The pair of a Program by its inputs `wanted`: run it again on the tape, on symbols, and walk back.

    A Program says what is computed, not what a user cut from the graph: its gradient is that of the function it is.
    """
    recorder = Again()
    with Switch(capture=recorder, **PRIVATE):
        given: list[Any] = []
        inputs: list[Input] = []
        for i, (value, kind, label) in enumerate(program.inputs):
            if value.weak:
                fresh: Any = Number(f"n{i}", NUMBERS[value.dtype.kind], {})
                inputs.append(Input(recorder.number(fresh), kind, label))
            else:
                fresh = wrap(recorder.symbol(value.shape, value.dtype, value.strides))
                fresh._requires_grad = i in wanted
                inputs.append(Input(fresh._array.value(), kind, label))
            given.append(fresh)
        recorder.base = len(recorder.numbers)
        outs = replay(program, given)
        edges = [edge(given[i]) if isinstance(given[i], Tensor) else None for i in wanted]
    return pullback_of_graph(program.name, recorder, inputs, outs, edges)


class Again(Recorder):
    """Notes a Program that is run again: there are no numbers but its own."""

    def number(self, x: Number) -> Value:
        if self.base and x.source not in self.numbers:
            fail(PullbackError, f"the gradient computes {x.source} from a number that differs from call to call",
                 "make the number a tensor")  # fmt: skip
        return super().number(x)


# -- a Program as one op on the tape -----------------------------------------------------------------------------------


REPLAYABLE: WeakKeyDictionary[Program, bool] = WeakKeyDictionary()


def check_replay(program: Program, pair: Pair, wanted: Sequence[int]) -> None:
    """A Program that is run again knows nothing of detach() and Functions: is its gradient still the tape's?"""
    if program not in REPLAYABLE:
        places = [i for i, given in zip(wanted, pair.gives, strict=True) if given is not None]
        other = pullback_of(program, places)
        REPLAYABLE[program] = None not in other.gives and same(other.backward, pair.backward)
    if not REPLAYABLE[program]:
        fail(
            GradientError,
            f"{program.name} cuts its graph (detach, no_grad, a Function): compiled, it has no second derivatives",
            "differentiate the function itself where second derivatives are wanted",
        )


class Ways:
    """The ways back from a Program's results: one for each set of cotangents that came, built when it first did."""

    def __init__(self, pair: Pair, build: Callable[[Program], Run]) -> None:
        self.pair, self.build, self.lock = pair, build, threading.RLock()
        self.known: dict[frozenset[int], tuple[Pair, Run]] = {}
        self.known[frozenset(pair.differentiable)] = pair, build(pair.backward)

    def __call__(self, given: frozenset[int]) -> tuple[Pair, Run]:
        """The pair for the cotangents of these results, and what runs its backward Program."""
        if given not in self.known:
            with self.lock:
                assert self.pair.fewer is not None
                pair = self.pair.fewer(given)
                self.known[given] = pair, self.build(pair.backward)
        return self.known[given]


class ProgramNode(Node):
    """A Program that ran: its pullback is another one.

    `edges` are those of the wanted inputs, `arrays` all inputs and `residuals` what the forward Program gave beyond the
    results. A gradient that is to be differentiated again replays the Program op by op.
    """

    def __init__(
        self,
        program: Program,
        ways: Ways,
        wanted: Sequence[int],
        edges: Sequence[Edge | None],
        arrays: Sequence[Any],
        residuals: Sequence[Any],
        storages: Mapping[int, Storage] | None = None,
    ) -> None:
        shapes, dtypes = [v.shape for v in program.outputs], [v.dtype for v in program.outputs]
        one = len(shapes) == 1
        super().__init__(Label(program.name), edges, shapes[0] if one else shapes, dtypes[0] if one else dtypes)
        self.outputs, self.picks = len(shapes), {}
        self.program, self.ways, self.wanted, self.places = program, ways, wanted, ways.pair.differentiable
        self.plan = Plan(tuple(range(len(arrays) + len(residuals))), (), ())
        self.storages_of = storages or {}  # where inputs lie that are needed and were not copied
        self.saved, self.guards = [*arrays, *residuals], list(self.storages_of.values()) or [Storage(None)]
        if MODES.pack is not None:
            MODES.pack(self)

    def hang(self, outs: Sequence[Tensor]) -> None:
        """Give the results their places on the tape."""
        for k in self.places:
            attach(outs[k], self.result(k, outs[k]._array))

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        gs = list(g) if self.outputs > 1 else [g]
        given = [k for k in self.places if gs[k] is not None]
        n = len(self.program.inputs)
        if record:
            check_replay(self.program, self.ways.pair, self.wanted)
            return zip(self.edges, self.replayed(self.values()[:n], gs, given), strict=True)
        pair, run = self.ways(frozenset(given))
        values = self.values_for(pair)
        pulled = run(pair.operands(values[:n], values[n:], gs)) if pair.backward.outputs else ()
        return zip(self.edges, [None if i is None else pulled[i] for i in pair.gives], strict=True)

    def values_for(self, pair: Pair) -> Sequence[Any]:
        """What was saved; refused if something has been written over that this way back needs."""
        if type(self.saved) is not list:
            return self.values()
        guards = self.guards
        self.guards = [self.storages_of[i] for kind, i in pair.sources if kind == INPUT and i in self.storages_of]
        try:
            return self.values()
        finally:
            self.guards = guards

    def replayed(self, arrays: Sequence[Any], gs: list[Any], given: Sequence[int]) -> Iterable[Any]:
        """The cotangents as Tensors on the tape, from those of the results `given`."""
        xs: list[Any] = [wrap(x) if hasattr(x, "shape") else x for x in arrays]
        for i, e in zip(self.wanted, self.edges, strict=True):
            if e is not None:
                attach(xs[i], Alias(e))
        needed = [i in self.wanted and self.edges[self.wanted.index(i)] is not None for i in range(len(xs))]

        def again(*inputs: Any) -> Any:
            outs = replay(self.program, inputs)
            return tuple([outs[k] for k in given])

        pulled = REPLAY[0](again, xs, {}, needed, [gs[k] for k in given])
        return [pulled[i] for i in self.wanted]


def frozen(array: Any) -> Any:
    """A symbol for what is there now, whatever is written there later."""
    if type(array) is not Symbol:
        return array
    value = array.value()
    return Symbol(Buffer(value, array.device), value)
