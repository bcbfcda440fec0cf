"""Bodies of loops and branches as Programs: the way there, and the ways back from any of the results.

A step there keeps what any way back needs. Of which results cotangents come is known when a way back is taken: for each
set of them there is one, made when it is first asked for, of what was noted when the body was walked back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import GradientError, fail
from ...modes import Switch
from ...ops import control as ops
from ...ops.create import full_like
from ...ops.record import Spec
from ...ops.shape import permute
from ...tape import Edge
from ..capture.gradient import carve, named
from ..capture.recorder import Recorder
from ..capture.symbol import Number, Symbol
from ..capture.walks import PRIVATE, Noted, standing
from ..passes import optimize, prune
from ..program import Input, Instruction, Program, Value, contiguous
from .body import Body, Fixed, Pulled


def ran(out: Any) -> list[Any]:
    """An op's results as a list."""
    return list(out) if isinstance(out, tuple) else [out]


def all_standing(values: Sequence[Value]) -> list[Any]:
    return [standing(v) for v in values]


def keys_of(fixed: Sequence[Any]) -> list[Any]:
    """By which the same thing outside is known to two bodies."""
    return [f.array.value() if type(f.array) is Symbol else f.array.source for f in fixed]


# -- loops -------------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """A body's Program, and what it reads beyond what goes through the loop."""

    program: Program
    fixed: list[Any]  # arrays, or the values that stand for them


def noted(name: str, inputs: Sequence[Input], body: Body, results: Sequence[Value]) -> Program:
    """Of all that a body's recorder has noted, what makes these results."""
    return optimize(prune(Program(name, inputs, body.child.constants, body.child.instructions, results)).check())


def whole(body: Body, results: Sequence[Value], name: str = "step") -> Program:
    """All that the body's recorder has noted, for these results."""
    return noted(name, all_inputs(body), body, results)


def all_inputs(body: Body) -> list[Input]:
    """What it is given, and what it reads of the world around it."""
    own = [*body.inputs, *[a.inner for a in body.memory], *[f.value for f in body.fixed]]
    return named(own, "argument", "x")


def way(fixed: Sequence[Fixed], program: Program, own: Sequence[Value], prefix: str) -> Way:
    """A Program with just these inputs and what it reads of the world outside."""
    program = prune(program)
    read = {v for i in program.instructions for v in i.values} | set(program.outputs)
    used = [f for f in fixed if f.value in read]
    inputs = [*named(own, "argument", prefix), *named([f.value for f in used], "argument", "w")]
    return Way(optimize(program.replaced(inputs=inputs).check()), [f.array for f in used])


def own_values(body: Body, carries: int) -> list[Value]:
    """The inputs of a step: what is carried, memory among it, then what it goes through."""
    return [*body.inputs[:carries], *[a.inner for a in body.memory], *body.inputs[carries:]]


def own_results(body: Body, carries: int) -> list[Value]:
    return [*body.results[:carries], *[a.now for a in body.memory], *body.results[carries:]]


def there_alone(body: Body, carries: int) -> Way:
    """A step of which nothing is kept for a way back."""
    return way(body.fixed, whole(body, own_results(body, carries)), own_values(body, carries), "x")


class Back:
    """A body's way back, as it was noted. It can be walked from any of the results."""

    def __init__(self, body: Body, pulled: Pulled, inputs: Sequence[Input], results: Sequence[Value]) -> None:
        assert pulled.mirror is not None
        with body.inside():
            value = body.child.operand
            self.given = [None if g is None else value(g) for g in pulled.given]  # the cotangents of results
            self.sums = [value(g) for g in pulled.sums]
            found = [value(g) for g in (*pulled.outer, *pulled.leaves) if g is not None]
        self.late = [*[g for g in self.given if g is not None], *self.sums]
        self.inputs = [*inputs, *named(self.late, "argument", "g")]
        self.outputs = [*results, *found]
        self.mirror, self.order = pulled.mirror, pulled.order
        self.wants = [i for i, want in enumerate(body.wants) if want]
        self.noted = Noted(body.child)

    def whole(self, noted: Noted | Recorder, more: Sequence[Value] = ()) -> Program:
        """There and back in one line, and what else is pulled."""
        program = Program("step", self.inputs, noted.constants, noted.instructions, [*self.outputs, *more])
        return optimize(prune(program).check())

    def walk(self, which: Iterable[int]) -> tuple[Recorder, dict[int, Value], dict[int, Value]]:
        """From the cotangents of these results: the new sums, and the cotangents of inputs, where something came."""
        recorder, n, which = self.noted.resumed(), len(self.sums), set(which)
        with Switch(capture=recorder, **PRIVATE):
            sums = [standing(v) for v in self.sums]
            ends = [(n + at, standing(self.given[k])) for at, k in enumerate(self.order) if k in which]
            found = self.mirror.walk([*enumerate(sums), *ends])
            value = recorder.operand
            new = {j: value(g) for j, (g, s) in enumerate(zip(found, sums, strict=False)) if g is not s}
            return recorder, new, {i: value(g) for i, g in zip(self.wants, found[n:], strict=True) if g is not None}


class Turn(NamedTuple):
    """A step back, from some of the cotangents."""

    way: Way
    takes: list[int]  # the carried cotangents that it is given ...
    ys: list[int]  # ... and those of what was kept of each step
    gives: list[int]  # the carried cotangents that it gives
    sums: list[int]  # the sums that it adds to
    rows: list[int]  # the inputs beyond the carries whose cotangents it gives


class StepsBack:
    """The steps back through a loop: one for each set of cotangents that may come."""

    def __init__(self, body: Body, carries: int) -> None:
        """Also finds the step there, which keeps what any of them needs."""
        n, m = carries, len(body.memory)
        results, own = own_results(body, n), own_values(body, n)
        pulled = body.pull(body.outer, wanted_of(body, n))
        fixed = body.fixed
        self.body = Back(body, pulled, all_inputs(body), results)
        both = self.body.whole(self.body.noted)
        cut = carve(both, self.body.late, both.outputs[len(results) :], [f.value for f in fixed])
        kept = [*cut.residuals, *[v for v in own[: n + m] if v in cut.inputs]]
        self.kept = [Laid(v, body.child.new) for v in kept]
        there = both.replaced(
            instructions=[*both.instructions, *[i for x in self.kept for i in x.there]],
            outputs=[*both.outputs[: len(results)], *[x.stored for x in self.kept]],
        )
        self.there: Way | None = way(fixed, there, own, "x")
        self.carries, self.xs = carries, body.inputs[n:]
        self.rows = [i for i, v in enumerate(self.xs) if v in cut.inputs]  # the xs that the way back reads again
        self.fixed = [Fixed(f.value, f.array.value() if type(f.array) is Symbol else f.array) for f in fixed]
        self.turns: dict[Any, Turn] = {}

    def way_there(self) -> Way:
        """The step there. It is handed over once: it holds arrays that this is to outlive."""
        there, self.there = self.there, None
        assert there is not None
        return there

    def turn(self, takes: Sequence[int], ys: Sequence[int]) -> Turn:
        """The step back from these cotangents."""
        key = tuple(takes), tuple(ys)
        if key not in self.turns:
            self.turns[key] = self.make(*map(list, key))
        return self.turns[key]

    def make(self, takes: list[int], ys: list[int]) -> Turn:
        n, body = self.carries, self.body
        recorder, sums, found = body.walk([*takes, *[n + k for k in ys]])
        gives, rows = [i for i in found if i < n], [i for i in found if i >= n]
        pulls = [*[found[i] for i in gives], *sums.values(), *[found[i] for i in rows]]
        whole = body.whole(recorder, pulls)
        pulls = list(whole.outputs[len(body.outputs) :])
        read = [self.xs[i] for i in self.rows]
        fixed = [f.value for f in self.fixed]
        cut = carve(whole, body.late, pulls, fixed, there=[x.value for x in self.kept])
        if not {*cut.inputs} <= {*read, *fixed, *[x.value for x in self.kept]}:
            what = "going back from some results of a scan needs what going back from all of them does not"
            fail(GradientError, what, "use each result, times 0 if need be")
        given = [body.given[i] for i in takes], [body.sums[j] for j in sums], [body.given[n + k] for k in ys]
        inner = [*[v for part in given for v in part if v is not None], *read, *[x.again for x in self.kept]]
        back = [*[i for x in self.kept for i in x.back], *cut.instructions]
        program = Program("step back", (), cut.constants, back, pulls)
        return Turn(way(self.fixed, program, inner, "g"), takes, ys, gives, [*sums], [i - n for i in rows])

    def plan(self, carry: Iterable[int], ys: Iterable[int], length: int) -> list[tuple[Turn, int]]:
        """Which step back is taken how many times: which cotangents have come may change from one to the next.

        A result that nobody used has no cotangent; but what was carried out of the step before has one as soon as the
        last step used it.
        """
        found: list[tuple[Turn, int]] = []
        takes, ys = sorted(carry), sorted(ys)
        while length and (takes or ys):
            turn = self.turn(takes, ys)
            count = length if turn.gives == takes else 1
            found.append((turn, count))
            length, takes = length - count, turn.gives
        return found


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
        self.value = self.stored = self.again = value
        if dims != tuple(range(value.ndim)) and tuple(value.strides[d] for d in dims) == steps:
            self.stored, self.again = new(spec, steps), new(spec, steps)
            turned = tuple(sorted(range(value.ndim), key=dims.__getitem__))
            self.there = [Instruction(permute, (value,), {"dims": dims}, (self.stored,))]
            self.back = [Instruction(permute, (self.again,), {"dims": turned}, (value,))]


# -- branches ----------------------------------------------------------------------------------------------------------


BRANCHES = ("if true", "if false")


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
        return ran(ops.branch(pred, *arrays, *all_standing(self.given), true=self.true, false=self.false))


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

    def values(self, which: int, new: Callable[..., Value]) -> list[Value]:
        """The values of the slots on the way back."""
        return [self.taken[which].get(k) or new(spec) for k, spec in enumerate(self.specs)]


class BranchBack(NamedTuple):
    """Both branches back, from some of the cotangents."""

    halves: Halves
    sums: list[int]  # the sums that one of them adds to
    places: list[int]  # the inputs whose cotangents they give; zeros, if only the other one does


class BranchesBack:
    """The ways back through two branches: one for each set of cotangents that may come."""

    def __init__(self, fork: Fork, outer: Sequence[Edge], ends: Sequence[bool], places: Sequence[int]) -> None:
        """Also finds both branches there, which keep what any of the ways back needs."""
        self.slots = Slots()
        self.own, self.outside = len(fork.bodies[0].inputs), list(fork.outside.values())
        self.bodies: list[Back] = []
        self.inputs: list[list[Input]] = []
        wholes = []
        for body in fork.bodies:
            for i in places:
                body.leaves[i]._requires_grad = True
            pulled = body.pull(outer, ends)
            results = fork.results(body)
            self.inputs.append(named(fork.inputs(body), "argument", "x"))
            self.bodies.append(back := Back(body, pulled, self.inputs[-1], results))
            whole = back.whole(back.noted)
            self.slots.take(carve(whole, back.late, whole.outputs[len(results) :]).residuals)
            wholes.append(whole.replaced(inputs=self.inputs[-1], outputs=whole.outputs[: len(results)]))
        there = [
            optimize(prune(self.slots.filled(which, whole.replaced(name=name), body)).check())
            for which, (name, whole, body) in enumerate(zip(BRANCHES, wholes, fork.bodies, strict=True))
        ]
        self.there: Halves | None = halves(there, self.own, self.outside)
        self.outside = [x.value() if type(x) is Symbol else x for x in self.outside]
        self.known: dict[tuple[int, ...], BranchBack] = {}

    def way_there(self) -> Halves:
        """The branches there. They are handed over once: they hold arrays that this is to outlive."""
        there, self.there = self.there, None
        assert there is not None
        return there

    def __call__(self, which: Iterable[int]) -> BranchBack:
        """The way back from the cotangents of these results."""
        key = tuple(which)
        if key not in self.known:
            self.known[key] = self.make(key)
        return self.known[key]

    def make(self, which: tuple[int, ...]) -> BranchBack:
        walked = [body.walk(which) for body in self.bodies]
        sums = sorted({j for _, new, _ in walked for j in new})
        places = sorted({i for _, _, found in walked for i in found})
        back = []
        for n, (body, (recorder, new, found)) in enumerate(zip(self.bodies, walked, strict=True)):
            zeros = {i: zero_like(recorder, self.inputs[n][i].value) for i in places if i not in found}
            pulls = [*[new.get(j, body.sums[j]) for j in sums], *[found.get(i) or zeros[i] for i in places]]
            whole = body.whole(recorder, pulls)
            pulls = list(whole.outputs[len(body.outputs) :])
            cut = carve(whole, body.late, pulls, there=self.slots.taken[n].values())
            late = [*[body.given[k] for k in which], *[body.sums[j] for j in sums]]
            inputs = [
                *named([v for v in late if v is not None], "argument", "g"),
                *named(self.slots.values(n, recorder.new), "argument", "saved"),
                *self.inputs[n],
            ]
            program = Program(f"{BRANCHES[n]}, back", inputs, cut.constants, cut.instructions, pulls)
            back.append(optimize(program.check()))
        own = len(which) + len(sums) + len(self.slots.specs) + self.own
        return BranchBack(halves(back, own, self.outside), sums, places)


def zero_like(recorder: Recorder, value: Value) -> Value:
    """Zeros, noted."""
    zero = recorder.constant(np.zeros((), value.dtype))
    return recorder.emit(full_like, (zero,), {"value": 0.0, "shape": value.shape}, [Spec(value.shape, value.dtype)])[0]
