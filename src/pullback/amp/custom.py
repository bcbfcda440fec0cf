"""autograd.Functions under autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..dtypes import FLOATS, dtype
from ..tensor import Tensor
from ..trees import map_tensors
from .autocast_mode import autocast, get_autocast_dtype, is_autocast_enabled


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: dtype | None = None
) -> Callable[..., Any]:
    """For a Function's `forward`: with `cast_inputs`, autocast casts the inputs to that type and is off inside."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        inside = is_autocast_enabled(device_type)
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = inside and cast_inputs is None
        if not inside or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            args, kwargs = map_tensors(lambda x: _cast(x, device_type, cast_inputs), (args, kwargs))
            return fwd(ctx, *args, **kwargs)

    return forward


def _cast(x: Tensor, device_type: str, to: dtype) -> Tensor:
    narrow = x.npdtype in FLOATS and x.npdtype.itemsize < 8
    return x.to(to) if narrow and x.device.type == device_type else x


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """For a Function's `backward`: it runs under the autocast that forward ran under."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(ctx: Any, *grads: Any) -> Any:
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(ctx, *grads)

    return backward
