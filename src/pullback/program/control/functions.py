"""Control flow inside of a step: cond, scan, while_loop.

Eagerly they are Python's: a branch, a loop, on the tape. In a step that is being captured each becomes one instruction
that holds its bodies as Programs, however many steps it takes. Going back, a scan is a scan in the other direction:
its body is the pullback of the body, the cotangents of what is carried are carried back, and those of tensors outside
add up. What a step has to keep is stacked; what is the same in every step, such as weights, is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NoReturn

from ... import trees
from ...errors import KindError, PullbackError, ShapeError, fail
from ...modes import MODES
from ...ops import control as ops
from ...ops.joining import stack, unbind
from ...ops.record import normal_dim
from ...ops.shape import permute
from ...tape import Alias, attach, edge
from ...tensor import Tensor, alias, wrap
from ..capture.places import Place
from ..capture.replay import CONTROL, replay
from ..capture.symbol import Symbol
from ..program import Instruction, Program
from .body import (
    Flat,
    Surroundings,
    Traced,
    edge_of,
    in_order,
    position_of,
    put_tensors,
    refuse_write,
    same_place,
    trace_body,
)
from .flow import note_branch, note_loop, note_while

# -- scan --------------------------------------------------------------------------------------------------------------


def scan(
    combine_fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    *,
    length: int | None = None,
    dim: int = 0,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """`carry, y = combine_fn(carry, x)` for each x along `dim`: the last carry, and all y stacked.

    `init` and `xs` are tensors or nests of tensors; without `xs` there are `length` steps, and x is None. What is
    carried keeps its shape and dtype. `reverse` starts at the end.
    """
    carry, rows = leaves_of(init, "init"), [] if xs is None else leaves_of(xs, "xs")
    if any(x.ndim == 0 for x in rows):
        fail(ShapeError, "scan: one of the xs is a single number", "give it a dimension to go along")
    rows = [first(x, normal_dim(dim, x.ndim)) for x in rows]
    sizes = {x._array.shape[0] for x in rows} | ({length} if length is not None else set())
    if len(sizes) != 1:
        what = f"scan: the sizes along dim {dim} of xs{' and length' if length is not None else ''} must be one number"
        fail(ShapeError, f"{what}, but they are {sorted(sizes)}", "give all xs one size, or pass length= without xs")
    (length,) = sizes
    if length == 0:
        return init, None
    steps = Steps(combine_fn, init, xs)
    last, ys = loop(steps, [combine_fn], [in_order(c) for c in carry], rows, length, reverse)
    return trees.rebuild(init, last), steps.kept(ys)


def first(x: Tensor, dim: int) -> Tensor:
    """x with a dimension in front."""
    return x if dim == 0 else permute(x, dims=(dim, *(d for d in range(x.ndim) if d != dim)))


class Steps:
    """A scan's function on lists of tensors: carries and xs there, carries and ys back."""

    name = "scan"

    def __init__(self, function: Callable[[Any, Any], Any], init: Any, xs: Any) -> None:
        self.function, self.init, self.xs = function, init, xs
        self.carries = len(list(trees.leaves(init)))
        self.like: Any = None  # the last y

    def __call__(self, flat: list[Tensor]) -> list[Tensor]:
        n = self.carries
        x = None if self.xs is None else trees.rebuild(self.xs, flat[n:])
        out = self.function(trees.rebuild(self.init, flat[:n]), x)
        if not isinstance(out, tuple) or len(out) != 2:
            self.refuse(
                KindError, "the body must return (carry, y)", "return None for y if there is nothing to collect"
            )
        carry, ys = self.checked(self.init, flat[:n], out[0]), list(trees.leaves(out[1]))
        if self.like is not None and skeleton(out[1]) != skeleton(self.like[0]):
            kinds = f"{skeleton(self.like[0])} and then {skeleton(out[1])}"
            self.refuse(KindError, f"y was {kinds}", "return the same nest in every step")
        if other := [y for y in ys if y is not None and not isinstance(y, Tensor)]:
            self.refuse(KindError, f"y has a {type(other[0]).__name__} in it", "return tensors, or None for nothing")
        self.like = (out[1],)
        return [*carry, *[y for y in ys if y is not None]]

    def checked(self, like: Any, before: Sequence[Tensor], tree: Any) -> list[Tensor]:
        """The leaves of what is carried on, which must be as they came in."""
        after = list(trees.leaves(tree))
        if skeleton(tree) != skeleton(like):
            kinds = f"it came in as {skeleton(like)} and went out as {skeleton(tree)}"
            self.refuse(KindError, f"the carry must stay the same nest of tensors; {kinds}", "return it as it came in")
        if forms(before) != forms(after):
            kinds = f"a step turned {forms(before)} into {forms(after)}"
            what = f"the carry must keep its shapes and dtypes; {kinds}"
            self.refuse(ShapeError, what, "start with the final shape and dtype; what grows is returned as y")
        return after

    def refuse(self, kind: Any, what: str, todo: str) -> NoReturn:
        fail(kind, f"{self.name}: {what}", todo, the_body_is=position_of(self.function))

    def kept(self, ys: Iterable[Tensor]) -> Any:
        """The stacked ys in their nest."""
        given = iter(ys)
        return trees.rebuild(self.like[0], [None if y is None else next(given) for y in trees.leaves(self.like[0])])


def forms(xs: Iterable[Tensor]) -> str:
    """`float32[2, 3], int64[]`"""
    return ", ".join(f"{x._array.dtype}{list(x._array.shape)}" for x in xs)


def leaves_of(tree: Any, name: str) -> list[Tensor]:
    """The tensors of a nest that has nothing else in it."""
    leaves = list(trees.leaves(tree))
    for x in leaves:
        if not isinstance(x, Tensor):
            fail(KindError, f"{name} has a {type(x).__name__} in it", "make it a tensor: pullback.tensor(value)")
    return leaves


def skeleton(tree: Any) -> Any:
    """What a nest is made of, for comparison and for messages."""
    if isinstance(tree, dict):
        return {key: skeleton(part) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return (
            type(tree)(map(skeleton, tree))
            if type(tree) in (tuple, list)
            else (type(tree).__name__, *map(skeleton, tree))
        )
    return None if tree is None else "tensor" if isinstance(tree, Tensor) else type(tree).__name__


def loop(
    flat: Flat, functions: Sequence[Any], carry: list[Tensor], rows: list[Tensor], length: int, reverse: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Run `flat` step by step, or note a loop of it: the last carries, and the stacked ys."""
    if MODES.capture is None:
        return step_by_step(flat, functions, carry, rows, length, reverse)
    traced = trace_body(flat, functions, carry, rows)
    n, m = len(carry), sum(len(trees.tensors(place.get())) for place in traced.slots)
    given = [*carry, *trees.tensors([place.get() for place in traced.slots]), *rows]
    outs, memory = note_loop(
        traced.body, n + m, [x._array for x in given], [edge_of(x) for x in given], length, reverse
    )
    leave_state(traced, outs[n : n + m], memory)
    return outs[:n], outs[n + m :]


def step_by_step(
    flat: Flat, functions: Sequence[Any], carry: list[Tensor], rows: list[Tensor], length: int, reverse: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """The loop in Python. Carries have names of their own in each step, so that what is sent to one adds up there."""
    columns = [unbind(x, dim=0) for x in rows]
    kept: list[list[Tensor]] = []
    versions: list[tuple[Tensor, int]] = []
    for t in reversed(range(length)) if reverse else range(length):
        given = [*[renamed(c) for c in carry], *[column[t] for column in columns]]
        before = [x._storage.version for x in given]
        out = flat(given)
        for x, version in zip(given, before, strict=True):
            if x._storage.version != version:
                refuse_write(x, functions[0])
        carry, ys = [in_order(c) for c in out[: len(carry)]], out[len(carry) :]
        versions += [(y, y._storage.version) for y in ys]
        kept.append(ys)
    for y, version in versions:
        if y._storage.version != version:
            fail(PullbackError, "what a body returned as y has been written to in a later step", "return y.clone()",
                 written_at=y._storage.writer, the_body_is=position_of(functions[0]))  # fmt: skip
    if reverse:
        kept.reverse()
    return carry, [stack(*column, dim=0) for column in zip(*kept, strict=True)]


def renamed(x: Tensor) -> Tensor:
    """The same tensor under another name on the tape."""
    e = edge(x)
    y = alias(x, x._array)
    return y if e is None or not MODES.grad else attach(y, Alias(e))


def leave_state(traced: Traced, slots: Sequence[Tensor], memory: Sequence[Any]) -> None:
    """What the last step left in the world around the body."""
    put_tensors(traced.slots, [place.get() for place in traced.slots], slots)
    for adopted, array in zip(traced.body.memory, memory, strict=True):
        traced.around.write(adopted.buffer, array)


# -- cond --------------------------------------------------------------------------------------------------------------


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """`true_fn(*operands)` if `pred`, else `false_fn(*operands)`; `pred` is a bool or a tensor with one element.

    In a captured step, where `pred` is not known, both return the same nest of tensors of the same shapes and dtypes;
    what only the other branch uses gets zeros for its gradient.
    """
    if not isinstance(operands, (tuple, list)):
        fail(KindError, f"cond: operands is a {type(operands).__name__}", "pass a tuple: cond(pred, f, g, (x,))")
    if isinstance(pred, Tensor):
        if pred._array.size != 1:
            fail(
                ShapeError,
                f"cond: pred has shape {list(pred.shape)}",
                "one element decides: use where() to choose element by element",
            )
        if type(pred._array) is Symbol and pred._array.known() is None:
            return choose(pred, partial(true_fn, *operands), partial(false_fn, *operands), (true_fn, false_fn))
    return (true_fn if pred else false_fn)(*operands)


def choose(pred: Tensor, true: Callable[[], Any], false: Callable[[], Any], functions: Sequence[Any]) -> Any:
    """One instruction that runs one of the two."""
    nests: dict[int, Any] = {}

    def traced_with(places: Sequence[Place]) -> list[Traced]:
        def flat(which: int, function: Callable[[], Any]) -> Flat:
            def run(inputs: list[Tensor]) -> list[Tensor]:
                nests[which] = function()
                return leaves_of(nests[which], "what a branch of cond returns")

            return run

        return [trace_body(flat(k, f), functions[:: (1, -1)[k]], [], [], places) for k, f in enumerate((true, false))]

    traced = traced_with([])
    while True:  # what one of them replaces, the other leaves in place
        places: list[Place] = []
        for place in (place for t in traced for place in t.slots):
            if not any(same_place(place, other) for other in places):
                places.append(place)
        if all(len(t.slots) == len(places) for t in traced):
            break
        traced = traced_with(places)
    held = [place.get() for place in places]
    given = trees.tensors(held)
    m, bodies = len(given), [t.body for t in traced]
    check_alike([b.outs[m:] for b in bodies], [skeleton(nests[0]), skeleton(nests[1])], functions)
    outs, memory = note_branch(pred._array, bodies, [x._array for x in given], [edge_of(x) for x in given])
    put_tensors(places, held, outs[:m])
    for buffer, array in memory:
        traced[0].around.write(buffer, array, traced[1].around)
    return trees.rebuild(nests[0], outs[m:])


def check_alike(outs: Sequence[Sequence[Any]], nests: Sequence[Any], functions: Sequence[Any]) -> None:
    """Both branches must return the same."""
    one, other = (f"{nest} of {forms(ys)}" for nest, ys in zip(nests, outs, strict=True))
    if one != other:
        fail(
            ShapeError,
            f"the branches of cond differ: {one} if true, {other} if false",
            "return the same nest of tensors, with the same shapes and dtypes",
            true_is=position_of(functions[0]),
            false_is=position_of(functions[1]),
        )


# -- while_loop --------------------------------------------------------------------------------------------------------


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any, max_steps: int | None = None
) -> Any:
    """`carried = body_fn(*carried)` while `cond_fn(*carried)`; with `max_steps`, at most so many times.

    In a captured step only a loop with `max_steps` has a gradient.
    """
    if not isinstance(carried_inputs, (tuple, list)):
        fail(KindError, f"while_loop: carried_inputs is a {type(carried_inputs).__name__}", "pass a tuple: (x,)")
    leaves = leaves_of(carried_inputs, "carried_inputs")
    step = Step(cond_fn, body_fn, carried_inputs)
    if MODES.capture is None:
        steps = 0
        while (max_steps is None or steps < max_steps) and bool(truth(cond_fn(*trees.rebuild(carried_inputs, leaves)))):
            given = [renamed(x) for x in leaves]
            versions = [x._storage.version for x in given]
            leaves, steps = [in_order(x) for x in step.body(given)], steps + 1
            for x, version in zip(given, versions, strict=True):
                if x._storage.version != version:
                    refuse_write(x, body_fn)
        return trees.rebuild(carried_inputs, leaves)
    leaves = [in_order(x) for x in leaves]
    traced = trace_body(step, [body_fn, cond_fn], leaves, [])
    if max_steps is not None and MODES.grad and any(e is not None for e in traced.body.ends[: len(leaves)]):
        return scan(step.once, carried_inputs, length=max_steps)[0]
    given = [*leaves, *trees.tensors([place.get() for place in traced.slots])]
    outs, memory = note_while(
        traced.body, len(given), [x._array for x in given], [edge_of(x) for x in given], max_steps
    )
    leave_state(traced, outs[len(leaves) :], memory)
    return trees.rebuild(carried_inputs, outs[: len(leaves)])


class Step(Steps):
    """A while_loop's functions on lists of tensors: carries there; carries and the condition for this step back."""

    name = "while_loop"

    def __init__(self, condition: Callable[..., Any], function: Callable[..., Any], init: Any) -> None:
        super().__init__(function, init, None)
        self.condition = condition

    def __call__(self, flat: list[Tensor]) -> list[Tensor]:
        around = Surroundings(self.condition)
        more = truth(self.condition(*trees.rebuild(self.init, flat)))
        written = any(a.buffer.value is not a.inner for a in MODES.capture.adopted.values())
        if written or next(around.changes(), None) is not None:
            fail(PullbackError, "the condition of a while_loop changes something, such as a generator's state",
                 "let the body do that", the_condition_is=position_of(self.condition))  # fmt: skip
        return [*self.body(flat), more]

    def body(self, flat: list[Tensor]) -> list[Tensor]:
        out = self.function(*trees.rebuild(self.init, flat))
        if len(self.init) == 1 and isinstance(out, Tensor):
            out = (out,)
        like = type(out)(self.init) if type(out) in (tuple, list) else self.init
        return self.checked(like, flat, out)

    def once(self, carry: Any, x: None) -> tuple[Any, None]:
        """One step of a scan that stands still when the loop has ended."""
        going = truth(self.condition(*carry))
        flat = list(trees.leaves(carry))
        new = cond(going, lambda: tuple(map(in_order, self.body(flat))), lambda: tuple(flat))
        return trees.rebuild(carry, new), None


def truth(x: Any) -> Tensor:
    """What a condition returned, as a tensor with one element."""
    if isinstance(x, Tensor) and x._array.size == 1:
        return x
    what = f"a tensor of shape {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
    if isinstance(x, (bool, int)):
        fail(
            KindError, f"the condition of a while_loop returned {x!r}", "compute it from what is carried, with tensors"
        )
    fail(KindError, f"the condition of a while_loop returned {what}", "return a tensor with one element")


# -- Programs with control flow, run again on tensors ------------------------------------------------------------------


def again_loop(instruction: Instruction, operands: Sequence[Any]) -> Any:
    params = instruction.params
    n, m = params["carries"], params["rows"]
    fixed = list(operands[n + m :])

    def flat(xs: list[Tensor]) -> list[Tensor]:
        return list(map(as_tensor, replay(params["body"], [*xs, *fixed])))

    carry, rows = list(map(as_tensor, operands[:n])), list(map(as_tensor, operands[n : n + m]))
    rows = [ops.part(x, params.get("start", 0), params["length"]) for x in rows]
    last, ys = loop(flat, [flat], carry, rows, params["length"], params["reverse"])
    return ops.one_or_all([*last, *ys])


def again_repeat(instruction: Instruction, operands: Sequence[Any]) -> Any:
    params, n = instruction.params, instruction.params["carries"]
    fixed = list(operands[n:])

    def condition(*xs: Tensor) -> Tensor:
        return as_tensor(replay(params["condition"], [*xs, *fixed])[0])

    def step(*xs: Tensor) -> Any:
        return tuple(map(as_tensor, replay(params["body"], [*xs, *fixed])))

    return ops.one_or_all(while_loop(condition, step, tuple(map(as_tensor, operands[:n])), params["most"]))


def again_branch(instruction: Instruction, operands: Sequence[Any]) -> Any:
    params, (pred, *xs) = instruction.params, operands

    def take(program: Program) -> Any:
        return lambda: tuple(map(as_tensor, replay(program, xs)))

    return ops.one_or_all(cond(as_tensor(pred), take(params["true"]), take(params["false"])))


def as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else wrap(x)


CONTROL.update({ops.loop: again_loop, ops.repeat: again_repeat, ops.branch: again_branch})
