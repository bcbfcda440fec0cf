"""The gradient of a Program: two Programs, one there and one back.

What the tape does going back is noted behind what was done going there, in one recorder. That one line of instructions
is then cut in two: `carve` finds what belongs to the way back, and what it needs from the way there. Those values are
the residuals. Inputs and constants are not copied; a view is looked at again instead of being kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ...dtypes import FLOATS
from ...errors import GradientError, PullbackError, fail
from ...modes import MODES, Switch
from ...ops.create import full_like
from ...ops.record import REPLAY, Plan
from ...tape import Alias, Edge, Label, Node, attach, edge, walk
from ...tensor import Storage, Tensor, wrap
from ..compare import same
from ..passes import optimize, prune
from ..program import Input, Instruction, Program, Value
from .recorder import Recorder
from .replay import replay
from .symbol import Buffer, Number, Symbol

INPUT, RESIDUAL, COTANGENT = "input", "residual", "cotangent"
NUMBERS: dict[str, Any] = {"f": 0.5, "i": 1}  # stand in for numbers that are not known
PRIVATE: dict[str, Any] = {"grad": True, "pack": None, "autocast": None, "watch": None}  # modes of tapes of our own


class Pair(NamedTuple):
    """A Program's gradient."""

    forward: Program  # gives the original results, then the residuals
    backward: Program  # gives the cotangents of wanted inputs
    sources: tuple[tuple[str, int], ...]  # for each input of `backward`: ("input" | "residual" | "cotangent", which)
    gives: tuple[int | None, ...]  # for each wanted input: which output of `backward`; None: nothing flows there

    def operands(self, inputs: Sequence[Any], residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        """What `backward` is to be run on. A cotangent is asked for by the number of its result."""
        parts = {INPUT: inputs, RESIDUAL: residuals, COTANGENT: cotangents}
        return [parts[kind][which] for kind, which in self.sources]

    def reached(self, which: set[int]) -> list[bool]:
        """For each output of `backward`: does it depend on the cotangents of these results?"""
        ways = zip(self.backward.inputs, self.sources, strict=True)
        found = {given.value for given, (kind, k) in ways if kind == COTANGENT and k in which}
        for instruction in self.backward.instructions:
            if not found.isdisjoint(instruction.values):
                found.update(instruction.outputs)
        return [v in found for v in self.backward.outputs]

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


def carve(program: Program, late: Iterable[Value], results: Sequence[Value], free: Iterable[Value] = ()) -> Carved:
    """What makes `results` and comes after the inputs `late`, and what it needs of the rest.

    `free` inputs are there at both times: what depends on nothing else is computed again and not kept. So are views,
    and what a checkpoint computes again.
    """
    makers = program.makers()
    inputs = {given.value for given in program.inputs}
    after, everywhere = set(late), {*free, *program.constants}
    for instruction in program.instructions:
        if not after.isdisjoint(instruction.values):
            after.update(instruction.outputs)
        elif everywhere.issuperset(instruction.values):
            everywhere.update(instruction.outputs)

    def again(value: Value, maker: Instruction) -> bool:
        """Is this made anew on the way back?"""
        if value in after or value in everywhere or maker.region:
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


def pair_of(
    name: str,
    inputs: Sequence[Input],
    recorder: Recorder,
    results: Sequence[Value],
    cotangents: dict[int, Value],
    pulled: Sequence[Value | None],
) -> Pair:
    """The pair of all that a recorder has noted; `cotangents` by the number of their result, `pulled` by input."""
    late = named(cotangents.values(), "argument", "g")
    found = [v for v in pulled if v is not None]
    whole = optimize(
        Program(name, [*inputs, *late], recorder.constants, recorder.instructions, [*results, *found]).check()
    )
    there, back = whole.outputs[: len(results)], whole.outputs[len(results) :]
    cut = carve(whole, cotangents.values(), back)
    forward = optimize(prune(whole.replaced(inputs=inputs, outputs=[*there, *cut.residuals])))
    place = {given.value: (INPUT, i) for i, given in enumerate(inputs)}
    place.update((v, (RESIDUAL, i)) for i, v in enumerate(cut.residuals))
    place.update((v, (COTANGENT, k)) for k, v in cotangents.items())
    givens = [i for i in inputs if i.value in set(cut.inputs)] + named(cut.residuals, "argument", "saved") + late
    backward = optimize(Program(f"{name} backward", givens, cut.constants, cut.instructions, back).check())
    count = iter(range(len(back)))
    gives = tuple([None if v is None else next(count) for v in pulled])
    return Pair(forward, backward, tuple([place[i.value] for i in givens]), gives)


# -- walking back in a recorder ----------------------------------------------------------------------------------------


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
        found = walk_back(seeds, targets) if seeds and targets else {}  # type: ignore[arg-type]
        pulled = [None if e is None or e not in found else recorder.operand(found[e]) for e in wanted]
        cotangents = {k: g.value() for k, g in symbols.items()}
    return pair_of(name, inputs, recorder, results, cotangents, pulled)


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


class ProgramNode(Node):
    """A Program that ran: its pullback is another one.

    `edges` are those of the wanted inputs, `arrays` all inputs and `residuals` what the forward Program gave beyond the
    results; `run` runs the backward Program. A gradient that is to be differentiated again replays it op by op.
    """

    def __init__(
        self,
        program: Program,
        pair: Pair,
        wanted: Sequence[int],
        edges: Sequence[Edge | None],
        arrays: Sequence[Any],
        residuals: Sequence[Any],
        run: Callable[[Sequence[Any]], Sequence[Any]],
        storages: Iterable[Storage] = (),
    ) -> None:
        shapes, dtypes = [v.shape for v in program.outputs], [v.dtype for v in program.outputs]
        one = len(shapes) == 1
        super().__init__(Label(program.name), edges, shapes[0] if one else shapes, dtypes[0] if one else dtypes)
        self.outputs, self.picks = len(shapes), {}
        self.program, self.pair, self.wanted, self.run = program, pair, wanted, run
        self.plan = Plan(tuple(range(len(arrays) + len(residuals))), (), ())
        self.saved, self.guards = [*arrays, *residuals], list(storages) or [Storage(None)]
        if MODES.pack is not None:
            MODES.pack(self)

    def hang(self, outs: Sequence[Tensor]) -> None:
        """Give the results their places on the tape."""
        for k in self.pair.differentiable:
            attach(outs[k], self.result(k, outs[k]._array))

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        gs = list(g) if self.outputs > 1 else [g]
        some = next(part for part in gs if part is not None)
        given = {k for k in self.pair.differentiable if gs[k] is not None}
        for k in self.pair.differentiable:
            if gs[k] is None:
                gs[k] = full_like(
                    some, value=0.0, shape=self.program.outputs[k].shape, dtype=self.program.outputs[k].dtype
                )
        values = self.values()
        n = len(self.program.inputs)
        if record:
            check_replay(self.program, self.pair, self.wanted)
            return zip(self.edges, self.replayed(values[:n], gs), strict=True)
        pulled = self.run(self.pair.operands(values[:n], values[n:], gs))
        if len(given) < len(self.pair.differentiable):  # where nothing comes from, nothing arrives
            pulled = [g if flows else None for g, flows in zip(pulled, self.pair.reached(given), strict=True)]
        return zip(self.edges, [None if i is None else pulled[i] for i in self.pair.gives], strict=True)

    def replayed(self, arrays: Sequence[Any], gs: list[Any]) -> Iterable[Any]:
        """The cotangents as Tensors on the tape."""
        xs: list[Any] = [wrap(x) if hasattr(x, "shape") else x for x in arrays]
        for i, e in zip(self.wanted, self.edges, strict=True):
            if e is not None:
                attach(xs[i], Alias(e))
        needed = [i in self.wanted and self.edges[self.wanted.index(i)] is not None for i in range(len(xs))]
        places = self.pair.differentiable

        def again(*inputs: Any) -> Any:
            outs = replay(self.program, inputs)
            return tuple([outs[k] for k in places])

        pulled = REPLAY[0](again, xs, {}, needed, [gs[k] for k in places])
        return [pulled[i] for i in self.wanted]


def frozen(array: Any) -> Any:
    """A symbol for what is there now, whatever is written there later."""
    if type(array) is not Symbol:
        return array
    value = array.value()
    return Symbol(Buffer(value, array.device), value)
