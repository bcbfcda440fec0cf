"""Functions from functions: grad, value_and_grad, vjp, jvp, jacrev, hessian (torch.func).

Arguments and results may be tuples, lists and dicts of tensors. Transforms nest, and what they return can be
differentiated by everything else it depends on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import trees
from .errors import PullbackError, ShapeError, fail
from .functional import fresh, jacobian_of, pull, push, zeros_like
from .modes import MODES, enable_grad
from .tape import edge, reachable
from .tensor import Tensor

ArgNums = int | tuple[int, ...]


def grad(func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives func's gradient by the arguments `argnums`."""

    def gradient(*args: Any, **kwargs: Any) -> Any:
        g, value = grad_and_value(func, argnums, has_aux)(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def value_and_grad(func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """As grad_and_value, the value first."""
    both = grad_and_value(func, argnums, has_aux)
    return lambda *args, **kwargs: both(*args, **kwargs)[::-1]


def grad_and_value(func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives (func's gradient, func's value); the value is (value, aux) with `has_aux`."""

    def both(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            args, chosen, xs = _prepare(args, argnums)
            out = func(*args, **kwargs)
        y, aux = _split(out, has_aux)
        if not isinstance(y, Tensor) or y.ndim:
            given = f"a tensor with {y.ndim} dims" if isinstance(y, Tensor) else type(y).__name__
            fail(ShapeError, f"expected func(*args) to return a scalar tensor, got {given}", "reduce it, or use jacrev")
        outer = _outer([y], xs)
        found = iter(pull([y], xs, [None], create_graph=outer))
        g = trees.map_tensors(lambda x: zeros_like(x) if (got := next(found)) is None else got, chosen)
        g, y, aux = _leave((g, y, aux), xs)
        return g, (y, aux) if has_aux else y

    return both


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(func(*primals), the function that takes v to v J[, aux])"""
    with enable_grad():
        args, _, xs = _prepare(primals, tuple(range(len(primals))))
        out, aux = _split(func(*args), has_aux)
    ys = trees.tensors(out)
    outer = _outer(ys, xs)

    def pullback(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        vs = trees.tensors(cotangents)
        if len(vs) != len(ys):
            fail(
                ShapeError,
                f"the function returned {len(ys)} tensors, but there are {len(vs)} cotangents",
                "give one each",
            )
        create = (
            create_graph if create_graph is not None else MODES.grad and (outer or any(v.requires_grad for v in vs))
        )
        found = iter(pull(ys, xs, vs, create, keep=retain_graph))
        return _leave(trees.map_tensors(lambda x: zeros_like(x) if (got := next(found)) is None else got, args), xs)

    value, aux = _leave((out, aux), xs)
    return (value, pullback, aux) if has_aux else (value, pullback)


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(func(*primals), J t[, aux])"""
    with enable_grad():
        args, _, xs = _prepare(tuple(primals), tuple(range(len(primals))))
        out, aux = _split(func(*args), has_aux)
        ys, ts = trees.tensors(out), trees.tensors(tangents)
        if len(ts) != len(xs):
            fail(ShapeError, f"there are {len(xs)} primals, but {len(ts)} tangents", "give one each")
        outer = _outer(ys, xs) or any(t.requires_grad for t in ts)
        pushed = iter(push(ys, xs, ts, create_graph=outer))
    tangent = trees.map_tensors(lambda y: zeros_like(y) if (got := next(pushed)) is None else got, out)
    value, tangent, aux = _leave((out, tangent, aux), xs)
    return (value, tangent, aux) if has_aux else (value, tangent)


def jacrev(
    func: Callable[..., Any], argnums: ArgNums = 0, *, has_aux: bool = False, chunk_size: Any = None
) -> Callable[..., Any]:
    """The function that gives func's Jacobian: for each tensor in the result, one for each tensor in the arguments."""

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        with enable_grad():
            args, chosen, xs = _prepare(args, argnums)
            out, aux = _split(func(*args, **kwargs), has_aux)
            outer = _outer(trees.tensors(out), xs)
            blocks = trees.map_tensors(lambda y: trees.rebuild(chosen, jacobian_of(y, xs, create_graph=outer)), out)
        blocks, aux = _leave((blocks, aux), xs)
        return (blocks, aux) if has_aux else blocks

    return jacobian


def jacfwd(
    func: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The same Jacobian as jacrev's, by the same way."""
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """The function that gives func's second derivatives: the Jacobian of its Jacobian."""
    return jacrev(jacrev(func, argnums), argnums)


# -- shared ------------------------------------------------------------------------------------------------------------


def _prepare(args: tuple[Any, ...], argnums: ArgNums) -> tuple[tuple[Any, ...], Any, list[Tensor]]:
    """(arguments, those to differentiate by under fresh names; these alone; the tensors in them)"""
    places = (argnums,) if isinstance(argnums, int) else argnums
    for i in places:
        if not -len(args) <= i < len(args):
            fail(
                PullbackError,
                f"argnums names argument {i}, but the function got {len(args)} positional arguments",
                "pass it by position",
            )
    renewed = list(args)
    for i in places:
        renewed[i] = trees.map_tensors(fresh, renewed[i])
    chosen = renewed[argnums] if isinstance(argnums, int) else tuple(renewed[i] for i in places)
    return tuple(renewed), chosen, trees.tensors(chosen)


def _split(out: Any, has_aux: bool) -> tuple[Any, Any]:
    if has_aux and not (isinstance(out, tuple) and len(out) == 2):
        fail(
            PullbackError, "with has_aux=True the function returns (output, aux)", "return a pair, or leave has_aux out"
        )
    return out if has_aux else (out, None)


def _outer(ys: list[Tensor], xs: list[Tensor]) -> bool:
    """Is there anything else that the results depend on and somebody may ask gradients by?"""
    roots = [e for y in ys if (e := edge(y)) is not None]
    own = {id(x) for x in xs}
    return MODES.grad and any(isinstance(e, Tensor) and id(e) not in own for e in reachable(roots, None))


def _leave(tree: Any, xs: list[Tensor]) -> Any:
    """Results that depend on nothing but the fresh names are constants outside."""
    return trees.map_tensors(lambda t: t if _outer([t], xs) else t.detach(), tree)
