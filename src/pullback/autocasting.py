"""Automatic mixed precision: which functions compute in a half type, and which in float32.

Products of matrices are faster in a half type and lose little; losses, sums of many terms and powers need float32. The
tables are PyTorch's, one for each device, by the names of its functions. They act in two places: `tape.apply` shows
each op's inputs to `MODES.autocast`, and functions that are made of several ops are marked `@autocasts`. What stands in
no table computes in the type of what it is given. Casts are ops like others, so gradients come back in the type of the
parameter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from . import trees
from .devices import place_of
from .dtypes import BF16, F16, F32
from .errors import PullbackError, fail
from .modes import MODES, Switch
from .ops.create import cast
from .ops.record import Op
from .tensor import Storage, Tensor

F = TypeVar("F", bound=Callable[..., Any])
NARROW = (F32, F16, BF16)  # what is cast; float64 stays, as do integers

# The policies: all arguments in the half type, in float32, in the widest of theirs; or none of that, in parts either.
HALF, FLOAT32, WIDEST, AS_GIVEN, REFUSED = "half", "float32", "widest", "as given", "refused"


def table(**names: str) -> dict[str, str]:
    """Policies by function name."""
    policies = {
        "half": HALF, "float32": FLOAT32, "widest": WIDEST, "as_given": AS_GIVEN, "refused": REFUSED,
    }  # fmt: skip
    return {name: policies[policy] for policy, group in names.items() for name in group.split()}


LOSSES = """
    cosine_embedding_loss cross_entropy hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss
    multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss smooth_l1_loss soft_margin_loss
    triplet_margin_loss binary_cross_entropy_with_logits ctc_loss
"""

POLICIES = {
    "cpu": table(
        half="""
            conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm bmm addmm addbmm
            baddbmm vecdot prelu scaled_dot_product_attention lstm rnn
        """,
        float32=LOSSES + """
            binary_cross_entropy avg_pool3d max_pool3d max_pool3d_with_indices adaptive_avg_pool3d adaptive_max_pool3d
            adaptive_max_pool3d_with_indices max_unpool2d max_unpool3d fractional_max_pool2d fractional_max_pool3d
            grid_sample pad_by_edge prod trace quantile nanquantile cdist inv pinverse cholesky cholesky_ex
            cholesky_inverse cholesky_solve qr svd svdvals eigh eigvalsh solve triangular_solve lstsq cond matrix_rank
            tensorinv tensorsolve
        """,
        widest="cat stack index_copy",
        as_given="mv addmv dot bilinear",
    ),
    "cuda": table(
        half="""
            conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul mm bmm mv addmm addmv
            addr addbmm baddbmm vecdot chain_matmul multi_dot einsum prelu scaled_dot_product_attention rnn lstm gru
        """,
        float32=LOSSES + """
            acos asin cosh erfinv exp expm1 log log10 log1p log2 logsumexp pow reciprocal rsqrt sinh tan softplus
            softmax log_softmax layer_norm group_norm rms_norm sum prod cumsum cumprod norm matrix_norm cdist pdist dist
            cosine_similarity renorm interpolate
        """,
        widest="addcdiv addcmul atan2 bilinear cat cross dot grid_sample index_put scatter_add stack tensordot",
        refused="binary_cross_entropy",
    ),
}  # fmt: skip

POLICIES["xla"] = POLICIES["cuda"]

# Records whose names are not the functions' own.
RECORDS = {
    "attention": "scaled_dot_product_attention",
    "conv": "conv2d",
    "conv_transpose": "conv_transpose2d",
    "nll": "nll_loss",
    "prelu": "",  # rrelu is made of it too: only the function has a policy
    "square": "pow",
}


class Regime:
    """What autocast does: the policies of a device, the half type, and the casts of parameters made so far.

    It is for tensors of this kind of device; `outer` is what is done for those of another.
    """

    def __init__(self, device: str, dtype: Any, cache: dict[Any, Any] | None, outer: Regime | None = None) -> None:
        self.device, self.dtype, self.cache, self.outer = device, dtype, cache, outer
        self.policies = POLICIES[device]

    @property
    def key(self) -> tuple[Any, ...]:
        """What it does, to be compared."""
        return self.device, self.dtype, None if self.outer is None else self.outer.key

    def alone(self) -> Regime:
        """The same with no casts made yet."""
        outer = None if self.outer is None else self.outer.alone()
        return Regime(self.device, self.dtype, None if self.cache is None else {}, outer)

    def of(self, device: str) -> Regime | None:
        """What is done for a kind of device."""
        return self if self.device == device else None if self.outer is None else self.outer.of(device)

    def without(self, device: str) -> Regime | None:
        """The same, but for a kind of device for which nothing is done."""
        outer = None if self.outer is None else self.outer.without(device)
        return outer if self.device == device else Regime(self.device, self.dtype, self.cache, outer)

    def __call__(self, op: Op, inputs: Sequence[Any]) -> Sequence[Any]:
        """An op's inputs in the types that it computes in."""
        kind = kind_of([x for x in inputs if isinstance(x, Tensor)])
        if kind != self.device:
            return inputs if self.outer is None else self.outer(op, inputs)
        policy = self.policies.get(RECORDS.get(op.name, op.name))
        if policy is None or policy is AS_GIVEN:
            return inputs
        if policy is REFUSED:
            refuse(op.name)
        wanted = self.type_for(policy, [x for x in inputs if isinstance(x, Tensor)])
        return [self.convert(x, wanted) if isinstance(x, Tensor) else x for x in inputs]

    def run(self, function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        """Call a function made of several ops; what it is made of goes by the policy of the whole."""
        if kind_of(trees.tensors((args, kwargs))) != self.device:
            return function(*args, **kwargs) if self.outer is None else self.outer.run(function, name, args, kwargs)
        policy = self.policies.get(name)
        if policy is None:
            return function(*args, **kwargs)
        if policy is REFUSED:
            refuse(name)
        with Switch(autocast=None):
            if policy is not AS_GIVEN and kwargs.get("out") is None:
                wanted = self.type_for(policy, trees.tensors((args, kwargs)))
                args, kwargs = trees.map_tensors(lambda x: self.convert(x, wanted), (args, kwargs))
            return function(*args, **kwargs)

    def type_for(self, policy: str, tensors: Sequence[Tensor]) -> Any:
        """The type a policy asks for."""
        if policy is WIDEST:
            policy = FLOAT32 if any(x.npdtype in NARROW and x.npdtype != self.dtype for x in tensors) else HALF
        return self.dtype if policy is HALF else F32

    def convert(self, x: Tensor, dtype: Any) -> Tensor:
        """x in a type; a parameter's half type is made once and kept, until the parameter is written."""
        if x.npdtype == dtype or x.npdtype not in NARROW:
            return x
        if self.cache is None or dtype != self.dtype or x.npdtype != F32 or x._base is not None or not is_parameter(x):
            return cast(x, dtype=dtype)
        key = id(x), dtype, MODES.grad
        known = self.cache.get(key)
        if known is None or not known.fits(x):
            known = self.cache[key] = Kept(x, cast(x, dtype=dtype))
        return known.cast


def kind_of(tensors: Sequence[Tensor]) -> str:
    """The kind of device that tensors lie on; numbers of the CPU may be among them."""
    for x in tensors:
        if (where := place_of(x._array)) != "cpu":
            return where.partition(":")[0]
    return "cpu"


def is_parameter(x: Tensor) -> bool:
    """A leaf that wants its gradient: worth keeping the cast of, since it is used again."""
    return x._requires_grad and x._node is None


class Kept:
    """A parameter's cast, and what the parameter was then."""

    def __init__(self, x: Tensor, cast: Tensor) -> None:
        self.of, self.cast = x, cast
        self.storage: Storage = x._storage
        self.version = x._storage.version

    def fits(self, x: Tensor) -> bool:
        return self.of is x and self.storage is x._storage and self.version == x._storage.version


def refuse(name: str) -> NoReturn:
    """binary_cross_entropy of a half type's sigmoid: its logarithm of 0 is a real danger there."""
    fail(
        PullbackError,
        f"{name} and BCELoss are unsafe to autocast: a sigmoid in a half type is often exactly 0 or 1",
        "use binary_cross_entropy_with_logits or BCEWithLogitsLoss, which take the logits",
    )


def autocasts(f: F) -> F:
    """A function with a policy of its own, for being made of several ops."""
    name = f.__name__

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        regime = MODES.autocast
        return f(*args, **kwargs) if regime is None else regime.run(f, name, args, kwargs)

    return call  # type: ignore[return-value]
