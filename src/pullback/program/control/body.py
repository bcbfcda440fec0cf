"""Bodies: functions captured as parts of a step, to be run by the ops of control flow.

A body runs on symbols in a recorder of its own. What it reads of the world around it becomes an input; what it writes
there (statistics, the state of a generator, a hidden state kept in a module) is found by looking, and is carried from
step to step like what the user carries. What the tape has recorded of it gives its gradient.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from ...dtypes import FLOATS
from ...errors import Position, PullbackError, fail
from ...modes import MODES, Switch
from ...ops.create import clone
from ...ops.record import Spec
from ...tape import Edge, edge
from ...tensor import Tensor, tick, wrap
from ...trees import map_tensors, tensors
from ..capture.places import BOOKKEEPING, Place, Walk, is_nest
from ..capture.recorder import Recorder
from ..capture.snapshot import Snapshot, changed
from ..capture.symbol import Buffer, Part, Symbol
from ..capture.walks import PRIVATE, Mirror, noted_walk, walk_back
from ..program import Value


class Adopted:
    """Memory from outside that a body uses: its value outside, at the start of the body, and now."""

    def __init__(self, buffer: Buffer, inner: Value) -> None:
        self.buffer, self.outer, self.inner, self.now = buffer, buffer.value, inner, inner
        self.before: tuple[Any, Value] | None = None
        self.array = Symbol(Buffer(buffer.value, buffer.device), buffer.value)  # what it holds when the loop starts
        self.array.buffer.owner = buffer.owner

    @property
    def written(self) -> bool:
        return self.now is not self.inner

    def lend(self, owner: Any) -> None:
        """The body's value takes the place of what is outside."""
        self.before = self.buffer.owner, self.buffer.value
        self.buffer.owner, self.buffer.value = owner, self.now
        self.buffer.version += 1

    def give_back(self) -> None:
        assert self.before is not None
        self.now = self.buffer.value
        self.buffer.owner, self.buffer.value = self.before
        self.buffer.version += 1


class Child(Recorder):
    """Notes a body. What belongs to the recorder around it becomes an input, or a constant if it is one there."""

    def __init__(self, parent: Recorder, carried: Sequence[Buffer] = ()) -> None:
        super().__init__()
        self.parent, self.carried = parent, carried
        self.stale, self.assumptions, self.check, self.name_of = (
            parent.stale,
            parent.assumptions,
            parent.check,
            parent.name_of,
        )
        self.regions, self.keep, self.differentiated = parent.regions, parent.keep, parent.differentiated
        self.begin = self.refuse_beginning
        self.adopted: dict[Buffer, Adopted] = {}

    def adopt(self, buffer: Buffer) -> None:
        while isinstance(buffer, Part):
            buffer = buffer.whole.buffer
        if buffer.owner is self:
            return
        if buffer.owner is not self.parent:
            self.parent.adopt(buffer)
        value = buffer.value
        known = self.parent.constants.get(value)
        if known is None or any(buffer is b for b in self.carried):
            inner = self.new(Spec(value.shape, value.dtype), value.strides, value.weak)
        else:
            inner = self.constant(known)
        self.adopted[buffer] = Adopted(buffer, inner)
        self.adopted[buffer].lend(self)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Ops on symbols are noted here."""
        for adopted in self.adopted.values():
            adopted.lend(self)
        try:
            with Switch(capture=self):
                yield
        finally:
            for adopted in self.adopted.values():
                adopted.give_back()

    def defer(self, action: Any, args: tuple[Any, ...], kwargs: dict[str, Any], changes: Any) -> NoReturn:
        fail(PullbackError, "a schedule takes a step inside of a loop's body", "call scheduler.step() after the loop")

    def refuse_beginning(self, holder: Any, key: Any, make: Callable[[], Any]) -> NoReturn:
        fail(
            PullbackError,
            "an optimizer takes its first step inside of a loop's body, where its state cannot be made",
            "take the step after the loop, or write the update as p = p - lr * g and carry p",
        )


class Fixed(NamedTuple):
    """What a body reads of the world around it."""

    value: Value
    array: Any  # a symbol outside, or a Number


class Surroundings:
    """What a body can reach: looked at before it runs, compared afterwards, and put back."""

    def __init__(self, *functions: Any) -> None:
        self.functions = functions
        self.walk = Walk(functions[0], functions[1:])
        self.snapshot = Snapshot(self.walk)

    def changes(self) -> Iterator[tuple[Place, Any, Any]]:
        """Places that hold something else: (place, before, now)."""
        for holder, before in self.snapshot.holders:
            _, name, owner = self.walk.holders[id(holder)]
            yield from differences(holder, before, name, owner)
        for holder, before, name in self.snapshot.nests.values():
            yield from differences(holder, before, name, holder)
        for place, before in (*self.snapshot.cells, *self.snapshot.globals):
            if (now := place.get()) is not before:
                yield place, before, now

    def slots(self) -> list[Place]:
        """Places that hold other tensors of the same kind now. Any other change cannot be carried from step to step."""
        found = []
        for place, before, now in self.changes():
            if not alike(before, now):
                self.refuse(place, before, now)
            found.append(place)
        return found

    def refuse(self, place: Place, before: Any, now: Any) -> NoReturn:
        if place.key == "_grad":
            what = f"backward() in a body leaves a gradient in {place.name}"
            todo = "use pullback.autograd.grad() in the body, and return the gradients"
        elif place.key in ("_array", "_storage"):
            name = place.name.rpartition(".")[0]
            what, todo = f"a body gives {name} other memory", "write into it, x.copy_(y), or carry it"
        else:
            kinds = " to ".join(kind_of(x) for x in (before, now))
            what = f"a body changes {place.name} ({kinds}), which would happen once and not in every step"
            todo = "return what it computes from the body: carried on to the next step, or kept of each step"
        fail(PullbackError, what, todo, the_body_is=position_of(self.functions[0]))

    def histories(self, written: Sequence[Adopted]) -> None:
        """A tensor outside may be written, but not so that gradients would flow through it."""
        buffers = {adopted.buffer for adopted in written}
        for x, before in self.snapshot.tensors:
            if type(x._array) is Symbol and x._array.buffer in buffers and x._node is not before.get("_node"):
                fail(
                    PullbackError,
                    f"a body writes into {self.walk.tensors[id(x)][1] or 'a tensor'} outside of it, and gradients flow "
                    "through what it writes",
                    "carry the tensor from step to step instead, or return what is written",
                    written_at=x._storage.writer,
                )

    def write(self, buffer: Buffer, array: Any, *others: Surroundings) -> None:
        """Memory outside gets what the last step left."""
        Symbol(buffer, buffer.value).write(array)
        seen = {id(s): s for around in (self, *others) for s, _ in around.snapshot.storages}
        for storage in seen.values():
            if type(storage.array) is Symbol and storage.array.buffer is buffer:
                storage.wrote()


def differences(holder: Any, before: Any, name: str, owner: Any) -> Iterator[tuple[Place, Any, Any]]:
    """What a dict or a list has become, item by item."""
    listed = isinstance(holder, (list, deque))
    pairs: list[tuple[Any, Any, Any]]
    if listed:
        if len(holder) != len(before):
            yield Place(holder, None, name, owner), before, list(holder)
            return
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(before, holder, strict=True))]
    else:
        pairs = [(k, before.get(k), holder.get(k)) for k in {**before, **holder}]
    for key, then, now in pairs:
        if now is then or key in BOOKKEEPING:
            continue
        if isinstance(owner, Tensor) and key not in ("_grad", "_array", "_storage") and key.startswith("_"):
            continue  # the tape's own
        if not changed(now, then):
            continue
        label = f"{name}[{key!r}]" if listed or owner is holder else f"{name}.{str(key).strip('_')}"
        yield Place(holder, key, label, owner), then, now


def alike(x: Any, y: Any) -> bool:
    """Are these tensors, or nests with tensors, of the same shapes and types?"""
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return bool(x._array.shape == y._array.shape and x._array.dtype == y._array.dtype)
    if type(x) is not type(y) or not is_nest(x) or len(x) != len(y):
        return not changed(y, x)
    if isinstance(x, dict):
        return list(x) == list(y) and all(alike(x[key], y[key]) for key in x)
    return all(map(alike, x, y))


def kind_of(x: Any) -> str:
    """`float32[3]`, for messages."""
    if isinstance(x, Tensor):
        return f"{x._array.dtype}{list(x._array.shape)}"
    return f"{type(x).__name__} of {len(x)}" if isinstance(x, (list, dict)) else repr(x)[:40]


def position_of(function: Any) -> Position | None:
    """Where a function was written."""
    inner = getattr(function, "__wrapped__", getattr(function, "func", function))
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return None if code is None else (code, 0)


def in_order(x: Tensor) -> Tensor:
    """x with its elements one after the other in memory."""
    return x if x._array.flags.c_contiguous else clone(x)


class Pulled(NamedTuple):
    """A body's way back."""

    given: list[Any]  # for each result its cotangent, or None
    sums: list[Any]  # for each edge outside, what came there in other steps
    leaves: list[Any]  # for each input its cotangent; None where it wants none, or none comes
    outer: list[Any]  # for each edge outside, the new sum; None where nothing is added
    order: list[int]  # of the results that are on the tape: in which they are walked from
    mirror: Mirror | None  # from the sums and the results to the edges outside and the inputs that want cotangents


class Body:
    """A function that ran on symbols: its inputs, its results and its tape."""

    def __init__(self, child: Child, start: int, leaves: list[Any], outs: list[Any], memory: list[Adopted]) -> None:
        self.child, self.start, self.leaves, self.outs, self.memory = child, start, leaves, outs, memory
        with self.inside():
            self.ends = [edge_of(y) for y in outs]
            self.results = [child.operand(array_of(y)) for y in outs]
            self.inputs = [child.operand(array_of(x)) for x in leaves]
            self.outer = self.edges_outside()

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self.child.at_work(), Switch(**PRIVATE):
            yield

    @property
    def fixed(self) -> list[Fixed]:
        """What it reads and does not write of the world around it."""
        written = {a.inner for a in self.child.adopted.values() if a.written}
        return [f for f in self.everything if f.value not in written]

    @property
    def everything(self) -> list[Fixed]:
        """What it reads of the world around it."""
        adopted = [a for a in self.child.adopted.values() if a.inner not in self.child.constants]
        numbers = [Fixed(value, number) for number, value in self.child.numbers.values()]
        return [*[Fixed(a.inner, a.array) for a in adopted], *numbers]

    @property
    def wants(self) -> list[bool]:
        """Which inputs want a cotangent."""
        return [isinstance(x, Tensor) and x._requires_grad for x in self.leaves]

    def edges_outside(self) -> list[Edge]:
        """Where gradients leave the body, to tensors that it reads but was not given."""
        mine = {id(x) for x in self.leaves}
        found: dict[Edge, None] = {}
        stack = [e for e in self.ends if e is not None]
        seen = set(stack)
        while stack:
            e = stack.pop()
            if isinstance(e, Tensor):
                made_inside = type(e._array) is Symbol and e._array.buffer.owner is self.child
                if id(e) not in mine and not (made_inside and e._array.buffer not in self.child.adopted):
                    found[e] = None
            elif e._id <= self.start:
                found[e] = None
            else:
                new = [below for below in e.edges if below is not None and below not in seen]
                seen.update(new)
                stack.extend(new)
        return list(found)

    def pull(self, outer: Sequence[Edge], wanted: Sequence[bool], record: bool = False) -> Pulled:
        """Walk back through the body's tape, from the cotangents of the results that are `wanted`.

        The edges outside start from what other steps sent there. The order in which cotangents are added up is that of
        the loop run step by step.
        """
        recorder, where = self.child, next((array_of(y).device for y in self.outs), "cpu")

        def fresh(like: Any) -> Any:
            symbol = recorder.symbol(like.shape, like.dtype, device=getattr(like, "device", where))
            if not record:
                return symbol
            x = wrap(symbol)
            x._requires_grad = True
            return x

        with self.inside():
            given = [fresh(array_of(y)) if want else None for want, y in zip(wanted, self.outs, strict=True)]
            sums = [fresh(array_of(e)) for e in outer]
            order = [k for k, g in enumerate(given) if g is not None and self.ends[k] is not None][::-1]
            seeds = [*zip(outer, sums, strict=True), *[(self.ends[k], given[k]) for k in order]]
            targets = [*outer, *[x for x, want in zip(self.leaves, self.wants, strict=True) if want]]
            if record:
                found, mirror = walk_back(seeds, targets, record), None  # type: ignore[arg-type]
            else:
                found, mirror = noted_walk(recorder, seeds, targets)  # type: ignore[arg-type]
            leaves = [found.get(x) if want else None for x, want in zip(self.leaves, self.wants, strict=True)]
            news = [found.get(e) for e in outer]
            return Pulled(
                given, sums, leaves, [None if g is s else g for g, s in zip(news, sums, strict=True)], order, mirror
            )


def array_of(x: Any) -> Any:
    """The array of a tensor; what has the shape and dtype of an edge."""
    return x._array if isinstance(x, Tensor) else x


def edge_of(x: Any) -> Edge | None:
    return edge(x) if isinstance(x, Tensor) and x._array.dtype in FLOATS else None


class Traced(NamedTuple):
    """A body and what it changes around it, beyond what it returns."""

    body: Body
    slots: list[Place]  # places that get other tensors; they are the inputs after the user's, and so are their results
    around: Surroundings


Flat = Callable[[list[Tensor]], list[Tensor]]


def trace_body(
    flat: Flat, functions: Sequence[Any], carry: Sequence[Tensor], rows: Sequence[Tensor], slots: Sequence[Place] = ()
) -> Traced:
    """Run a body on symbols like `carry` and `rows` until it is known what it carries.

    Another tensor in a place, memory that held a constant, a carried value that wants gradients after all, a parameter
    that was cast: each of these shows when the body has run, and then it runs again with that in mind.
    """
    parent, regime = MODES.capture, MODES.autocast
    around = Surroundings(*functions)
    places = list(slots)
    carried: list[Buffer] = []
    wants = [edge_of(x) is not None and MODES.grad for x in carry]
    while True:
        n, held = len(carry), [place.get() for place in places]
        olds = tensors(held)
        wants += [edge_of(x) is not None and MODES.grad for x in olds[len(wants) - n :]]
        child, start = Child(parent, carried), tick()
        try:
            inner = regime and regime.alone()
            if inner is not None and inner.cache is not None:
                inner.cache.update(regime.cache)
            with child.at_work(), Switch(pack=None, watch=None, autocast=inner):
                leaves = [leaf(child, x, want) for x, want in zip([*carry, *olds], wants, strict=True)]
                inputs = [leaf(child, x, edge_of(x) is not None and MODES.grad, 1) for x in rows]
                put_tensors(places, held, leaves[n:])
                outs = flat([*leaves[:n], *inputs])
                for x in [*leaves[:n], *inputs]:
                    if x._storage.version:
                        refuse_write(x, functions[0])
                new = [p for p in around.slots() if not any(same_place(p, q) for q in places)]
                now = [place.get() for place in places]
                carries = [in_order(x) for x in [*outs[:n], *tensors(now)]]
                ends = [edge_of(x) is not None for x in carries]
                memory = [a for a in child.adopted.values() if a.buffer.value is not a.inner]
                around.histories(memory)
        finally:
            around.snapshot.restore()
        constant = [a.buffer for a in memory if a.inner in child.constants]
        more = [want or end for want, end in zip(wants, ends, strict=True)]
        casts = (
            [kept for key, kept in inner.cache.items() if regime.cache.get(key) is not kept]
            if inner and inner.cache
            else []
        )
        casts = [kept for kept in casts if id(kept.of) in around.walk.tensors and kept.fits(kept.of)]
        for kept in casts:  # made once, outside, as it is when the loop runs step by step
            regime.convert(kept.of, kept.cast.npdtype)
        if not new and not constant and not casts and more == wants:
            results = [*carries, *outs[n:]]
            return Traced(Body(child, start, [*leaves, *inputs], results, memory), places, around)
        places, carried, wants = places + new, carried + constant, more


def put_tensors(places: Sequence[Place], held: Sequence[Any], new: Sequence[Tensor]) -> None:
    """Places that held nests of tensors get the same nests with other tensors."""
    given = iter(new)
    for place, nest in zip(places, held, strict=True):
        place.set(map_tensors(lambda x: next(given), nest))


def same_place(p: Place, q: Place) -> bool:
    return p.holder is q.holder and p.key == q.key


def leaf(child: Child, like: Tensor, wants: bool, skip: int = 0) -> Tensor:
    """An input of a body: as `like`, or what lies at one place of its first dimension."""
    array = like._array
    strides = array.strides[skip:] if skip else None
    x = wrap(child.symbol(array.shape[skip:], array.dtype, strides, array.device))
    x._requires_grad = wants
    return x


def refuse_write(x: Tensor, function: Any) -> NoReturn:
    fail(
        PullbackError,
        "a body writes into what it was given",
        "make a new tensor, h = h + 1 and not h += 1, or work on a clone()",
        written_at=x._storage.writer,
        the_body_is=position_of(function),
    )
