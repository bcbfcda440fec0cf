"""Control flow as instructions and as nodes of the tape: bodies become Programs, one for the way there, one back.

A loop back carries the cotangents of what was carried, and sums for the tensors outside that the body reads. A branch
back takes the branch that was taken. What either has to know of the way there is kept by it as further results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ...errors import GradientError, fail
from ...modes import MODES
from ...ops import control as ops
from ...ops.create import full_like
from ...ops.record import Plan, Spec
from ...ops.shape import permute
from ...tape import Edge, Label, Node, attach, send
from ...tensor import Storage, Tensor, wrap
from ..capture.gradient import carve, frozen, named
from ..capture.symbol import Buffer, Number, Symbol
from ..passes import optimize, prune
from ..program import Input, Instruction, Program, Value, contiguous
from .body import Body, array_of, edge_of

Edges = Sequence[Edge | None]


class Flow(Node):
    """A node of control flow: several results, and saved arrays."""

    def __init__(self, name: str, edges: Edges, outs: Sequence[Any]) -> None:
        self.specs = [Spec(y.shape, y.dtype) for y in outs]
        shapes, dtypes = [s.shape for s in self.specs], [s.dtype for s in self.specs]
        one = len(outs) == 1
        super().__init__(Label(name), edges, shapes[0] if one else shapes, dtypes[0] if one else dtypes)
        self.outputs, self.picks = len(outs), {}

    def save(self, arrays: Sequence[Any], bodies: Sequence[Body]) -> None:
        """Keep arrays; what the bodies' own nodes count on outside of them is guarded here."""
        self.plan = Plan(tuple(range(len(arrays))), (), ())
        self.saved = list(arrays)
        self.guards = [*[Storage(x) for x in arrays], *[s for body in bodies for s in guarded(body)]]
        if MODES.pack is not None:
            MODES.pack(self)

    def hang(self, outs: Sequence[Tensor], ends: Sequence[bool]) -> None:
        """Give the results their places on the tape."""
        for k, (y, end) in enumerate(zip(outs, ends, strict=True)):
            if end:
                attach(y, self.result(k, y._array))

    def cotangents(self, g: Any) -> list[Any]:
        """One for each result, zeros where nothing was sent."""
        gs = list(g) if self.outputs > 1 else [g]
        some = next(g for g in gs if g is not None)
        parts = zip(gs, self.specs, strict=True)
        return [full_like(some, value=0.0, shape=s.shape, dtype=s.dtype) if g is None else g for g, s in parts]


def sums_so_far(edges: Sequence[Edge], like: Any, zero: float) -> list[Any]:
    """What the walk that is going on has sent to these edges: taken from it, to be added to and sent again.

    So a sum is made in the order in which it is made without loops, to the last bit.
    """
    frame = sys._getframe(2)
    arrived = frame.f_locals["arrived"] if frame.f_code is send.__code__ else {}
    sums = [arrived.pop(e, None) for e in edges]
    specs = [array_of(e) for e in edges]
    return [
        full_like(like, value=zero, shape=x.shape, dtype=x.dtype) if g is None else g
        for g, x in zip(sums, specs, strict=True)
    ]


def guarded(body: Body) -> list[Storage]:
    """Memory outside that the body's nodes count on."""
    found: dict[int, Storage] = {}
    stack = [e for e in body.ends if isinstance(e, Node) and e._id > body.start]
    seen = set(stack)
    while stack:
        node = stack.pop()
        for storage in node.guards:
            array = storage.array
            if type(array) is Symbol and array.buffer in body.child.adopted:
                found[id(storage)] = storage
        new = {e for e in node.edges if isinstance(e, Node) and e._id > body.start} - seen
        seen |= new
        stack.extend(new)
    return list(found.values())


def ran(out: Any) -> list[Any]:
    """An op's results as a list."""
    return list(out) if isinstance(out, tuple) else [out]


def as_tensors(arrays: Sequence[Any], like: Sequence[Any]) -> list[Tensor]:
    """Results as tensors, each on the device that the body's lies on."""
    for y, x in zip(arrays, like, strict=False):
        if type(y) is Symbol:
            y.buffer.device = array_of(x).device
    return [wrap(y) for y in arrays[: len(like)]]


def keys_of(fixed: Sequence[Any]) -> list[Any]:
    """By which the same thing outside is known to two bodies."""
    return [f.array.value() if type(f.array) is Symbol else f.array.source for f in fixed]


# -- loops -------------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """A body's Program, and what it reads beyond what goes through the loop."""

    program: Program
    fixed: list[Any]


class Ways(NamedTuple):
    """A step there, which keeps something, and a step back."""

    there: Way
    rows: list[int]  # the xs that the way back reads again
    back: Way


def noted(name: str, inputs: Sequence[Input], body: Body, results: Sequence[Value]) -> Program:
    """Of all that a body's recorder has noted, what makes these results."""
    return optimize(prune(Program(name, inputs, body.child.constants, body.child.instructions, results)).check())


def whole(body: Body, name: str, results: Sequence[Value], gs: Sequence[Value] = ()) -> Program:
    """All that the body's recorder has noted, for these results."""
    own = [*body.inputs, *[a.inner for a in body.memory], *[f.value for f in body.fixed]]
    inputs = [*named(own, "argument", "x"), *named(gs, "argument", "g")]
    return noted(name, inputs, body, results)


def way(body: Body, program: Program, own: Sequence[Value], prefix: str) -> Way:
    """A Program with just these inputs and what it reads of the world outside."""
    program = prune(program)
    read = {v for i in program.instructions for v in i.values} | set(program.outputs)
    used = [f for f in body.fixed if f.value in read]
    inputs = [*named(own, "argument", prefix), *named([f.value for f in used], "argument", "w")]
    return Way(optimize(program.replaced(inputs=inputs).check()), [f.array for f in used])


def own_values(body: Body, carries: int) -> list[Value]:
    """The inputs of a step: what is carried, memory among it, then what it goes through."""
    return [*body.inputs[:carries], *[a.inner for a in body.memory], *body.inputs[carries:]]


def own_results(body: Body, carries: int) -> list[Value]:
    return [*body.results[:carries], *[a.now for a in body.memory], *body.results[carries:]]


def there_alone(body: Body, carries: int) -> Way:
    """A step of which nothing is kept for a way back."""
    return way(body, whole(body, "step", own_results(body, carries)), own_values(body, carries), "x")


def there_and_back(body: Body, carries: int) -> Ways:
    """The Programs of a step there and of a step back."""
    n, wants = carries, body.wants
    results, own = own_results(body, n), own_values(body, n)
    pulled = body.pull(body.outer, wanted_of(body, n), adding=True)
    with body.inside():
        value = body.child.operand
        carried = [value(g) for g in pulled.given[:n] if g is not None]
        sums = [value(g) for g in pulled.sums]
        ys = [value(g) for g in pulled.given[n:] if g is not None]
        found = [value(g) for g in pulled.leaves[:n] if g is not None]
        found += [value(g) for g in pulled.outer]
        found += [value(g) for g, want in zip(pulled.leaves[n:], wants[n:], strict=True) if want]
    late = [*carried, *sums, *ys]
    both = whole(body, "step", [*results, *found], late)
    pulls = both.outputs[len(results) :]
    cut = carve(both, late, pulls, [f.value for f in body.fixed])
    kept = [
        Laid(v, body.child.new) for v in (*cut.residuals, *[v for v in own[: n + len(body.memory)] if v in cut.inputs])
    ]
    there = both.replaced(
        instructions=[*both.instructions, *[i for x in kept for i in x.there]],
        outputs=[*both.outputs[: len(results)], *[x.stored for x in kept]],
    )
    rows = [i for i, v in enumerate(body.inputs[n:]) if v in cut.inputs]
    back = Program("step back", (), cut.constants, [*[i for x in kept for i in x.back], *cut.instructions], pulls)
    inner = [*late, *[body.inputs[n + i] for i in rows], *[x.again for x in kept]]
    return Ways(way(body, there, own, "x"), rows, way(body, back, inner, "g"))


def wanted_of(body: Body, carries: int) -> list[bool]:
    """The results whose cotangents the way back takes: carried ones that want any, and the ys on the tape."""
    return [*body.wants[:carries], *[e is not None for e in body.ends[carries:]]]


class Laid:
    """A value that is kept of each step: stacked in the order in which it lies in memory, so that it comes back so."""

    def __init__(self, value: Value, new: Callable[..., Value]) -> None:
        dims = tuple(sorted(range(value.ndim), key=lambda d: -value.strides[d]))
        spec = Spec(tuple(value.shape[d] for d in dims), value.dtype)
        steps = contiguous(spec.shape, value.dtype.itemsize)
        self.there: list[Instruction] = []
        self.back: list[Instruction] = []
        self.stored = self.again = value
        if dims != tuple(range(value.ndim)) and tuple(value.strides[d] for d in dims) == steps:
            self.stored, self.again = new(spec, steps), new(spec, steps)
            turned = tuple(sorted(range(value.ndim), key=dims.__getitem__))
            self.there = [Instruction(permute, (value,), {"dims": dims}, (self.stored,))]
            self.back = [Instruction(permute, (self.again,), {"dims": turned}, (value,))]


def note_loop(
    body: Body, carries: int, arrays: Sequence[Any], edges: Edges, length: int, reverse: bool
) -> tuple[list[Tensor], list[Any]]:
    """One instruction for all steps: its results as tensors, and the new content of memory outside."""
    n, m = carries, len(body.memory)
    arrays = [frozen(x) for x in arrays]
    ways = there_and_back(body, n) if MODES.grad and any(e is not None for e in body.ends) else None
    there = there_alone(body, n) if ways is None else ways.there
    given = [*arrays[:n], *[a.array for a in body.memory], *arrays[n:], *there.fixed]
    params = {"body": there.program, "length": length, "carries": n + m, "rows": len(arrays) - n, "reverse": reverse}
    out = ran(ops.loop(*given, **params))
    memory, out = out[n : n + m], [*out[:n], *out[n + m :]]
    outs = as_tensors(out, body.outs)
    if ways is not None:
        node = Loop(body, n, ways, arrays, edges, out, length, reverse)
        node.hang(outs, [e is not None for e in body.ends])
    return outs, memory


class Loop(Flow):
    """A loop that ran as one instruction; the way back is another."""

    def __init__(
        self, body: Body, carries: int, ways: Ways, arrays: Sequence[Any], edges: Edges, out: Sequence[Any],
        length: int, reverse: bool,
    ) -> None:  # fmt: skip
        n, wants = len(body.outs), body.wants
        wanted = [e if want else None for e, want in zip(edges, wants, strict=True)]
        mine = [e for e, want in zip(wanted[:carries], wants[:carries], strict=True) if want]
        rows = [e for e, want in zip(wanted[carries:], wants[carries:], strict=True) if want]
        super().__init__("scan", [*mine, *body.outer, *rows], out[:n])
        self.body, self.carries, self.ways, self.arrays, self.given = body, carries, ways, arrays, edges
        self.length, self.reverse = length, reverse
        self.save([*[arrays[carries + i] for i in ways.rows], *map(frozen, out[n:])], [body])

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        n, wanted = self.carries, wanted_of(self.body, self.carries)
        gs, saved = self.cotangents(g), self.values()
        # -0.0: whatever is added to it stays what it is
        sums = sums_so_far(self.body.outer, gs[0], -0.0)
        carry = [*[g for g, want in zip(gs[:n], wanted[:n], strict=True) if want], *sums]
        ys = [g for g, want in zip(gs[n:], wanted[n:], strict=True) if want]
        if record:
            return zip(self.edges, self.pull_again(carry, ys), strict=True)
        rows, (program, fixed) = [*ys, *saved], self.ways.back
        params = {"body": program, "length": self.length, "carries": len(carry), "rows": len(rows)}
        out = ops.loop(*carry, *rows, *fixed, **params, reverse=not self.reverse)
        return zip(self.edges, ran(out), strict=True)

    def pull_again(self, carry: Sequence[Any], ys: Sequence[Any]) -> list[Tensor]:
        """The cotangents on the tape: a loop that notes what steps start from, and one over the body's pullback."""
        body, n = self.body, self.carries
        pulled = body.pull(body.outer, wanted_of(body, n), adding=True, record=True)
        with body.inside():
            start = [*body.leaves[:n], *[Symbol(Buffer(a.inner, a.buffer.device), a.inner) for a in body.memory]]
        states = Body(body.child, body.start, body.leaves, [*body.outs[:n], *start], body.memory)
        outs, _ = note_loop(states, n, self.arrays, self.given, self.length, self.reverse)
        given = [[g for g in part if g is not None] for part in (pulled.given[:n], pulled.given[n:])]
        found = [[g for g in part if g is not None] for part in (pulled.leaves[:n], pulled.leaves[n:])]
        leaves = [*given[0], *pulled.sums, *given[1], *start, *body.leaves[n:]]
        back = Body(body.child, body.start, leaves, [*found[0], *pulled.outer, *found[1]], [])
        firsts = [x if isinstance(x, Tensor) else wrap(x) for x in (*carry, *ys)]
        through = [*firsts, *outs[n:]]
        arrays, edges = [*[x._array for x in through], *self.arrays[n:]], [*map(edge_of, through), *self.given[n:]]
        return note_loop(back, len(carry), arrays, edges, self.length, not self.reverse)[0]


class Endless(Flow):
    """A while_loop without a bound: it cannot be gone back through."""

    def pull(self, g: Any, record: bool) -> NoReturn:
        fail(
            GradientError,
            "a while_loop in a captured step has a gradient only if it is known how many steps it takes at most",
            "pass max_steps=n: so many steps are prepared for the way back",
            the_loop_is=self.position,
        )


# -- branches ----------------------------------------------------------------------------------------------------------


class Fork:
    """Two bodies with the same inputs and like results."""

    def __init__(self, bodies: Sequence[Body]) -> None:
        self.bodies = bodies
        self.buffers = list(dict.fromkeys(a.buffer for body in bodies for a in body.memory))  # that one of them writes
        for body in bodies:
            with body.inside():
                for buffer in self.buffers:
                    body.child.adopt(buffer)
        self.outside: dict[Any, Any] = {}  # what they read of the world around them
        for body in bodies:
            self.outside.update(zip(keys_of(body.everything), [f.array for f in body.everything], strict=True))

    def inputs(self, body: Body) -> list[Value]:
        """The values that stand for the inputs; what only the other body reads stands for nothing."""
        mine = dict(zip(keys_of(body.everything), [f.value for f in body.everything], strict=True))
        others = [mine[key] if key in mine else unread(body, x) for key, x in self.outside.items()]
        return [*body.inputs, *others]

    def results(self, body: Body) -> list[Value]:
        return [*body.results, *[body.child.adopted[b].now for b in self.buffers]]


def unread(body: Body, x: Any) -> Value:
    """A value for an input that a body does not read."""
    if type(x) is Number:
        return body.child.new(Spec((), np.dtype(type(x.now))), weak=True)
    return body.child.new(Spec(x.shape, x.dtype), x.strides)


class Halves(NamedTuple):
    """The branches there or back, and what they are given of the world outside."""

    true: Program
    false: Program
    given: list[Any]

    def run(self, pred: Any, arrays: Sequence[Any]) -> list[Any]:
        return ran(ops.branch(pred, *arrays, *self.given, true=self.true, false=self.false))


def halves(programs: Sequence[Program], own: int, outside: Sequence[Any]) -> Halves:
    """Two Programs without those inputs from outside that neither reads."""
    read = [{v for i in p.instructions for v in i.values} | set(p.outputs) for p in programs]
    used = [
        k for k in range(len(outside)) if any(p.inputs[own + k].value in r for p, r in zip(programs, read, strict=True))
    ]
    true, false = [p.replaced(inputs=[*p.inputs[:own], *[p.inputs[own + k] for k in used]]).check() for p in programs]
    return Halves(true, false, [outside[k] for k in used])


class Slots:
    """What branches keep for the way back. Both give the same: a slot that one does not need holds zeros."""

    def __init__(self) -> None:
        self.specs: list[Spec] = []
        self.taken: list[dict[int, Value]] = []

    def take(self, values: Sequence[Value]) -> None:
        """One more branch, which keeps these."""
        mine: dict[int, Value] = {}
        for v in values:
            spec = Spec(v.shape, v.dtype)
            k = next((k for k, s in enumerate(self.specs) if s == spec and k not in mine), len(self.specs))
            if k == len(self.specs):
                self.specs.append(spec)
            mine[k] = v
        self.taken.append(mine)

    def filled(self, which: int, program: Program, body: Body) -> Program:
        """The way there of a branch, with all slots as results."""
        mine, new = self.taken[which], body.child.new
        outputs, instructions, constants = list(program.outputs), list(program.instructions), dict(program.constants)
        for k, spec in enumerate(self.specs):
            value = mine.get(k)
            if value is None:
                zero, value = new(Spec((), spec.dtype)), new(spec)
                constants[zero] = np.zeros((), spec.dtype)
                instructions.append(Instruction(full_like, (zero,), {"value": 0, "shape": spec.shape}, (value,)))
            outputs.append(value)
        return program.replaced(outputs=outputs, instructions=instructions, constants=constants)

    def values(self, which: int, body: Body) -> list[Value]:
        """The values of the slots on the way back."""
        return [self.taken[which].get(k) or body.child.new(spec) for k, spec in enumerate(self.specs)]


def there_and_back_of(
    fork: Fork, outer: Sequence[Edge], ends: Sequence[bool], places: Sequence[int]
) -> tuple[Halves, Halves]:
    """Both branches there, and both back."""
    slots, wholes, cuts = Slots(), [], []
    for body in fork.bodies:
        for i in places:
            body.leaves[i]._requires_grad = True
        pulled = body.pull(outer, ends, adding=True)
        with body.inside():
            value = body.child.operand
            gs = [value(g) for g in (*pulled.given, *pulled.sums) if g is not None]
            found = [*[value(g) for g in pulled.outer], *[value(pulled.leaves[i]) for i in places]]
        results = fork.results(body)
        inputs = [*named(fork.inputs(body), "argument", "x"), *named(gs, "argument", "g")]
        both = noted("branch", inputs, body, [*results, *found])
        cut = carve(both, gs, both.outputs[len(results) :])
        slots.take(cut.residuals)
        wholes.append((body, both, len(results), len(gs)))
        cuts.append(cut)
    there, back = [], []
    for which, ((body, both, n, g), cut) in enumerate(zip(wholes, cuts, strict=True)):
        given, late = both.inputs[: len(both.inputs) - g], both.inputs[len(both.inputs) - g :]
        name = ("if true", "if false")[which]
        forward = both.replaced(name=name, inputs=given, outputs=both.outputs[:n])
        there.append(optimize(prune(slots.filled(which, forward, body)).check()))
        inputs = [*late, *named(slots.values(which, body), "argument", "saved"), *given]
        back.append(
            optimize(Program(f"{name}, back", inputs, cut.constants, cut.instructions, both.outputs[n:]).check())
        )
    own, outside = len(fork.bodies[0].inputs), list(fork.outside.values())
    k = len(slots.specs)
    return halves(there, own, outside), halves(back, sum(ends) + len(outer) + k + own, outside)


def note_branch(
    pred: Any, bodies: Sequence[Body], arrays: Sequence[Any], edges: Edges
) -> tuple[list[Tensor], list[tuple[Buffer, Any]]]:
    """One instruction that runs one of two bodies: its results as tensors, and the new content of memory outside."""
    fork, pred, arrays = Fork(bodies), frozen(pred), [frozen(x) for x in arrays]
    n = len(bodies[0].outs)
    ends = [any(e is not None for e in pair) for pair in zip(*[body.ends for body in bodies], strict=True)]
    node: Branch | None = None
    if MODES.grad and any(ends):
        places = [i for i, pair in enumerate(zip(*[body.wants for body in bodies], strict=True)) if any(pair)]
        outer = list(dict.fromkeys(e for body in bodies for e in body.outer))
        there, back = there_and_back_of(fork, outer, ends, places)
        out = there.run(pred, arrays)
        node = Branch(bodies, outer, places, ends, back, pred, arrays, edges, out, n + len(fork.buffers))
    else:
        programs = [
            noted(name, named(fork.inputs(body), "argument", "x"), body, fork.results(body))
            for name, body in zip(("if true", "if false"), bodies, strict=True)
        ]
        out = halves(programs, len(arrays), list(fork.outside.values())).run(pred, arrays)
    outs = as_tensors(out, bodies[0].outs)
    if node is not None:
        node.hang(outs, ends)
    return outs, list(zip(fork.buffers, out[n:], strict=False))


class Branch(Flow):
    """A branch that was taken; the way back is a branch, too."""

    def __init__(
        self, bodies: Sequence[Body], outer: Sequence[Edge], places: Sequence[int], ends: Sequence[bool], back: Halves,
        pred: Any, arrays: Sequence[Any], edges: Edges, out: Sequence[Any], results: int,
    ) -> None:  # fmt: skip
        super().__init__("cond", [*outer, *[edges[i] for i in places]], out[: len(ends)])
        self.bodies, self.outer, self.places, self.ends, self.back = bodies, outer, places, ends, back
        self.arrays, self.given, self.pred = arrays, edges, pred
        self.save([pred, *map(frozen, out[results:]), *arrays], bodies)

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        gs, (pred, *saved) = self.cotangents(g), self.values()
        gs = [*[g for g, end in zip(gs, self.ends, strict=True) if end], *sums_so_far(self.outer, gs[0], 0.0)]
        if record:
            return zip(self.edges, self.pull_again(gs), strict=True)
        return zip(self.edges, self.back.run(pred, [*gs, *saved]), strict=True)

    def pull_again(self, gs: Sequence[Any]) -> list[Tensor]:
        """The cotangents on the tape: a branch over the pullbacks of both bodies."""
        backs = []
        for body in self.bodies:
            pulled = body.pull(self.outer, self.ends, adding=True, record=True)
            leaves = [*[g for g in (*pulled.given, *pulled.sums) if g is not None], *body.leaves]
            found = [*pulled.outer, *[pulled.leaves[i] for i in self.places]]
            backs.append(Body(body.child, body.start, leaves, found, []))
        firsts = [g if isinstance(g, Tensor) else wrap(g) for g in gs]
        arrays, edges = [*[g._array for g in firsts], *self.arrays], [*map(edge_of, firsts), *self.given]
        return note_branch(self.pred, backs, arrays, edges)[0]


# -- while -------------------------------------------------------------------------------------------------------------


def note_while(
    body: Body, carries: int, arrays: Sequence[Any], edges: Edges, most: int | None
) -> tuple[list[Tensor], list[Any]]:
    """One instruction for as many steps as it takes. The body's last result is whether there is one more to take."""
    n, m = carries, len(body.memory)
    own, results = own_values(body, n), own_results(body, n)
    programs = [whole(body, "condition", results[n + m :]), whole(body, "step", results[: n + m])]
    read = {v for p in programs for i in p.instructions for v in i.values} | {v for p in programs for v in p.outputs}
    used = [f for f in body.fixed if f.value in read]
    inputs = [*named(own, "argument", "x"), *named([f.value for f in used], "argument", "w")]
    condition, step = [p.replaced(inputs=inputs).check() for p in programs]
    given = [*map(frozen, arrays), *[a.array for a in body.memory], *[f.array for f in used]]
    out = ran(ops.repeat(*given, condition=condition, body=step, carries=n + m, most=most))
    outs = as_tensors(out, body.outs[:n])
    if MODES.grad and any(e is not None for e in body.ends[:n]):
        Endless("while_loop", [*edges, *body.outer], out[:n]).hang(outs, [e is not None for e in body.ends[:n]])
    return outs, out[n:]
