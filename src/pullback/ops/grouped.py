"""One product of matrices for each group of rows, columns or terms: what a mixture of experts is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import FLOATS, dtype
from ..errors import DTypeError, PullbackError, fail
from .matmul import transpose
from .record import Sample, Spec, matching, op
from .samples import nan, randn


def _checked(op: Any, arrays: Sequence[Any]) -> tuple[Sequence[Any], Any]:
    """The matrices have one floating type; the ends of groups are int32."""
    offs = arrays[2]
    factors, restore = matching(op, arrays[:2])
    if arrays[0].dtype not in FLOATS:
        given = dtype.by_numpy[arrays[0].dtype].name
        fail(DTypeError, f"grouped_mm multiplies floating point matrices, but got {given}", "convert both: x.float()")
    if offs.dtype != np.int32:
        given = dtype.by_numpy[offs.dtype].name
        fail(DTypeError, f"grouped_mm: offs has to be int32, but is {given}", "convert it: offs.int()")
    return [*factors, offs], restore


def _spec(mat_a: Any, mat_b: Any, offs: Any) -> Spec:
    a, b = tuple(mat_a.shape), tuple(mat_b.shape)
    if (len(a), len(b)) not in ((2, 2), (2, 3), (3, 2)):
        raise ValueError(f"two matrices, or one and a stack, are multiplied, but they are {len(a)}D and {len(b)}D")
    if len(offs.shape) != 1:
        raise ValueError(f"offs has to be 1D: where each group ends, but is {len(offs.shape)}D")
    if a[-1] != b[-2]:
        left, right = ("x".join(map(str, shape[-2:])) for shape in (a, b))
        raise ValueError(f"mat_a and mat_b shapes cannot be multiplied ({left} and {right})")
    groups = offs.shape[0]
    for name, shape in (("mat_a", a), ("mat_b", b)):
        if len(shape) == 3 and shape[0] != groups:
            raise ValueError(f"offs ends {groups} groups, but {name} has {shape[0]} matrices")
    return Spec((groups, a[0], b[1]) if len(a) == len(b) else (a[-2], b[-1]), mat_a.dtype)


def limit(mat_a: Any, mat_b: Any) -> int:
    """How many rows of mat_a, or columns of mat_b, or terms there are to be grouped."""
    return int(mat_b.shape[1] if len(mat_a.shape) == 3 else mat_a.shape[0 if len(mat_b.shape) == 3 else 1])


def complaint(size: int) -> tuple[str, str]:
    """What is wrong with ends of groups that do not rise, and what to do."""
    what = f"grouped_mm: offs[i] is where group i ends: they have to rise, from 0 or more to {size} or less"
    return what, "count the rows of each group, in the order of the groups, and take offs = counts.cumsum(0).int()"


def check_ends(mat_a: Any, mat_b: Any, offs: Any) -> Spec:
    """Refuse ends of groups that do not rise, or lie beyond the last row; what the product will be."""
    spec, size, ends = _spec(mat_a, mat_b, offs), limit(mat_a, mat_b), [0, *offs.tolist()]
    if ends != sorted(ends) or ends[-1] > size:
        what, todo = complaint(size)
        fail(PullbackError, f"{what}, but offs is {ends[1:]}", todo)
    return spec


def _grouped_mm(mat_a: Any, mat_b: Any, offs: Any) -> Any:
    spec, ends = check_ends(mat_a, mat_b, offs), [0, *offs.tolist()]
    out = np.zeros(spec.shape, spec.dtype)
    for e, end in enumerate(ends[1:]):
        some = slice(ends[e], end)
        if mat_a.ndim == mat_b.ndim:
            np.matmul(mat_a[:, some], mat_b[some], out=out[e])
        elif mat_b.ndim == 3:
            np.matmul(mat_a[some], mat_b[e], out=out[some])
        else:
            np.matmul(mat_a[e], mat_b[:, some], out=out[:, some])
    return out


def _flops(arrays: Any, params: Any, out: Any) -> int:
    """Each row, column and term is in one group, or in none."""
    a, b = arrays[0].shape, arrays[1].shape
    return int(2 * a[-2] * a[-1] * b[-1])


def _ends(*ends: int) -> Any:
    return np.array(ends, np.int32)


def _samples() -> list[Sample]:
    rows, stack, columns = randn(7, 3), randn(3, 3, 4), randn(3, 7)
    wide, single = randn(7, 4, seed=1), np.dtype(np.float32)
    hole = randn(7, 3)
    hole[6] = nan
    return [
        Sample((rows, stack, _ends(2, 3, 7)), note="rows"),
        Sample((columns, wide, _ends(2, 3, 7)), note="terms"),
        Sample((stack.transpose(0, 2, 1), columns, _ends(2, 3, 7)), note="columns"),
        *[
            Sample(given, note=f"{kind}, {what}")
            for what, ends in {
                "empty groups": _ends(0, 4, 4), "all in one": _ends(0, 7, 7), "some in none": _ends(1, 3, 5),
                "all in none": _ends(0, 0, 0),
            }.items()
            for kind, given in {
                "rows": (rows, stack, ends), "terms": (columns, wide, ends),
                "columns": (stack.transpose(0, 2, 1), columns, ends),
            }.items()
        ],
        Sample((rows, stack[:1], _ends(7)), note="one group"),
        Sample((randn(7, 6)[::-1, ::2], randn(3, 4, 3).transpose(0, 2, 1), _ends(9, 2, 9, 3, 9, 7)[1::2]), note="strided"),
        Sample((randn(3, 7), randn(7, 0), _ends(2, 3, 7)), note="no columns"),
        Sample((randn(0, 3), stack, _ends(0, 0, 0)), note="no rows"),
        Sample((randn(7, 0), randn(3, 0, 4), _ends(2, 3, 7)), note="nothing to add up"),
        Sample((rows.astype(single), stack.astype(single), _ends(2, 3, 7)), note="float32"),
        Sample((hole, stack, _ends(2, 3, 6)), smooth=False, note="NaN in none"),
        Sample((hole.T, wide, _ends(2, 3, 6)), smooth=False, note="NaN in no term"),
    ]  # fmt: skip


# Groups of rows of a go through a matrix each; the adjoint of that are products over the terms of each group, and the
# adjoint of these again groups of rows, or of columns: with G shaped as A B,  dA = G B^T,  dB = A^T G, group by group.
grouped_mm = op(
    "grouped_mm",
    "a b for each group e, where groups are of rows of a (b is b[e]), of columns of b (a is a[e]) or of the terms"
    " (out[e] = a[:, group] b[group]); 0 in rows and columns after the last group",
    inputs="mat_a mat_b offs", torch="grouped.grouped_mm(mat_a, mat_b, offs)",
    numpy=_grouped_mm, infer=_spec, dtypes=_checked, flops=_flops,
    vjp={
        "mat_a": lambda g, mat_b, offs: grouped_mm(g, transpose(mat_b), offs),
        "mat_b": lambda g, mat_a, offs: grouped_mm(transpose(mat_a), g, offs),
    },
    samples=_samples,
)  # fmt: skip
