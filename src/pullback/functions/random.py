"""Random tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import random as generators
from ..devices import place_of
from ..dtypes import BOOL, F32, F64, FLOATS, I64, as_dtype, get_default_dtype
from ..errors import DTypeError, PullbackError, fail
from ..modes import no_grad
from ..moves import move
from ..ops import random as ops
from ..ops.arithmetic import add, div, mul, neg, sub
from ..ops.compare import maximum, minimum
from ..ops.create import cast, full_like
from ..ops.pointwise import ceil, exp, log1p, tan
from ..ops.scan import cumsum
from ..ops.shape import expand, reshape, slice_
from ..ops.sorting import searchsorted, sort
from ..tensor import Tensor, wrap
from ..views import write
from .conversion import known
from .creation import beside, made, shape_of
from .expose import public

ALL = slice(None)


def _from(generator: Any) -> generators.Generator:
    return generators.default_generator if generator is None else generator


def sample(op: Any, shape: tuple[int, ...], npdtype: Any, generator: Any = None) -> Any:
    """An array of uniform or normal numbers."""
    return op(_from(generator).take(ops.steps(op.name, shape, npdtype)), shape=shape, dtype=npdtype)


def _float(dtype: Any) -> Any:
    d = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not d.is_floating_point:
        fail(
            DTypeError,
            f"random numbers of type {d} cannot be drawn from a continuous distribution",
            "use a floating point dtype, or randint",
        )
    return d.numpy


@public(method=False)
def rand(
    *size: Any,
    generator: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Uniform in [0, 1)."""
    return made(sample(ops.uniform, shape_of(size, options), _float(dtype), generator), requires_grad, options, out)


@public(method=False)
def randn(
    *size: Any,
    generator: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Standard normal."""
    return made(sample(ops.normal, shape_of(size, options), _float(dtype), generator), requires_grad, options, out)


def _integers(low: int, high: int, shape: tuple[int, ...], npdtype: Any, generator: Any) -> Any:
    if low >= high:
        fail(
            PullbackError,
            f"random integers from {low} to {high}: 'from' must be less than 'to'",
            "high is exclusive: it must be above low",
        )
    state = _from(generator).take(ops.steps("integers", shape, I64))
    array = ops.integers(state, low=int(low), high=int(high), shape=shape)
    return array if npdtype == I64 else cast(array, dtype=npdtype)


@public(method=False)
def randint(
    *args: Any,
    low: int = 0,
    high: Any = None,
    size: Any = None,
    generator: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    bounds = [a for a in args if not isinstance(a, (tuple, list))]
    shapes = [a for a in args if isinstance(a, (tuple, list))]
    if len(bounds) == 2:
        low, high = bounds
    elif bounds:
        low, high = (low, bounds[0]) if high is None else (bounds[0], high)
    size = shapes[0] if shapes else size
    if size is None or high is None:
        fail(
            PullbackError,
            "randint() needs high and size",
            "call it as randint(high, (2, 3)) or randint(low, high, (2, 3))",
        )
    npdtype = I64 if dtype is None else as_dtype(dtype).numpy
    return made(_integers(low, high, shape_of((size,), {}), npdtype, generator), requires_grad, options)


@public(method=False)
def randperm(
    n: int, *, generator: Any = None, dtype: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """0 ... n-1 in random order."""
    state = _from(generator).take(ops.steps("permutation", (n,), I64))
    array = ops.permutation(state, n=int(n))
    return made(array if dtype is None else cast(array, dtype=as_dtype(dtype).numpy), requires_grad, options)


@public(method=False)
def rand_like(
    input: Tensor, *, dtype: Any = None, generator: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Uniform in [0, 1), shaped like `input`."""
    options = beside(input, options)
    return rand(*input.shape, dtype=dtype or input.dtype, generator=generator, requires_grad=requires_grad, **options)


@public(method=False)
def randn_like(
    input: Tensor, *, dtype: Any = None, generator: Any = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Standard normal, shaped like `input`."""
    options = beside(input, options)
    return randn(*input.shape, dtype=dtype or input.dtype, generator=generator, requires_grad=requires_grad, **options)


@public(method=False)
def randint_like(input: Tensor, low: int, high: int | None = None, *, dtype: Any = None, **options: Any) -> Tensor:
    """Integers in [low, high) or [0, low), shaped like `input`."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, **beside(input, options))


def bernoulli_array(p: Any, generator: Any = None) -> Any:
    """A boolean array: true with probability p, element by element."""
    return ops.bernoulli(_from(generator).take(ops.steps("bernoulli", p.shape, F32)), p)


@public()
def bernoulli(input: Tensor, p: float | None = None, *, generator: Any = None, out: Tensor | None = None) -> Tensor:
    """1 with the probability that `input` (or p) says, else 0."""
    probabilities = input._array if p is None else np.full(input.shape, p, F32)
    if type(probabilities) is np.ndarray and not ((probabilities >= 0) & (probabilities <= 1)).all():
        fail(
            PullbackError,
            "Expected p_in >= 0 && p_in <= 1: a probability lies outside [0, 1]",
            "apply sigmoid or clamp first",
        )
    return made(cast(bernoulli_array(probabilities, generator), dtype=input.npdtype), False, {}, out)


@public(method=False)
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """mean + std * N, for numbers with a size or for tensors."""
    if isinstance(std, Tensor) and known(std) and (std < 0).any():
        fail(PullbackError, "normal expects all elements of std >= 0.0", "pass non-negative standard deviations")
    if not isinstance(std, Tensor) and std < 0:
        fail(PullbackError, f"normal expects std >= 0.0, but found std {std}", "pass a non-negative standard deviation")
    if size is None:
        like = (mean + std * 0) if isinstance(mean, Tensor) or isinstance(std, Tensor) else wrap(np.zeros((), F32))
        size, dtype = tuple(like.shape), dtype or like.dtype
    with no_grad():
        where = next((x.device for x in (mean, std) if isinstance(x, Tensor)), None)
        value = randn(*size, generator=generator, dtype=dtype, device=where) * std + mean
    return made(value._array, requires_grad, options, out)


@public(method=True)
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Tensor | None = None
) -> Tensor:
    """Indices drawn with the probabilities (need not sum to 1) in the last dimension."""
    if input.ndim not in (1, 2) or input.npdtype not in FLOATS:
        fail(
            PullbackError,
            f"multinomial: expected 1-D or 2-D probabilities, got {input.dtype} of shape {list(input.shape)}",
        )
    n = input.shape[-1]
    rows = math.prod(input.shape[:-1])
    p: Any = cast(reshape(input._array, shape=(rows, n)), dtype=F64)
    if known(input):
        _check_probabilities(np.asarray(p), None if replacement else num_samples)
    u = move(sample(ops.uniform, (rows, num_samples if replacement else n), F64, generator), place_of(p))
    if replacement:  # invert the distribution function
        cumulative = cumsum(p, dim=1)
        place = searchsorted(cumulative, mul(u, slice_(cumulative, key=(ALL, slice(n - 1, n)))), right=True)
        index = minimum(place, n - 1)
    else:  # exponential race: the first arrivals, at rates p, are a draw without replacement
        arrival = div(neg(log1p(neg(u))), p)
        index = slice_(sort(arrival, dim=1, descending=False)[1], key=(ALL, slice(num_samples)))
    return made(reshape(index, shape=(*input.shape[:-1], num_samples)), False, {}, out)


def _check_probabilities(p: np.ndarray[Any, Any], draws: int | None) -> None:
    """Rows of probabilities that need not sum to 1, and whether so many draws without replacement can be made."""
    if not np.isfinite(p).all() or (p < 0).any():
        fail(
            PullbackError,
            "probability tensor contains either `inf`, `nan` or element < 0",
            "look for NaN in the logits, or apply softmax first",
        )
    if (p.sum(-1) <= 0).any():
        fail(
            PullbackError,
            "invalid multinomial distribution (sum of probabilities <= 0)",
            "at least one probability of a row must be positive",
        )
    if draws is not None and draws > (p > 0).sum(-1).min():
        fail(
            PullbackError,
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement",
            "pass replacement=True, or draw fewer",
        )


# -- filling a tensor in place -----------------------------------------------------------------------------------------


def _moved(x: Any, scale: float, start: float) -> Tensor:
    """scale x + start, both numbers rounded to x's dtype first."""
    return wrap(add(mul(x, np.asarray(scale, x.dtype)), np.asarray(start, x.dtype)))


@public(function=False)
def uniform_(self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Any = None, **kw: Any) -> Tensor:
    """Fill with numbers uniform in [from, to)."""
    low = kw.pop("from", from_)
    if low > to:
        fail(
            PullbackError,
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}",
            "swap the bounds",
        )
    u = sample(ops.uniform, tuple(self.shape), self.npdtype, generator)
    return write(self, _moved(u, to - low, low))


@public(function=False)
def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with normal numbers."""
    if std < 0:
        fail(
            PullbackError, f"normal_ expects std >= 0.0, but found std {std}", "pass a non-negative standard deviation"
        )
    z = sample(ops.normal, tuple(self.shape), self.npdtype, generator)
    return write(self, _moved(z, std, mean))


@public(function=False)
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    """Fill with 1 at probability p, else 0."""
    shape = tuple(self.shape)
    like = expand(p._array, shape=shape) if isinstance(p, Tensor) else full_like(self._array, value=p, dtype=F32)
    return write(self, wrap(cast(bernoulli_array(like, generator), dtype=self.npdtype)))


@public(function=False)
def random_(self: Tensor, from_: int = 0, to: int | None = None, *, generator: Any = None, **kw: Any) -> Tensor:
    """Fill with integers: of [from, to), [0, from) given one number, or all the dtype holds exactly."""
    low = kw.pop("from", from_)
    if to is None:
        digits = {F32: 24, F64: 53}.get(self.npdtype)
        whole = (
            2 ** (digits or 8) + 1
            if self.npdtype in FLOATS
            else 2
            if self.npdtype == BOOL
            else int(np.iinfo(self.npdtype).max)
        )
        low, to = (0, low) if low else (0, whole)
    return write(self, wrap(_integers(low, to, tuple(self.shape), self.npdtype, generator)))


def _inverse(self: Tensor, generator: Any, transform: Any) -> Tensor:
    """Fill with transform(u), u uniform in [0, 1)."""
    u = sample(ops.uniform, tuple(self.shape), F64, generator)
    return write(self, wrap(cast(transform(u), dtype=self.npdtype)))


@public(function=False)
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with exponential numbers of rate lambd."""
    return _inverse(self, generator, lambda u: div(neg(log1p(neg(u))), lambd))


@public(function=False)
def geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    """Fill with the number of trials up to the first success."""
    return _inverse(self, generator, lambda u: maximum(ceil(div(log1p(neg(u)), math.log1p(-p))), 1.0))


@public(function=False)
def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> Tensor:
    """Fill with Cauchy numbers."""
    return _inverse(self, generator, lambda u: add(mul(tan(mul(sub(u, 0.5), math.pi)), sigma), median))


@public(function=False)
def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> Tensor:
    """Fill with exp of normal numbers."""
    z = sample(ops.normal, tuple(self.shape), F64, generator)
    return write(self, wrap(cast(exp(add(mul(z, std), mean)), dtype=self.npdtype)))
