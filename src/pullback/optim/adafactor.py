"""Adafactor."""

from __future__ import annotations

from ..dtypes import finfo
from ..errors import ArgumentError, fail
from ..functions.compare import minimum
from ..functions.creation import zeros_like
from ..tensor import Tensor
from .optimizer import Group, Params, check_options, scalar
from .rule import RuleOptimizer, State


class Adafactor(RuleOptimizer):
    """Adaptive learning rates with sublinear memory cost (Shazeer and Stern 2018).

    a = max(eps2, rms(p)) min(lr, 1 / sqrt(t))                  rms(x) = |x| / sqrt(size of x)
    b = t^beta2_decay
    p = p (1 - lr weight_decay)
    R = R + b (mean of g^2 over the last dim - R),   C = C + b (mean of g^2 over the one before - C)
    V = R C / mean of R                                         or V + b (g^2 - V) for vectors
    u = g / sqrt(max(V, eps1^2))
    p = p - a u / max(1, rms(u) / d)
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_options(lr=lr, weight_decay=weight_decay, epsilon1=eps[0] or 0.0, epsilon2=eps[1])
        if beta2_decay > 0:
            fail(ArgumentError, f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if d < 1:
            fail(ArgumentError, f"Clipping threshold d should be >= 1 but is: {d}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def begin(self, p: Tensor, group: Group) -> State:
        if p.ndim < 2:
            return {"step": scalar(0.0, p), "variance": zeros_like(p)}
        zeros = zeros_like(p)
        return {
            "step": scalar(0.0, p),
            "row_var": zeros.sum(-1, keepdim=True),
            "col_var": zeros.sum(-2, keepdim=True),
        }

    def rule(self, p: Tensor, g: Tensor, s: State, o: Group) -> tuple[Tensor, State]:
        eps1, eps2 = o["eps"]
        eps1 = finfo(p.dtype).eps if eps1 is None else eps1
        t = s["step"] + 1
        n = t.double()
        b = n ** o["beta2_decay"]
        a = rms(p).double().clamp(min=eps2) * minimum(1 / n.sqrt(), o["lr"] + 0 * n)
        p = p * (1 - o["lr"] * o["weight_decay"])
        after = {"step": t}
        if p.ndim < 2:
            v = after["variance"] = s["variance"] + b * (g * g - s["variance"])
        else:
            row = after["row_var"] = s["row_var"] + b * ((g * g).mean(-1, keepdim=True) - s["row_var"])
            col = after["col_var"] = s["col_var"] + b * ((g * g).mean(-2, keepdim=True) - s["col_var"])
            v = row @ col / row.mean(-2, keepdim=True).clamp(min=eps1)
        u = g * v.clamp(min=eps1 * eps1).rsqrt()
        p = p - a / (rms(u).double() / o["d"]).clamp(min=1) * u
        return p, after


def rms(x: Tensor) -> Tensor:
    """The root of the mean square."""
    return x.norm() / x.numel() ** 0.5
