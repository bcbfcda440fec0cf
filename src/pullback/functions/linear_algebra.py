"""Products of matrices and vectors, with PyTorch's names and arguments."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

from ..autocasting import autocasts
from ..dtypes import FLOATS
from ..errors import DTypeError, PullbackError, ShapeError, fail
from ..modes import Switch
from ..ops import arithmetic as ops
from ..ops.create import cast, full_like
from ..ops.matmul import matmul as product
from ..ops.matmul import transpose
from ..ops.record import broadcast, normal_dims
from ..ops.reduction import sum as sum_
from ..ops.shape import permute, reshape
from ..tensor import Tensor
from ..views import write
from .expose import also_known_as, public


def _expect(name: str, **ranks: tuple[Tensor, int]) -> None:
    """Each tensor must have its number of dimensions."""
    if builtins.any(x.ndim != rank for x, rank in ranks.values()):
        given = ", ".join(f"{k} {list(x.shape)}" for k, (x, _) in ranks.items())
        wanted = ", ".join(f"{k} a {rank}D tensor" for k, (_, rank) in ranks.items())
        fail(ShapeError, f"{name}: expected {wanted}, but got {given}", "matmul takes any number of dimensions")


def _into(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Where the result goes decides its type, so autocast keeps out."""
    with Switch(autocast=None):
        return write(out, product(a, b))


@public()
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The matrix product; leading dimensions are batches, 1-D tensors are a row or a column."""
    return product(input, other) if out is None else _into(out, input, other)


@public()
def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices."""
    if input._array.ndim != 2 or mat2._array.ndim != 2:
        _expect("mm", input=(input, 2), mat2=(mat2, 2))
    return product(input, mat2) if out is None else _into(out, input, mat2)


@public()
def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of matrices in two batches of equal size."""
    if input._array.ndim != 3 or mat2._array.ndim != 3:
        _expect("bmm", input=(input, 3), mat2=(mat2, 3))
    if input._array.shape[0] != mat2._array.shape[0]:
        fail(
            ShapeError,
            f"bmm: the batches differ in size: input {list(input.shape)}, mat2 {list(mat2.shape)}",
            "matmul broadcasts a batch of one",
        )
    return product(input, mat2) if out is None else _into(out, input, mat2)


@public()
@autocasts
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _expect("mv", input=(input, 2), vec=(vec, 1))
    return product(input, vec)


@public()
@autocasts
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors' elements."""
    if input.ndim != 1 or tensor.ndim != 1 or input._array.shape != tensor._array.shape:
        fail(
            ShapeError,
            f"dot: 1D tensors of equal length expected, but got {list(input.shape)} and {list(tensor.shape)}",
        )
    return product(input, tensor)


also_known_as(dot, "vdot")


@public(name="__matmul__", function=False)
def _at(self: Tensor, other: Any) -> Any:
    return product(self, other) if hasattr(other, "shape") else NotImplemented


@public(name="__rmatmul__", function=False)
def _rat(self: Tensor, other: Any) -> Any:
    return product(other, self) if hasattr(other, "shape") else NotImplemented


@public()
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products along the last dimension of both."""
    if input.ndim == 0 or other.ndim == 0:
        return ops.mul(input, other)
    if input.shape[-1] != other.shape[-1]:
        fail(ShapeError, f"inner: the last dimensions differ: {list(input.shape)} and {list(other.shape)}")
    return tensordot(input, other, ([-1], [-1]))


@public()
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """out[i, j] = input[i] * vec2[j]"""
    _expect("outer", input=(input, 1), vec2=(vec2, 1))
    return ops.mul(reshape(input, shape=(*input.shape, 1)), vec2)


also_known_as(outer, "ger")


def _affine(name: str, input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """beta * input + alpha * product; input is not read where beta is 0."""
    if input.npdtype != product.npdtype:
        fail(
            DTypeError,
            f"{name}: expected one dtype, but got {input.dtype} and {product.dtype}",
            "convert one of them with .to(dtype)",
        )
    if product.npdtype not in FLOATS and not (isinstance(alpha, int) and isinstance(beta, int)):
        fail(PullbackError, f"{name}: for integral tensors, alpha and beta must be integers, not {alpha} and {beta}")
    try:
        fits = broadcast(input, product) == product.shape
    except ValueError:
        fits = False
    if not fits:
        fail(
            ShapeError,
            f"{name}: input {list(input.shape)} does not expand to the product's shape {list(product.shape)}",
        )
    scaled = product if alpha == 1 else ops.mul(product, alpha)
    if beta == 0:
        return scaled
    return ops.add(input if beta == 1 else ops.mul(input, beta), scaled)


@public(inplace=True)
@autocasts
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Tensor | None = None
) -> Tensor:
    """beta * input + alpha * mat1 @ mat2"""
    result = _affine("addmm", input, mm(mat1, mat2), beta, alpha)
    return result if out is None else write(out, result)


@public(inplace=True)
@autocasts
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec"""
    return _affine("addmv", input, mv(mat, vec), beta, alpha)


@public(inplace=True)
@autocasts
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)"""
    return _affine("addr", input, outer(vec1, vec2), beta, alpha)


@public(inplace=True)
@autocasts
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1, out: Tensor | None = None
) -> Tensor:
    """beta * input + alpha * batch1 @ batch2, for each pair of the batches"""
    result = _affine("baddbmm", input, bmm(batch1, batch2), beta, alpha)
    return result if out is None else write(out, result)


@public(inplace=True)
@autocasts
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (the sum over the batch of batch1 @ batch2)"""
    return _affine("addbmm", input, sum_(bmm(batch1, batch2), dim=(0,)), beta, alpha)


@public(method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, in the order that takes the fewest operations."""
    return multi_dot(matrices)


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of matrices (the first and last may be vectors), in the order that takes the fewest operations."""
    chain = list(tensors)
    if not chain:
        fail(PullbackError, "multi_dot: expected at least one matrix")
    first, last = chain[0].ndim == 1, len(chain) > 1 and chain[-1].ndim == 1
    if first:
        chain[0] = reshape(chain[0], shape=(1, *chain[0].shape))
    if last:
        chain[-1] = reshape(chain[-1], shape=(*chain[-1].shape, 1))
    _expect("multi_dot", **{f"tensors[{i}]": (x, 2) for i, x in enumerate(chain)})
    # cost[i, j] is the least number of products for chain[i..j], cut after split[i, j]
    size = [chain[0].shape[0], *[x.shape[1] for x in chain]]
    cost, split = {(i, i): 0 for i in range(len(chain))}, {}
    for width in range(1, len(chain)):
        for i in range(len(chain) - width):
            j = i + width
            cost[i, j], split[i, j] = builtins.min(
                (cost[i, k] + cost[k + 1, j] + size[i] * size[k + 1] * size[j + 1], k) for k in range(i, j)
            )

    def multiply(i: int, j: int) -> Tensor:
        return chain[i] if i == j else product(multiply(i, split[i, j]), multiply(split[i, j] + 1, j))

    result = multiply(0, len(chain) - 1)
    return reshape(result, shape=result.shape[first : 1 if last else 2]) if first or last else result


@public(method=False)
@autocasts
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sum products over the last `dims` dimensions of a and the first of b, or over two given lists of dimensions."""
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    if isinstance(dims, int):
        if dims < 0:
            fail(PullbackError, f"tensordot expects dims >= 0, but got dims={dims}")
        dims = [list(range(a.ndim - dims, a.ndim)), list(range(dims))]
    over_a, over_b = (
        normal_dims([d] if isinstance(d, int) else list(d), x.ndim) for d, x in zip(dims, (a, b), strict=True)
    )
    if [a.shape[i] for i in over_a] != [b.shape[i] for i in over_b]:
        fail(
            ShapeError,
            f"tensordot: contracted dimensions need to match, but dimensions {list(over_a)} of {list(a.shape)} meet "
            f"{list(over_b)} of {list(b.shape)}",
        )
    free_a = [i for i in range(a.ndim) if i not in over_a]
    free_b = [i for i in range(b.ndim) if i not in over_b]
    left = _as_matrix(a, free_a, over_a)
    right = _as_matrix(b, over_b, free_b)
    return reshape(product(left, right), shape=(*[a.shape[i] for i in free_a], *[b.shape[i] for i in free_b]))


def _as_matrix(x: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    order = (*rows, *columns)
    x_ = x if order == tuple(range(x.ndim)) else permute(x, dims=order)
    return reshape(x_, shape=(math.prod(x.shape[i] for i in rows), math.prod(x.shape[i] for i in columns)))


@public()
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of input times the whole of other."""
    rank = builtins.max(input.ndim, other.ndim)
    left, right = ((1,) * (rank - x.ndim) + x.shape for x in (input, other))
    spread = ops.mul(
        reshape(input, shape=tuple(n for size in left for n in (size, 1))),
        reshape(other, shape=tuple(n for size in right for n in (1, size))),
    )
    return reshape(spread, shape=tuple(m * n for m, n in zip(left, right, strict=True)))


@public()
@autocasts
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of three elements along `dim` (by default the first dimension of size 3)."""
    if input.ndim != other.ndim:
        fail(
            ShapeError,
            f"cross: inputs must have the same number of dimensions, but have shapes {list(input.shape)} and "
            f"{list(other.shape)}",
        )
    shape = broadcast(input, other)
    if dim is None:
        if 3 not in shape:
            fail(ShapeError, f"cross: no dimension of size 3 in input {list(input.shape)}")
        dim = shape.index(3)
    (dim,) = normal_dims(dim, len(shape))
    if input.shape[dim - len(shape)] != 3 or other.shape[dim - len(shape)] != 3:
        fail(
            ShapeError,
            f"cross: inputs dimension {dim} must have length 3, but the shapes are {list(input.shape)} and "
            f"{list(other.shape)}",
        )
    dim -= len(shape)
    # out_i = a_{i+1} b_{i+2} - a_{i+2} b_{i+1}
    forwards = ops.mul(input.roll(-1, dim), other.roll(-2, dim))
    return ops.sub(forwards, ops.mul(input.roll(-2, dim), other.roll(-1, dim)))


@public()
@autocasts
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    _expect("trace", input=(input, 2))
    return input.diagonal().sum()


@public()
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, by repeated squaring."""
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        fail(ShapeError, f"matrix_power: expected square matrices, but got {list(input.shape)}")
    if n < 0:
        input, n = input.inverse(), -n
    power: Tensor | None = None
    while n:
        if n & 1:
            power = input if power is None else product(power, input)
        n >>= 1
        if n:
            input = product(input, input)
    if power is not None:
        return power
    diagonal = full_like(input.detach(), value=1, shape=(*input.shape[:-2], input.shape[-1]))
    return diagonal.diag_embed()


@public(method=False)
@autocasts
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The p-norm distance between each row of x1 and each row of x2; batches broadcast."""
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        fail(
            ShapeError,
            f"cdist: X1 and X2 must be at least 2D with equal numbers of columns, but they are {list(x1.shape)} and "
            f"{list(x2.shape)}",
        )
    if p < 0:
        fail(PullbackError, f"cdist only supports non-negative p values, but p is {p}")
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    if compute_mode is not None and compute_mode not in modes:
        fail(
            PullbackError,
            f"cdist: {compute_mode!r} is not a valid value for compute_mode",
            f"use one of {', '.join(modes)}",
        )
    large = builtins.max(x1.shape[-2], x2.shape[-2]) > 25 and compute_mode != modes[2]
    if p == 2 and (large or compute_mode == modes[1]):  # |x - y|^2 = |x|^2 + |y|^2 - 2 x y
        squares = (sum_(ops.mul(x, x), dim=(x.ndim - 1,), keepdim=True) for x in (x1, x2))
        left, right = squares
        squared = ops.add(ops.add(left, transpose(right)), ops.mul(product(x1, transpose(x2)), -2.0))
        apart = squared > 0  # the root has no slope at 0; the distance's subgradient there is 0
        return (
            squared.where(apart, full_like(squared.detach(), value=1.0))
            .sqrt()
            .where(apart, full_like(squared.detach(), value=0.0))
        )
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1)


@public()
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of variables, one a row; columns are observations, with optional counts and weights."""
    if input.ndim > 2:
        fail(ShapeError, f"cov(): expected input to have two or fewer dimensions but got {list(input.shape)}")
    x = reshape(input, shape=(1, math.prod(input.shape))) if input.ndim < 2 else input
    if x.npdtype not in FLOATS:
        x = x.float()
    weights = [w for w in (fweights, aweights) if w is not None]
    for given in weights:
        if given.ndim != 1 or given.shape[0] != x.shape[1]:
            fail(
                ShapeError,
                f"cov(): expected one weight for each of {x.shape[1]} observations, but the weights have shape "
                f"{list(given.shape)}",
            )
    w: Any = None
    for each in weights:
        each = cast(each, dtype=x.npdtype)
        w = each if w is None else ops.mul(w, each)
    total = w.sum() if w is not None else x.shape[1]
    weighted = x if w is None else x * w
    centred = x - weighted.sum(1, keepdim=True) / total
    if w is not None and aweights is not None and correction:
        norm = total - correction * (w * aweights).sum() / total
    else:
        norm = total - correction
    norm = norm.clamp(min=0) if isinstance(norm, Tensor) else builtins.max(norm, 0)
    result = product(centred if w is None else centred * w, transpose(centred)) / norm
    return reshape(result, shape=()) if input.ndim < 2 else result


@public()
def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of variables, one a row."""
    c = cov(input)
    if c.ndim == 0:
        return c / c
    deviation = c.diagonal().sqrt()
    return (c / deviation.unsqueeze(1) / deviation).clamp(-1, 1)
