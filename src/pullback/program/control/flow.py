"""Control flow as instructions and as nodes of the tape: bodies become Programs, one for the way there, one back.

A loop back carries the cotangents of what was carried, and sums for the tensors outside that the body reads. A branch
back takes the branch that was taken. What either has to know of the way there is kept by it as further results. For
which results cotangents came decides what is walked, as on the tape.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from ...errors import GradientError, fail
from ...modes import MODES
from ...ops import control as ops
from ...ops.create import full_like
from ...ops.joining import cat
from ...ops.record import Plan, Spec
from ...ops.shape import reshape, slice_
from ...tape import Edge, Label, Node, attach, send
from ...tensor import Storage, Tensor, wrap
from ..capture.gradient import frozen, named
from ..capture.replay import replay
from ..capture.symbol import Buffer, Symbol
from ..program import Value
from .back import (
    BRANCHES,
    BranchBack,
    BranchesBack,
    Fork,
    StepsBack,
    Turn,
    all_standing,
    halves,
    noted,
    own_results,
    own_values,
    ran,
    there_alone,
    whole,
)
from .body import Body, array_of, edge_of

Edges = Sequence[Edge | None]


class Flow(Node):
    """A node of control flow: several results, and saved arrays."""

    outer: Edges = ()  # where gradients leave the bodies
    live = frozenset({"body", "bodies", "arrays", "given", "pred"})  # what is there only while it is captured

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

    def cotangents(self, g: Any) -> dict[int, Any]:
        """Those that came, by the number of their result."""
        return {k: x for k, x in enumerate(g if self.outputs > 1 else [g]) if x is not None}

    def mirrored(self, at: Callable[[Edge | None], Node | None]) -> Node:
        """This node with other edges, and values in the place of symbols and bodies: it outlives the capture."""
        twin = copy.copy(self)
        twin.edges, twin.outer = [at(e) for e in self.edges], [at(e) for e in self.outer]
        vars(twin).update(dict.fromkeys(self.live & vars(twin).keys()))
        kept = [MODES.capture.operand(x) for x in self.values()]
        twin.saved, twin.guards, twin.picks, twin._hooks = partial(all_standing, kept), [], {}, None
        return twin


def sums_so_far(edges: Edges, specs: Sequence[Value], like: Any, zero: float) -> list[Any]:
    """What the walk that is going on has sent to these edges: taken from it, to be added to and sent again.

    So a sum is made in the order in which it is made without loops, to the last bit.
    """
    frame = sys._getframe(2)
    arrived = frame.f_locals["arrived"] if frame.f_code is send.__code__ else {}
    sums = [arrived.pop(e, None) for e in edges]
    return [
        full_like(like, value=zero, shape=v.shape, dtype=v.dtype) if g is None else g
        for g, v in zip(sums, specs, strict=True)
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


def as_tensors(arrays: Sequence[Any], like: Sequence[Any]) -> list[Tensor]:
    """Results as tensors, each on the device that the body's lies on."""
    for y, x in zip(arrays, like, strict=False):
        if type(y) is Symbol:
            y.buffer.device = array_of(x).device
    return [wrap(y) for y in arrays[: len(like)]]


# -- loops -------------------------------------------------------------------------------------------------------------


def note_loop(
    body: Body, carries: int, arrays: Sequence[Any], edges: Edges, length: int, reverse: bool
) -> tuple[list[Tensor], list[Any]]:
    """One instruction for all steps: its results as tensors, and the new content of memory outside."""
    n, m = carries, len(body.memory)
    arrays = [frozen(x) for x in arrays]
    back = StepsBack(body, n) if MODES.grad and any(e is not None for e in body.ends) else None
    there = there_alone(body, n) if back is None else back.way_there()
    given = [*arrays[:n], *[a.array for a in body.memory], *arrays[n:], *there.fixed]
    params = {"body": there.program, "length": length, "carries": n + m, "rows": len(arrays) - n, "reverse": reverse}
    out = ran(ops.loop(*given, **params))
    memory, out = out[n : n + m], [*out[:n], *out[n + m :]]
    outs = as_tensors(out, body.outs)
    if back is not None:
        node = Loop(body, n, back, arrays, edges, out, length, reverse)
        node.hang(outs, [e is not None for e in body.ends])
    return outs, memory


class Loop(Flow):
    """A loop that ran as one instruction; the way back is another."""

    def __init__(
        self, body: Body, carries: int, back: StepsBack, arrays: Sequence[Any], edges: Edges, out: Sequence[Any],
        length: int, reverse: bool,
    ) -> None:  # fmt: skip
        n, wants = len(body.outs), body.wants
        wanted = [e if want else None for e, want in zip(edges, wants, strict=True)]
        mine = [e for e, want in zip(wanted[:carries], wants[:carries], strict=True) if want]
        rows = [e for e, want in zip(wanted[carries:], wants[carries:], strict=True) if want]
        super().__init__("scan", [*mine, *body.outer, *rows], out[:n])
        self.body, self.carries, self.back, self.arrays, self.given = body, carries, back, arrays, edges
        self.outer = body.outer
        self.carried = [i for i, want in enumerate(wants[:carries]) if want]
        self.rows = [i for i, want in enumerate(wants[carries:]) if want]
        self.length, self.reverse = length, reverse
        self.save([*[arrays[carries + i] for i in back.rows], *map(frozen, out[n:])], [body])

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        came, saved, n = self.cotangents(g), self.values(), self.carries
        carry, ys = {k: x for k, x in came.items() if k < n}, {k - n: x for k, x in came.items() if k >= n}
        plan = self.back.plan(carry, ys, self.length)
        outer = sorted({j for turn, _ in plan for j in turn.sums})
        some = next(iter(came.values()))
        # -0.0: whatever is added to it stays what it is
        before = sums_so_far([self.outer[j] for j in outer], [self.back.body.sums[j] for j in outer], some, -0.0)
        sums = dict(zip(outer, before, strict=True))
        take = partial(self.take_again, self.states()) if record else partial(self.take, saved)
        pieces: dict[int, list[tuple[int, int, Any]]] = {i: [] for i in self.rows}  # where they begin, how many, what
        left = self.length
        for turn, count in plan:
            start = self.length - left if self.reverse else left - count
            left -= count
            if not turn.way.program.outputs:
                carry = {}
                continue
            given = [carry[i] for i in turn.takes], [sums[j] for j in turn.sums], [ys[k] for k in turn.ys]
            out = iter(take(turn, start, count, *given))
            carry = {i: next(out) for i in turn.gives}
            sums.update({j: next(out) for j in turn.sums})
            for i in turn.rows:
                pieces[i].append((start, count, next(out)))
        rows = [self.joined(parts) if parts else None for parts in pieces.values()]
        carried = [carry.get(i) for i in self.carried]
        return zip(self.edges, [*carried, *[sums.get(j) for j in range(len(self.outer))], *rows], strict=True)

    def take(self, saved: Sequence[Any], turn: Turn, start: int, count: int, *given: Sequence[Any]) -> list[Any]:
        """So many steps back, or one that gives other cotangents than it is given."""
        carry, (program, fixed) = [*given[0], *given[1]], turn.way
        rows, fixed = [*given[2], *saved], all_standing(fixed)
        if turn.gives == turn.takes:
            params = {"body": program, "length": count, "carries": len(carry), "rows": len(rows)}
            params |= {"start": start} if start else {}
            return ran(ops.loop(*carry, *rows, *fixed, **params, reverse=not self.reverse))
        out = replay(program, [*carry, *[slice_(x, key=(start,)) for x in rows], *fixed])
        n = len(out) - len(turn.rows)
        return [*out[:n], *[reshape(x, shape=(1, *x.shape)) for x in out[n:]]]

    def joined(self, parts: Sequence[tuple[int, int, Any]]) -> Any:
        """The cotangents of one of the xs: zeros for the steps where none came."""
        found, at, some = [], 0, parts[0][2]

        def none(count: int) -> None:
            if count:
                found.append(full_like(some, value=0.0, shape=(count, *some.shape[1:])))

        for start, count, x in sorted(parts, key=lambda part: part[0]):
            none(start - at)
            found.append(x)
            at = start + count
        none(self.length - at)
        return found[0] if len(found) == 1 else cat(*found, dim=0)

    def states(self) -> list[Tensor]:
        """What steps start from, on the tape: by a loop that notes it."""
        body, n = self.body, self.carries
        with body.inside():
            start = [*body.leaves[:n], *[Symbol(Buffer(a.inner, a.buffer.device), a.inner) for a in body.memory]]
        states = Body(body.child, body.start, body.leaves, [*body.outs[:n], *start], body.memory)
        xs = zip(self.arrays[n:], self.given[n:], strict=True)
        return [
            *note_loop(states, n, self.arrays, self.given, self.length, self.reverse)[0][n:],
            *[wrap(x) if e is None else attach(wrap(x), e) for x, e in xs],
        ]

    def take_again(self, states: list[Tensor], turn: Turn, start: int, count: int, *given: Sequence[Any]) -> list[Any]:
        """The same on the tape: a loop over the body's pullback, given what steps start from."""
        body, n = self.body, self.carries
        which = [k in turn.takes or k - n in turn.ys for k in range(len(body.outs))]
        pulled = body.pull([body.outer[j] for j in turn.sums], which, record=True)
        with body.inside():
            begin = [*body.leaves[:n], *[Symbol(Buffer(a.inner, a.buffer.device), a.inner) for a in body.memory]]
        carried, ys = ([g for g in part if g is not None] for part in (pulled.given[:n], pulled.given[n:]))
        leaves = [*carried, *pulled.sums, *ys, *begin, *body.leaves[n:]]
        found = [*[pulled.leaves[i] for i in turn.gives], *pulled.outer, *[pulled.leaves[n + i] for i in turn.rows]]
        back = Body(body.child, body.start, leaves, found, [])
        carry = [x if isinstance(x, Tensor) else wrap(x) for x in (*given[0], *given[1])]
        rows = [
            ops.part(x, start, count) for x in (*[y if isinstance(y, Tensor) else wrap(y) for y in given[2]], *states)
        ]
        m, one = len(carry), turn.gives != turn.takes
        through = [*[reshape(x, shape=(1, *x._array.shape)) if one else x for x in carry], *rows]
        arrays, edges = [x._array for x in through], [*map(edge_of, through)]
        outs = note_loop(back, 0 if one else m, arrays, edges, count, not self.reverse)[0]
        k = len(outs) - len(turn.rows) if one else 0
        return [*[reshape(x, shape=x._array.shape[1:]) for x in outs[:k]], *outs[k:]]


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
        back = BranchesBack(fork, outer, ends, places)
        out = back.way_there().run(pred, arrays)
        node = Branch(bodies, outer, places, ends, back, pred, arrays, edges, out, n + len(fork.buffers))
    else:
        programs = [
            noted(name, named(fork.inputs(body), "argument", "x"), body, fork.results(body))
            for name, body in zip(BRANCHES, bodies, strict=True)
        ]
        out = halves(programs, len(arrays), list(fork.outside.values())).run(pred, arrays)
    outs = as_tensors(out, bodies[0].outs)
    if node is not None:
        node.hang(outs, ends)
    return outs, list(zip(fork.buffers, out[n:], strict=False))


class Branch(Flow):
    """A branch that was taken; the way back is a branch, too."""

    def __init__(
        self, bodies: Sequence[Body], outer: Edges, places: Sequence[int], ends: Sequence[bool], back: BranchesBack,
        pred: Any, arrays: Sequence[Any], edges: Edges, out: Sequence[Any], results: int,
    ) -> None:  # fmt: skip
        super().__init__("cond", [*outer, *[edges[i] for i in places]], out[: len(ends)])
        self.bodies, self.outer, self.places, self.ends, self.back = bodies, outer, places, ends, back
        self.arrays, self.given, self.pred = arrays, edges, pred
        self.save([pred, *map(frozen, out[results:]), *arrays], bodies)

    def pull(self, g: Any, record: bool) -> Iterable[tuple[Edge | None, Any]]:
        came, (pred, *saved) = self.cotangents(g), self.values()
        back, some = self.back(came), next(iter(came.values()))
        specs = [self.back.bodies[0].sums[j] for j in back.sums]
        gs = [*came.values(), *sums_so_far([self.outer[j] for j in back.sums], specs, some, 0.0)]
        if record:
            out = iter(self.pull_again(back, list(came), gs))
        else:
            out = iter(back.halves.run(pred, [*gs, *saved]) if back.sums or back.places else ())
        sums, places = {j: next(out) for j in back.sums}, {i: next(out) for i in back.places}
        found = [*[sums.get(j) for j in range(len(self.outer))], *[places.get(i) for i in self.places]]
        return zip(self.edges, found, strict=True)

    def pull_again(self, back: BranchBack, which: Sequence[int], gs: Sequence[Any]) -> list[Tensor]:
        """The cotangents on the tape: a branch over the pullbacks of both bodies."""
        backs = []
        for body in self.bodies:
            outer = [e for j in back.sums if (e := self.outer[j]) is not None]
            pulled = body.pull(outer, [k in which for k in range(len(body.outs))], record=True)
            leaves = [*[g for g in (*pulled.given, *pulled.sums) if g is not None], *body.leaves]
            with body.inside():
                found = [s if new is None else new for new, s in zip(pulled.outer, pulled.sums, strict=True)]
                for i in back.places:
                    x, g = body.leaves[i], pulled.leaves[i]
                    found.append(wrap(full_like(x._array, value=0.0)) if g is None else g)
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
    programs = [whole(body, results[n + m :], "condition"), whole(body, results[: n + m])]
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
