"""einsum: products summed over labelled dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import PullbackError, ShapeError, fail
from ..ops import arithmetic as ops
from ..ops.matmul import matmul as product
from ..ops.reduction import sum as sum_
from ..ops.shape import permute, reshape
from ..tensor import Tensor
from .expose import public

Labels = tuple[Any, ...]  # a letter for each dimension; a negative number for those an ellipsis stands for, -1 the last


@public(method=False)
def einsum(equation: Any, *operands: Any) -> Tensor:
    """Einstein's summation: `einsum("ij,jk->ik", x, y)`, or with numbers, `einsum(x, [0, 1], y, [1, 2], [0, 2])`."""
    if isinstance(equation, str):
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = tuple(operands[0])
        left, arrow, right = equation.replace(" ", "").partition("->")
        terms: list[Labels] = [_letters(t) for t in left.split(",")]
        output = _letters(right) if arrow else None
    else:
        given = [equation, *operands]
        output = _numbers(given.pop()) if len(given) % 2 else None
        operands, terms = tuple(given[::2]), [_numbers(t) for t in given[1::2]]
    if len(terms) != len(operands):
        fail(PullbackError, f"einsum(): the equation has {len(terms)} terms, but {len(operands)} operands were given")
    parts = [(x, _label(i, x, term)) for i, (x, term) in enumerate(zip(operands, terms, strict=True))]
    sizes = _sizes(parts)
    output = _output(terms, [labels for _, labels in parts], output)
    unknown = [label for label in output if label not in sizes]
    if unknown or len(set(output)) != len(output):
        fail(
            PullbackError,
            f"einsum(): output subscripts {_show(output)} must each appear once, and in an operand",
            "write them as in 'ij,jk->ik'",
        )
    parts = [_reduce(x, labels, sizes) for x, labels in parts]
    while len(parts) > 1:
        i, j = _cheapest(parts, sizes)
        (x, a), (y, b) = parts[i], parts.pop(j)
        kept = set(output).union(*[labels for k, (_, labels) in enumerate(parts) if k != i])
        parts[i] = _contract(*_sum_out(x, a, kept | set(b)), *_sum_out(y, b, kept | set(a)), kept)
    result, labels = _sum_out(*parts[0], set(output))
    if any(label not in labels for label in output):  # each operand had size 1 there
        labels = (*(one for one in output if one not in labels), *labels)
        result = reshape(result, shape=(1,) * (len(labels) - result.ndim) + result.shape)
    return result if labels == output else permute(result, dims=tuple(labels.index(label) for label in output))


def _letters(term: str) -> Labels:
    before, dots, after = term.partition("...")
    for c in before + after:
        if not (c.isascii() and c.isalpha()):
            fail(
                PullbackError, f"einsum(): invalid subscript {c!r} in {term!r}, subscripts must be in [a-zA-Z] or '...'"
            )
    return (*before, ..., *after) if dots else tuple(before)


def _numbers(term: Any) -> Labels:
    if not isinstance(term, (list, tuple)) or not all(n is ... or (isinstance(n, int) and 0 <= n < 52) for n in term):
        fail(
            PullbackError,
            f"einsum(): {term!r} is not a list of subscripts",
            "subscripts are numbers in [0, 52) or Ellipsis",
        )
    return tuple(n if n is ... else chr(ord("A") + n if n < 26 else ord("a") + n - 26) for n in term)


def _label(i: int, x: Tensor, term: Labels) -> Labels:
    """The term with the ellipsis spelt out; the number of labels is that of x's dimensions."""
    if ... in term:
        rank = x.ndim - len(term) + 1
        at = term.index(...)
        term = (*term[:at], *range(-rank, 0), *term[at + 1 :]) if rank >= 0 else ()
    if len(term) != x.ndim:
        fail(
            ShapeError,
            f"einsum(): operand {i} has {x.ndim} dimensions, shape {list(x.shape)}, which its subscripts do not fit",
        )
    return term


def _output(terms: list[Labels], labels: list[Labels], given: Labels | None) -> Labels:
    """The result's labels. By default what an ellipsis stands for, then each letter that appears once, in order."""
    flat = [label for one in labels for label in one]
    dots = tuple(sorted({label for label in flat if isinstance(label, int)}))
    if given is None:
        return (*dots, *sorted(label for label in set(flat) if isinstance(label, str) and flat.count(label) == 1))
    if ... in given:
        at = given.index(...)
        return (*given[:at], *dots, *given[at + 1 :])
    return given


def _show(labels: Labels) -> str:
    return "".join(label if isinstance(label, str) else "." for label in labels)


def _sizes(parts: list[tuple[Tensor, Labels]]) -> dict[Any, int]:
    """The size of each label; size 1 broadcasts."""
    sizes: dict[Any, int] = {}
    for i, (x, labels) in enumerate(parts):
        for label, n in zip(labels, x.shape, strict=True):
            known = sizes.setdefault(label, n)
            if known != n and 1 not in (known, n):
                fail(
                    ShapeError,
                    f"einsum(): subscript {_show((label,))} has size {n} for operand {i} which does not broadcast with "
                    f"previously seen size {known}",
                )
            if known == 1:
                sizes[label] = n
    return sizes


def _reduce(x: Tensor, labels: Labels, sizes: dict[Any, int]) -> tuple[Tensor, Labels]:
    """x with its diagonal where a label repeats, and without dimensions of size 1."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i, j = (k for k, one in enumerate(labels) if one == label and labels[:k].count(label) < 2)
            if x.shape[i] != x.shape[j]:
                fail(
                    ShapeError,
                    f"einsum(): subscript {label} is repeated, but the sizes don't match, {x.shape[i]} != {x.shape[j]}",
                )
            x = x.diagonal(0, i, j)  # the diagonal becomes the last dimension
            labels = (*(one for k, one in enumerate(labels) if k not in (i, j)), label)
    if 1 not in x.shape:
        return x, labels
    labels = tuple(label for label, n in zip(labels, x.shape, strict=True) if n != 1)
    return reshape(x, shape=tuple(n for n in x.shape if n != 1)), labels


def _sum_out(x: Tensor, labels: Labels, kept: set[Any]) -> tuple[Tensor, Labels]:
    """Sum over the labels nobody else has."""
    dims = tuple(i for i, label in enumerate(labels) if label not in kept)
    return (sum_(x, dim=dims), tuple(label for label in labels if label in kept)) if dims else (x, labels)


def _cheapest(parts: list[tuple[Tensor, Labels]], sizes: dict[Any, int]) -> tuple[int, int]:
    """The pair that takes the fewest multiplications; the first of equals."""
    pairs = [(i, j) for i in range(len(parts)) for j in range(i + 1, len(parts))]
    return min(pairs, key=lambda pair: math.prod(sizes[label] for label in {*parts[pair[0]][1], *parts[pair[1]][1]}))


def _contract(x: Tensor, a: Labels, y: Tensor, b: Labels, kept: set[Any]) -> tuple[Tensor, Labels]:
    """The product of two operands, summed over the labels that both have and nobody else needs."""
    batch = [label for label in a if label in b and label in kept]
    over = [label for label in a if label in b and label not in kept]
    rows = [label for label in a if label not in b]
    columns = [label for label in b if label not in a]
    size = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}

    def count(labels: list[Any]) -> int:
        return math.prod(size[label] for label in labels)

    def arranged(t: Tensor, labels: Labels, order: list[Any], shape: Sequence[int]) -> Tensor:
        dims = tuple(labels.index(label) for label in order)
        t = t if dims == tuple(range(t.ndim)) else permute(t, dims=dims)
        return t if t.shape == tuple(shape) else reshape(t, shape=tuple(shape))

    shared = [size[label] for label in batch]
    if over:
        stack = [count(batch)] if batch else []
        x = arranged(x, a, batch + rows + over, [*stack, count(rows), count(over)])
        y = arranged(y, b, batch + over + columns, [*stack, count(over), count(columns)])
        out = product(x, y)
    else:
        x = arranged(x, a, batch + rows, [*shared, count(rows), 1])
        y = arranged(y, b, batch + columns, [*shared, 1, count(columns)])
        out = ops.mul(x, y)
    labels = (*batch, *rows, *columns)
    return reshape(out, shape=tuple(size[label] for label in labels)), labels
