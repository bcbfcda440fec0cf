"""Derivatives of functions: vjp, jvp, jacobian, hessian and their products with a vector (torch.autograd.functional).

vjp       v J      one backward pass
jvp       J t      two: v J is linear in v, so its own pullback, at t, is J t
jacobian  J        one backward pass for each element of the output
hessian   H        the Jacobian of the gradient
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import gradients
from .errors import GradientError, PullbackError, ShapeError, fail
from .modes import enable_grad
from .ops.create import full_like
from .ops.joining import stack
from .ops.shape import reshape, unslice
from .tape import Alias, attach, edge
from .tensor import Tensor, alias, wrap

Tensors = tuple[Tensor, ...]


def fresh(x: Tensor, connected: bool = True) -> Tensor:
    """x under a name of its own on the tape, to ask for derivatives by; `connected` to x's own history."""
    t = alias(x, x._array)
    e = edge(x) if connected else None
    return t.requires_grad_() if e is None else attach(t, Alias(e))


def zeros_like(x: Tensor) -> Tensor:
    """Zeros that depend on nothing."""
    return wrap(full_like(x._array, value=0.0))


def pull(
    ys: Sequence[Tensor], xs: Sequence[Tensor], vs: Sequence[Any], create_graph: bool, keep: bool = False
) -> list[Tensor | None]:
    """Sum of v J over the outputs, for each input; None where no output depends on it."""
    pairs = [(y, v) for y, v in zip(ys, vs, strict=True) if y.requires_grad]
    if not pairs:
        return [None] * len(xs)
    outputs, cotangents = zip(*pairs, strict=True)
    return list(gradients.grad(outputs, xs, cotangents, keep or create_graph, create_graph, allow_unused=True))


def push(ys: Sequence[Tensor], xs: Sequence[Tensor], ts: Sequence[Tensor], create_graph: bool) -> list[Tensor | None]:
    """J t for each output."""
    vs = [zeros_like(y).requires_grad_() for y in ys]
    gs = pull(ys, xs, vs, create_graph=True)
    used = [(g, t) for g, t in zip(gs, ts, strict=True) if g is not None]
    return pull([g for g, _ in used], vs, [t for _, t in used], create_graph)


def rows(y: Tensor, xs: Sequence[Tensor], create_graph: bool) -> list[list[Tensor | None]]:
    """The Jacobian of y, one row for each of its elements."""
    n = y._array.size
    one = wrap(full_like(y._array, value=1.0, shape=()))
    unit = [reshape(unslice(one, shape=(n,), key=(k,)), shape=y._array.shape) for k in range(n)]
    return [pull([y], xs, [v], create_graph, keep=True) for v in unit]


def jacobian_of(y: Tensor, xs: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
    """d y / d x for each x, of shape (*y.shape, *x.shape)."""
    every = rows(y, xs, create_graph)
    result = []
    for i, x in enumerate(xs):
        column = [row[i] if row[i] is not None else zeros_like(x) for row in every]
        shape = (*y._array.shape, *x._array.shape)
        result.append(
            reshape(stack(*column, dim=0), shape=shape) if column else wrap(full_like(x._array, value=0.0, shape=shape))
        )
    return result


# -- torch.autograd.functional -----------------------------------------------------------------------------------------


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v J)"""
    with enable_grad():
        xs, ys, outputs = _run(func, inputs, create_graph, strict)
        vs = _vector(v, ys, "output")
        gs = _complete(pull(ys, xs, vs, create_graph), xs, strict, "The vjp")
        return _finish(outputs, create_graph), _like(inputs, gs)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), J v)"""
    with enable_grad():
        xs, ys, outputs = _run(func, inputs, create_graph, strict)
        ts = _complete(push(ys, xs, _vector(v, xs, "input"), create_graph), ys, strict, "The jvp")
        return _finish(outputs, create_graph), _like(outputs, ts)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All d output / d input: a tensor, a tuple for several inputs, and a tuple of those for several outputs."""
    with enable_grad():
        xs, ys, outputs = _run(func, inputs, create_graph, strict)
        if strict:
            for i, y in enumerate(ys):
                for g in pull([y], xs, [zeros_like(y)], create_graph, keep=True):
                    if g is None:
                        _independent(f"Output {i} of the user-provided function is independent of an input")
        blocks = [_like(inputs, jacobian_of(y, xs, create_graph)) for y in ys]
        return _like(outputs, blocks)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """All second derivatives of a function of one value."""

    def gradient(*xs: Tensor) -> Any:
        g = jacobian(_scalar(func), xs, create_graph=True, strict=strict)
        return g if isinstance(inputs, tuple) else g[0]

    return jacobian(gradient, inputs, create_graph, strict)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v H), for a function of one value"""
    with enable_grad():
        xs, ys, outputs = _run(_scalar(func), inputs, create_graph, strict)
        gs = _complete(pull(ys, xs, [None], create_graph=True), xs, strict, "The jacobian")
        products = _complete(pull(gs, xs, _vector(v, xs, "input"), create_graph), xs, strict, "The hessian")
        return _finish(outputs, create_graph), _like(inputs, products)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), H v), which is v H: second derivatives are symmetric"""
    return vhp(func, inputs, v, create_graph, strict)


# -- shared ------------------------------------------------------------------------------------------------------------


def _tuple(xs: Any, whose: str) -> Tensors:
    given = tuple(xs) if isinstance(xs, (tuple, list)) else (xs,)
    for i, x in enumerate(given):
        if not isinstance(x, Tensor):
            what = f"the {whose} must be a Tensor or a tuple of Tensors; entry {i} is of type {type(x).__name__}"
            fail(PullbackError, what, "pass other things through a lambda or functools.partial")
    return given


def _run(func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool) -> tuple[list[Tensor], Tensors, Any]:
    xs = [fresh(x, connected=create_graph) for x in _tuple(inputs, "inputs given to the function")]
    outputs = func(*xs)
    ys = _tuple(outputs, "outputs of the user-provided function")
    if strict:
        for i, y in enumerate(ys):
            if not y.requires_grad:
                _independent(f"Output {i} of the user-provided function does not require gradients")
    return xs, ys, outputs


def _scalar(func: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*xs: Tensor) -> Any:
        y = func(*xs)
        if not isinstance(y, Tensor) or y._array.size != 1:
            given = f"one of shape {list(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            what = f"the function given to hessian should return a single Tensor with a single element, not {given}"
            fail(ShapeError, what, "reduce it, or use jacobian")
        return reshape(y, shape=())

    return checked


def _vector(v: Any, like: Sequence[Tensor], what: str) -> list[Tensor]:
    if v is None and (len(like) != 1 or like[0]._array.size != 1):
        fail(
            PullbackError,
            f"the vector v can only be None for a single {what} of one element",
            f"pass v, like the {what}",
        )
    if v is None:
        return [wrap(full_like(x._array, value=1.0)) for x in like]
    vs = list(_tuple(v, "vector v"))
    if len(vs) != len(like):
        fail(
            ShapeError,
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}",
            "give one entry each",
        )
    for i, (given, x) in enumerate(zip(vs, like, strict=True)):
        if given.shape != x.shape:
            what = f"entry {i} in v has invalid size: should be {list(x.shape)} but got {list(given.shape)}"
            fail(ShapeError, what, "v has the shape of what it is multiplied with")
    return vs


def _complete(gs: Sequence[Tensor | None], like: Sequence[Tensor], strict: bool, what: str) -> list[Tensor]:
    """Zeros where there is no dependence."""
    if strict and any(g is None for g in gs):
        _independent(f"{what} of the user-provided function is independent of an input")
    return [zeros_like(x) if g is None else g for g, x in zip(gs, like, strict=True)]


def _independent(what: str) -> None:
    fail(GradientError, f"{what}. This is not allowed in strict mode", "pass strict=False to get zeros")


def _like(given: Any, values: Sequence[Any]) -> Any:
    return tuple(values) if isinstance(given, (tuple, list)) else values[0]


def _finish(outputs: Any, create_graph: bool) -> Any:
    if create_graph:
        return outputs
    return tuple(y.detach() for y in outputs) if isinstance(outputs, (tuple, list)) else outputs.detach()
