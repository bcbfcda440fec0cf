"""Time for memory: what a region of the forward pass saved is dropped, and computed again when backward needs it.

While a region runs, each node that saved arrays is shown to `MODES.pack`, which takes them away and leaves a callable.
The first one that backward calls runs the whole region again, on the inputs, random state and modes it had; the k-th
node to save something then saves what the k-th node saved before. Each gets its share, once. The graph stays the first
run's.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import trees
from .errors import GradientError, Position, fail, show
from .modes import MODES, Switch, no_grad
from .ops.record import Plan
from .random import get_rng_state, set_rng_state
from .tape import Edge, Label, Node, edge
from .tensor import Storage, Tensor, alias, tick, wrap

RELEASABLE = [Storage(None)]  # backward frees the nodes that have guards; this one never fails
INPUT = object()  # stands for a tensor in the arguments
ELSEWHERE = ("quietly", "backward", "watch")  # modes that belong to where the second run happens


class Entry(Node):
    """A region's inputs, saved as a node saves them: guarded, and packed by a region around this one."""

    def __init__(self, inputs: list[Tensor]) -> None:
        super().__init__(Label("checkpoint"), (), (), None)
        self.plan = Plan(tuple(range(len(inputs))), (), ())
        self.saved = [alias(x, x._array) for x in inputs]
        self.guards = [x._storage for x in inputs]
        if inputs and MODES.pack is not None:
            MODES.pack(self)


class Saving:
    """What a node saved, in a few words; the storages are held weakly."""

    def __init__(self, node: Node) -> None:
        self.op, self.position = node.op.name, node.position
        self.arrays = [(tuple(a.shape), a.dtype) for a in node.saved[: len(node.plan.held)] if hasattr(a, "shape")]
        self.guards = [(weakref.ref(storage), storage.version) for storage in node.guards]

    def __str__(self) -> str:
        return f"{self.op} saved {', '.join(f'{dtype}{list(shape)}' for shape, dtype in self.arrays)}"


class Resaved:
    """What a node of the second run saved; it is checked as a node's own would be."""

    name: Any = Node.name

    def __init__(self, node: Node) -> None:
        self._id, self.op, self.position = node._id, node.op, node.position
        self.saved, self.guards = node.saved, node.guards

    def values(self) -> Sequence[Any]:
        return Node.values(self)  # type: ignore[arg-type]


class Region:
    """One call of a checkpointed function."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, keep_rng: bool, surroundings: Any) -> None:
        inputs = trees.tensors((args, kwargs))
        self.function, self.surroundings = function, surroundings
        self.arguments = trees.map_tensors(lambda x: INPUT, (args, kwargs))
        self.wanted = [x.requires_grad for x in inputs]
        self.entry = Entry(inputs)
        self.modes = {name: value for name, value in vars(MODES).items() if name not in ELSEWHERE}
        self.rng = get_rng_state() if keep_rng else None
        self.first: list[Saving] = []
        self.second: dict[int, Resaved] = {}
        self.leaves: Sequence[tuple[Storage, int]] = ()
        self.finished = False

    def run(self, args: Any, kwargs: Any) -> Any:
        """The first time: nodes keep nothing."""
        start = tick()
        with Switch(pack=self.drop, autocast=self.autocast()):
            out = self.function(*args, **kwargs)
        self.leaves = [(x._storage, x._storage.version) for x in leaves_above(start, trees.tensors(out))]
        self.finished = True
        return out

    def autocast(self) -> Any:
        """The surrounding autocast, with no casts kept from outside: each run makes its own."""
        regime = self.modes["autocast"]
        return regime and regime.alone()

    def drop(self, node: Node) -> None:
        """Take away what a node of the first run saved."""
        self.first.append(Saving(node))
        node.saved = functools.partial(self.share, len(self.first) - 1)
        node.guards = RELEASABLE

    def share(self, k: int) -> Sequence[Any]:
        """What the k-th node saved."""
        if k not in self.second:
            self.run_again()
        return self.second.pop(k).values()

    def run_again(self) -> None:
        """The second time: nodes keep what they save, and it is collected."""
        inputs = []
        for x, wanted in zip(self.entry.values(), self.wanted, strict=True):
            inputs.append(alias(x, x._array))
            inputs[-1]._requires_grad = wanted
        for storage, version in self.leaves:
            if storage.version != version:
                self.overwritten("the checkpointed region", version, storage, self.entry.position)
        given = iter(inputs)
        values = [next(given) if leaf is INPUT else leaf for leaf in trees.leaves(self.arguments)]
        args, kwargs = trees.rebuild(self.arguments, values)
        self.second = {}
        nodes: list[Node] = []
        try:
            modes = Switch(**{**self.modes, "grad": True, "pack": nodes.append, "autocast": self.autocast()})
            with modes, random_state(self.rng), self.surroundings():
                self.function(*args, **kwargs)
        except Exception as error:
            called = f"checkpoint() was called at {show(self.entry.position)}"
            error.add_note(f"while running a checkpointed region again for backward; {called}")
            raise
        self.compare([Saving(node) for node in nodes])
        self.second = {k: Resaved(node) for k, node in enumerate(nodes)}

    def compare(self, again: list[Saving]) -> None:
        """Both runs must have done the same."""
        todo = "the function must do the same each time: no state that changes, no random numbers of its own seeding"
        for a, b in zip(self.first, again, strict=False):
            if (a.op, a.arrays) != (b.op, b.arrays):
                what = f"checkpoint: when computed again, the region did something else: {a} before, {b} now"
                fail(GradientError, what, todo, before=a.position, now=b.position)
            for (one, before), (other, now) in zip(a.guards, b.guards, strict=True):
                storage = one()
                if storage is not None and storage is other() and before != now:
                    self.overwritten(a.op, before, storage, a.position)
        if len(again) != len(self.first) if self.finished else len(again) < len(self.first):
            counts = (
                f"{len(self.first)} ops saved something in the forward pass, {len(again)} when it was computed again"
            )
            what = f"checkpoint: {counts}"
            fail(GradientError, what, todo, checkpoint_called_at=self.entry.position)

    def overwritten(self, what: str, version: int, storage: Storage, position: Position) -> None:
        fail(
            GradientError,
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"{what} used it at version {version}, it is now at version {storage.version}",
            "clone() the tensor before writing to it, or call backward() before changing parameters",
            used_at=position,
            written_at=storage.writer,
        )


def leaves_above(start: int, outs: Iterable[Tensor]) -> set[Tensor]:
    """The leaves that nodes made since `start` lead to."""
    stack: list[Edge] = [e for y in outs if (e := edge(y)) is not None]
    seen = set(stack)
    while stack:
        e = stack.pop()
        if not isinstance(e, Tensor) and e._id > start:
            new = {below for below in e.edges if below is not None} - seen
            seen |= new
            stack.extend(new)
    return {e for e in seen if isinstance(e, Tensor)}


@contextlib.contextmanager
def random_state(state: Tensor | None) -> Any:
    """The default generator starts from `state` inside, and goes on afterwards as if nothing had been."""
    before = get_rng_state()
    if state is not None:
        set_rng_state(state)
    try:
        yield
    finally:
        if state is not None:
            set_rng_state(before)


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    context_fn: Callable[[], tuple[Any, Any]] | None = None,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, saving only its arguments; backward runs it again.

    `context_fn` gives two context managers: one for each run. `use_reentrant` makes no difference: there is one way.
    """
    first, second = context_fn() if context_fn is not None else (contextlib.nullcontext(), contextlib.nullcontext())
    with first:
        if not MODES.grad:
            return function(*args, **kwargs)
        return Region(function, args, kwargs, preserve_rng_state, lambda: second).run(args, kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Run functions one after the other in `segments` checkpointed groups; the last group keeps what it saves."""
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise TypeError(f"checkpoint_sequential() got an unexpected keyword argument {next(iter(kwargs))!r}")
    chain = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(chain) // segments

    def group(start: int, end: int) -> Callable[[Any], Any]:
        return lambda x: functools.reduce(lambda value, f: f(value), chain[start:end], x)

    last = size * (segments - 1)
    for start in range(0, last, size or 1):
        input = checkpoint(group(start, start + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return group(last, len(chain))(input)


class saved_tensors_hooks:  # noqa: N801
    """What nodes save inside goes through `pack_hook(tensor)` and comes back through `unpack_hook(packed)`."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._mode = Switch(pack=self._pack)

    def _pack(self, node: Node) -> None:
        with no_grad():
            arrays = enumerate(node.saved[: len(node.plan.held)])
            packed = {k: self.pack_hook(tensor(v)) for k, v in arrays if hasattr(v, "shape")}
        kept = [None if k in packed else v for k, v in enumerate(node.saved)]

        def unpack() -> list[Any]:
            with no_grad():
                return [self.unpack_hook(packed[k])._array if k in packed else v for k, v in enumerate(kept)]

        node.saved, node.guards = unpack, RELEASABLE

    def __enter__(self) -> None:
        self._mode.__enter__()

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__()


def tensor(value: Any) -> Tensor:
    """What a node saved, as a tensor."""
    return value if isinstance(value, Tensor) else wrap(value)


class save_on_cpu(saved_tensors_hooks):  # noqa: N801
    """Keep what nodes save in copies in main memory."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda x: x.clone(), lambda x: x)
