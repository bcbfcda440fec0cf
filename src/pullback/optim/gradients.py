"""Normalised gradients: only their direction counts. (For clipping, see nn.utils.)"""

from __future__ import annotations

from ..errors import users_line
from ..modes import no_grad
from ..nn.utils.clip_grad import Tensors, _grads, _note, get_total_norm
from ..tensor import Tensor


@no_grad()
def normalize_grad_(parameters: Tensors, each: bool = False, norm_type: float = 2.0, eps: float = 1e-12) -> Tensor:
    """g = g / (|g| + eps), in place; |g| is the norm of all gradients together, or of `each` by itself.

    Returns the norm of all together, as it was.
    """
    grads, line = _grads(parameters), users_line()
    total = get_total_norm(grads, norm_type)
    for g in grads:
        _note(g.div_((get_total_norm(g, norm_type) if each else total) + eps), line)
    return total
