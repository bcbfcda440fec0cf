"""Products of groups in PyTorch, one after the other: its own grouped_mm takes some types and strides only."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch


def grouped_mm(a: Any, b: Any, offs: Any) -> Any:
    ends = [0, *offs.tolist()]
    groups = [slice(*pair) for pair in pairwise(ends)]
    if a.ndim == b.ndim:
        return torch.stack([a[:, some] @ b[some] for some in groups])
    if b.ndim == 3:
        rest = a.new_zeros(len(a) - ends[-1], b.shape[2])
        return torch.cat([*[a[some] @ b[e] for e, some in enumerate(groups)], rest])
    rest = b.new_zeros(a.shape[1], b.shape[1] - ends[-1])
    return torch.cat([*[a[e] @ b[:, some] for e, some in enumerate(groups)], rest], 1)
