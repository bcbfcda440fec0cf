"""torch.nn.attention: which kernel computes attention.

Here there is one, so any choice is accepted and gives the same result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any as _Any

from .._refusals import REFUSED_ATTENTION as _REFUSED
from .._refusals import explain as _explain
from ..errors import KindError, fail

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(IntEnum):
    """PyTorch's kernels of scaled_dot_product_attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends: list[SDPBackend] | SDPBackend, set_priority: bool = False) -> Iterator[None]:
    """Allow these kernels; it changes nothing, since the one that is used agrees with all of them."""
    given = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(given, list) or not all(isinstance(b, SDPBackend) for b in given):
        fail(KindError, "Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    yield


def __getattr__(name: str) -> _Any:
    return _explain(name, __name__, _REFUSED)
