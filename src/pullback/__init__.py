"""pullback: backpropagation you can see through."""

from __future__ import annotations

from . import functions as _functions
from .dtypes import *  # noqa: F403
from .modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .tensor import Size, Tensor, device

globals().update(_functions.PUBLIC)
