"""pullback: backpropagation you can see through.

The names are PyTorch's: `import pullback as torch` runs a program written for the part of it that is here.
"""

from __future__ import annotations

import math as _math
from importlib import import_module as _import
from typing import Any as _Any

from . import functions as _functions
from . import nn
from .amp.autocast_mode import (
    autocast,
    clear_autocast_cache,
    get_autocast_dtype,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from .dtypes import (
    bfloat16,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    set_default_dtype,
    short,
    uint8,
)
from .dtypes import bool_ as bool
from .dtypes import float32 as float
from .dtypes import int32 as int
from .engines.eager import begin as _begin
from .lens.summary import summary
from .modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .random import (
    Generator,
    default_generator,
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .settings import (
    are_deterministic_algorithms_enabled,
    get_default_device,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    set_default_device,
    set_float32_matmul_precision,
    set_num_interop_threads,
    set_num_threads,
    use_deterministic_algorithms,
)
from .tensor import Size, Tensor, device
from .version import __version__

globals().update(_functions.PUBLIC)
_begin()

pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None
strided, contiguous_format, preserve_format, channels_last = (
    "torch.strided",
    "torch.contiguous_format",
    "torch.preserve_format",
    "torch.channels_last",
)

from . import accelerator, amp, autograd, backends, cuda, func, lens, linalg, random, special, testing, utils, version  # noqa: E402
from ._refusals import explain as _explain  # noqa: E402


def __getattr__(name: str) -> _Any:
    if name in (
        "data",
        "distributions",
        "optim",
        "train",
    ):  # loaded when first asked for: importing pullback stays quick
        return _import(f".{name}", __name__)
    if name in ("compile", "cond", "scan", "verify", "while_loop"):
        return getattr(_import(".program", __name__), name)
    return _explain(name)
