"""autograd.Function: an op of the user's own, with the user's own pullback."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from . import errors
from .dtypes import FLOATS
from .errors import DTypeError, GradientError, PullbackError, ShapeError, fail
from .hooks import follow
from .modes import MODES, no_grad
from .ops.create import full_like
from .ops.record import Plan, broadcasts_to
from .tape import Edge, Label, Node, attach, edge, stand
from .tensor import Storage, Tensor, alias, wrap
from .views import Put, check_allowed


class FunctionCtx:
    """What a Function's forward hands to its backward."""

    def __init__(self, needs_input_grad: tuple[bool, ...] = ()) -> None:
        self.needs_input_grad = needs_input_grad
        self._kept: tuple[Tensor | None, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._materialize = True
        self._applied: Callable[[], Applied | None] = lambda: None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward, guarded against being overwritten."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                what = f"save_for_backward can only save tensors, but got {type(t).__name__}"
                fail(PullbackError, what, "keep other things as attributes: ctx.name = value")
        self._kept = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted and ignored: there is no forward mode."""

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What save_for_backward kept."""
        node = self._applied()
        return () if node is None else node.unpack()

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Forward writes to these inputs in place; it has to return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs carry no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Does backward get zeros (True) or None for an output that nothing was made of?"""
        self._materialize = value


class Function:
    """Base of ops with a pullback of their own: define `forward` and `backward` as static methods, call `apply`."""

    def __init__(self) -> None:
        fail(PullbackError, f"{type(self).__name__} is not instantiated", f"call {type(self).__name__}.apply(...)")

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The value: `forward(ctx, *args)`, or `forward(*args)` beside a `setup_context`."""
        fail(PullbackError, "you must implement the forward function for custom autograd.Function", "make it static")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep in `ctx` what backward needs; if this is defined, forward gets no ctx."""

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The cotangents of the inputs, one for each argument of forward, given those of the outputs."""
        fail(
            GradientError,
            "you must implement either the backward or vjp method for your custom autograd.Function",
            "add it as a static method: backward(ctx, *grads)",
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward, unrecorded, and put backward on the tape."""
        separate = cls.setup_context is not Function.setup_context
        if kwargs or separate:
            args, kwargs = _bind(cls, args, kwargs, separate)
        edges = [edge(a) if isinstance(a, Tensor) else None for a in args]
        ctx = FunctionCtx(tuple(e is not None for e in edges))
        with no_grad():
            if separate:
                out = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, out)
            else:
                out = cls.forward(ctx, *args, **kwargs)
        outs = out if isinstance(out, tuple) else (out,)
        _check_outputs(cls, ctx, args, outs)
        node = Applied(cls, ctx, args, edges, outs) if MODES.grad and any(e is not None for e in edges) else None
        places = [node.place(i, t) if node is not None else None for i, t in enumerate(outs)]
        if node is not None:
            node.keep(args, outs, places)
        results = tuple(_result(ctx, t, e, args) for t, e in zip(outs, places, strict=True))
        return results if isinstance(out, tuple) else results[0]


def _bind(
    cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], separate: bool
) -> tuple[Any, dict[str, Any]]:
    """(positional arguments with defaults filled in, keyword-only ones)"""
    bound = inspect.signature(cls.forward).bind(*args if separate else (None, *args), **kwargs)
    bound.apply_defaults()
    for name, value in bound.kwargs.items():
        if isinstance(value, Tensor) and value.requires_grad:
            what = f"{cls.__name__}: the keyword-only argument {name!r} requires grad"
            fail(GradientError, what, "backward returns gradients of positional arguments only: make it one")
    return bound.args if separate else bound.args[1:], bound.kwargs


def _check_outputs(cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
    for t in outs:
        if isinstance(t, list) and any(isinstance(part, Tensor) for part in t):
            what = f"{cls.__name__}.forward returned a list of tensors, through which no gradient would flow"
            fail(PullbackError, what, "return a tuple")
    for t in ctx._dirty:
        if not _among(t, outs):
            fail(
                GradientError,
                f"{cls.__name__}: some elements marked as dirty during the forward method were not returned as output",
                "the inputs that are modified in place must all be outputs of the Function",
            )
        if not _among(t, args):
            what = f"{cls.__name__}: mark_dirty was given a tensor that is not an input of forward"
            fail(GradientError, what, "mark the inputs that forward writes to")


def _among(x: Any, xs: Sequence[Any]) -> bool:
    return any(x is other for other in xs)


def _result(ctx: FunctionCtx, t: Any, e: Edge | None, args: tuple[Any, ...]) -> Any:
    """An output as the caller gets it: on the tape at `e`, and another tensor than the input it may be."""
    if not isinstance(t, Tensor):
        return t
    if _among(t, ctx._dirty):
        if e is not None:
            _rewrite(t, e)
        return t
    if _among(t, args) or t.requires_grad:
        t = alias(t, t._array)
    return t if e is None else attach(t, e)


def _rewrite(x: Tensor, e: Edge) -> None:
    """x was written by the op at `e`."""
    owner = x if x._base is None else x._base
    check_allowed(x, owner, e)
    if owner is x:
        attach(x, e)
    else:
        owner._node = Put(edge(owner), e, owner, x._path or ())
    follow(owner)


class Applied(Node):
    """One call of a Function."""

    zeros = False

    def __init__(
        self,
        cls: type[Function],
        ctx: FunctionCtx,
        args: tuple[Any, ...],
        edges: list[Edge | None],
        outs: tuple[Any, ...],
    ) -> None:
        self.ctx = ctx
        label = Label(cls.__name__)
        label.broadcasts = True
        shapes = [t._array.shape if isinstance(t, Tensor) else None for t in outs]
        dtypes = [t._array.dtype if isinstance(t, Tensor) else None for t in outs]
        one = len(outs) == 1
        super().__init__(label, edges, shapes[0] if one else shapes, dtypes[0] if one else dtypes)
        self.function, self.outputs, self.picks = cls, len(outs), {}
        self.tensors = tuple(isinstance(a, Tensor) for a in args)
        ctx._applied = weakref.ref(self)

    def __getattr__(self, name: str) -> Any:  # PyTorch's grad_fn is the context
        return getattr(self.ctx, name)

    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def place(self, i: int, t: Any) -> Edge | None:
        """Where the gradient of the i-th output comes in."""
        if not isinstance(t, Tensor) or t._array.dtype not in FLOATS or _among(t, self.ctx._constant):
            return None
        return self.result(i, t._array)

    def keep(self, args: tuple[Any, ...], outs: tuple[Any, ...], places: list[Edge | None]) -> None:
        """Save what the context was given, as arrays, so that an output and its node do not hold each other."""
        kept, self.ctx._kept = self.ctx._kept, ()
        self.sources: list[Edge | int | None] = []  # where each belongs on the tape; a number is an output
        saved: list[Any] = []
        for t in kept:
            saved.append(None if t is None else t._array)
            self.sources.append(None if t is None else self._source(t, args, outs, places))
        self.plan = Plan(tuple(range(len(saved))), (), ())
        self.saved, self.guards = saved, [t._storage for t in kept if t is not None]
        if self.guards and MODES.pack is not None:
            MODES.pack(self)

    def _source(
        self, t: Tensor, args: tuple[Any, ...], outs: tuple[Any, ...], places: list[Edge | None]
    ) -> Edge | int | None:
        for i, a in enumerate(args):
            if t is a and not _among(t, self.ctx._dirty):
                return self.edges[i]
        for i, out in enumerate(outs):
            if t is out:
                return None if places[i] is None else i
        return edge(t)

    def unpack(self) -> tuple[Tensor | None, ...]:
        """What was saved, as tensors in their places on the tape."""
        values, storages = self.values(), self.storages()
        return tuple(
            None if a is None else self._tensor(a, storages, s) for a, s in zip(values, self.sources, strict=True)
        )

    def _tensor(self, array: Any, storages: Iterator[Storage], source: Edge | int | None) -> Tensor:
        x = stand(array, storages, self.result(source, array) if isinstance(source, int) else source)
        return source if isinstance(source, Tensor) and source._array is array else x

    def pull(self, g: Any, record: bool) -> list[tuple[Edge | None, Any]]:
        gs = g if self.outputs > 1 else [g]
        if self.ctx._materialize and self.outputs > 1:
            some = next(part for part in gs if part is not None)
            zero = functools.partial(full_like, some, value=0.0)
            parts = zip(gs, self.shape, self.dtype, strict=True)
            gs = [zero(shape=s, dtype=d) if part is None and s is not None else part for part, s, d in parts]
        given = self._backward()(self.ctx, *[p if p is None or isinstance(p, Tensor) else wrap(p) for p in gs])
        grads = list(given) if isinstance(given, (tuple, list)) else [given]
        while len(grads) > len(self.edges) and grads[-1] is None:
            grads.pop()
        if len(grads) != len(self.edges):
            what = f"returned an incorrect number of gradients (expected {len(self.edges)}, got {len(grads)})"
            self._refuse(GradientError, what, "return one for each argument of forward, None where there is none")
        return [(e, self._cotangent(i, x, record)) for i, (e, x) in enumerate(zip(self.edges, grads, strict=True))]

    def _backward(self) -> Any:
        return self.function.vjp if self.function.vjp is not Function.vjp else self.function.backward

    def _cotangent(self, i: int, g: Any, record: bool) -> Any:
        """The gradient backward returned for the i-th argument, checked."""
        if g is None:
            return None
        if not isinstance(g, Tensor):
            what = f"returned {type(g).__name__} as gradient {i}; expected a Tensor or None"
            self._refuse(DTypeError, what, "wrap it: pullback.tensor(value)")
        if not self.tensors[i]:
            what = (
                f"returned a gradient different than None at position {i + 1}, but that input of forward is no Tensor"
            )
            self._refuse(GradientError, what, "return None there")
        e = self.edges[i]
        if e is None:
            return None
        shape = e._array.shape if isinstance(e, Tensor) else e.shape
        if not broadcasts_to(shape, g._array.shape):
            what = f"returned an invalid gradient at index {i}: shape {list(g.shape)} for an input of {list(shape)}"
            self._refuse(ShapeError, what, "a gradient has the shape of the input it belongs to")
        if g.npdtype not in FLOATS:
            what = f"returned a gradient of type {g.dtype} at index {i}"
            self._refuse(DTypeError, what, "gradients are floating point tensors")
        return g if record else g._array

    def _refuse(self, kind: type[PullbackError], what: str, todo: str) -> NoReturn:
        code = inspect.unwrap(self._backward()).__code__
        fail(kind, f"function {self.name()} {what}", todo, forward_ran_at=self.position, backward_is=(code, 0))


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that is not written in differentiable operations: differentiating it is an error."""

    @functools.wraps(backward)
    def once(ctx: FunctionCtx, *grads: Any) -> Any:
        with no_grad():
            given = backward(ctx, *grads)
        node = ctx._applied()
        if not MODES.grad or node is None:
            return given
        edges = [*node.edges, *(edge(g) for g in grads if isinstance(g, Tensor))]
        results = [Once.guard(g, edges, node.position) for g in (given if isinstance(given, tuple) else (given,))]
        return tuple(results) if isinstance(given, tuple) else results[0]

    return once


class Once(Node):
    """Stands where the second derivative of a once-differentiable Function would be."""

    @staticmethod
    def guard(g: Any, edges: list[Edge | None], position: errors.Position) -> Any:
        if not isinstance(g, Tensor):
            return g
        node = Once(Label("once_differentiable"), edges, g._array.shape, g._array.dtype)
        node.position = position
        return attach(alias(g, g._array), node)

    def pull(self, g: Any, record: bool) -> NoReturn:
        fail(
            GradientError,
            "trying to differentiate twice a function that was marked with @once_differentiable",
            "write its backward in tensor operations and take the decorator off",
            function_ran_at=self.position,
        )
