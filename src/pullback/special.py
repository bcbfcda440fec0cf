"""`torch.special`: functions of mathematics and statistics, element by element."""

from __future__ import annotations

from .functions.pointwise import (
    digamma,
    erf,
    erfc,
    erfinv,
    exp2,
    expm1,
    lgamma,
    log1p,
    logit,
    polygamma,
    round,
    sigmoid,
    sinc,
    xlogy,
)
from .functions.reduction import logsumexp
from .functions.softmax import log_softmax, softmax
from .functions.special import entr, erfcx, i0, i0e, i1, i1e, log_ndtr, multigammaln, ndtr, ndtri, xlog1py

__all__ = [
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e",
    "log1p", "log_ndtr", "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr", "ndtri", "polygamma", "psi",
    "round", "sinc", "softmax", "xlog1py", "xlogy",
]  # fmt: skip

expit = sigmoid
gammaln = lgamma
psi = digamma
