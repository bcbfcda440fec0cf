"""Calls of the functions that autocast has a policy for, and of some it has none for.

`a`, `b` are matrices, `s` is symmetric positive definite, `v` a vector, `image` and `volume` have two
channels, `p` lies in (0, 1), `k` are class indices. `torch` and `F` are either library's.
"""

from __future__ import annotations

import json
from pathlib import Path

EXPRESSIONS = """
a @ b
a @ v
torch.matmul(a, b)
torch.mm(a, b)
torch.bmm(a[None], b[None])
torch.mv(a, v)
torch.dot(v, v)
torch.outer(v, v)
torch.inner(a, b)
torch.einsum("ij,jk->ik", a, b)
torch.tensordot(a, b, 1)
torch.chain_matmul(a, b)
torch.linalg.multi_dot([a, b, a])
torch.linalg.vecdot(a, b)
torch.linalg.matrix_power(a, 3)
torch.addmm(b, a, b)
torch.addmv(v, a, v)
torch.addbmm(b, a[None], b[None])
torch.baddbmm(b[None], a[None], b[None])
torch.addr(a, v, v)
F.linear(a, b, v)
F.bilinear(a, b, torch.stack([a, b]))
F.conv1d(image[:, :, 0], kernel[:, :, 0], stride=2)
F.conv2d(image, kernel)
F.conv3d(volume, kernel[..., None])
F.conv_transpose1d(image[:, :, 0], kernel[:, :, 0])
F.conv_transpose2d(image, kernel)
F.conv_transpose3d(volume, kernel[..., None])
F.prelu(image, v[:1])
F.scaled_dot_product_attention(image, image, image)
F.scaled_dot_product_attention(image, image, image, a.new_zeros(4, 4))
F.mse_loss(a, b)
F.l1_loss(a, b)
F.smooth_l1_loss(a, b)
F.huber_loss(a, b)
F.poisson_nll_loss(a, b)
F.gaussian_nll_loss(a, b, p)
F.kl_div(a, p)
F.cross_entropy(a, k)
F.cross_entropy(a, p)
F.nll_loss(a, k)
F.binary_cross_entropy(p, p)
F.binary_cross_entropy_with_logits(a, p)
F.hinge_embedding_loss(a, sign)
F.margin_ranking_loss(v, v * 2, sign[0])
F.cosine_embedding_loss(a, b, sign[0])
F.soft_margin_loss(a, sign)
F.multilabel_soft_margin_loss(a, p)
F.multi_margin_loss(a, k)
F.multilabel_margin_loss(a, torch.stack([k, k, k]))
F.triplet_margin_loss(a, b, a * 2)
F.triplet_margin_with_distance_loss(a, b, a * 2)
F.avg_pool1d(image[:, :, 0], 2)
F.avg_pool2d(image, 2)
F.avg_pool3d(volume, 2)
F.max_pool2d(image, 2)
F.max_pool3d(volume, 2)
F.adaptive_avg_pool2d(image, 2)
F.adaptive_avg_pool3d(volume, 2)
F.adaptive_max_pool2d(image, 2)
F.adaptive_max_pool3d(volume, 2)
F.grid_sample(image, grid, align_corners=False)
F.interpolate(image, scale_factor=2)
F.pad(image, (1, 1, 1, 1))
F.pad(image, (1, 1, 1, 1), mode="reflect")
F.pad(image, (1, 1, 1, 1), mode="replicate")
F.pad(image, (1, 1, 1, 1), mode="circular")
F.layer_norm(a, (3,))
F.group_norm(image, 1)
F.layer_norm(a, (3,), b[0], b[1])
F.rms_norm(a, (3,), b[0])
F.group_norm(image, 1, b[0, :2], b[1, :2])
F.batch_norm(image, grid[0, 0, 0] * 0.0, grid[0, 0, 0] ** 2, grid[0, 0, 1], grid[0, 1, 0])
F.batch_norm(image, grid[0, 0, 0] * 0.0, grid[0, 0, 0] ** 2, grid[0, 0, 1], grid[0, 1, 0], training=True)
F.batch_norm(image, None, None, training=True)
F.normalize(a)
F.cosine_similarity(a, b)
F.pdist(a)
F.embedding(k, a)
F.gelu(a)
F.relu(a)
F.silu(a)
F.softplus(a)
F.softmax(a, 0)
F.log_softmax(a, 0)
torch.cdist(a, b)
torch.dist(a, b)
torch.cross(a, b, 1)
torch.prod(a)
torch.prod(a, 0)
torch.sum(a)
torch.mean(a)
torch.var(a)
torch.cumsum(a, 0)
torch.cumprod(a, 0)
torch.logsumexp(a, 0)
torch.trace(a)
torch.quantile(a, 0.5)
torch.nanquantile(a, 0.5)
torch.median(a)
torch.norm(a)
torch.exp(a)
torch.log(p)
torch.sqrt(p)
torch.rsqrt(p)
torch.reciprocal(p)
torch.tan(a)
a ** 2
a.pow(b)
a + b
a * b
torch.addcmul(a, a, b)
torch.atan2(a, b)
torch.cat([a, b])
torch.stack([a, b])
torch.hstack([a, b])
torch.index_copy(a, 0, k, b)
torch.scatter_add(a, 0, k[None], b)
torch.where(a > 0, a, b)
torch.linalg.inv(s)
torch.inverse(s)
torch.pinverse(s)
torch.linalg.cholesky(s)
torch.cholesky_inverse(s)
torch.cholesky_solve(b, s)
torch.linalg.qr(s)[0]
torch.linalg.svd(s)[1]
torch.linalg.svdvals(s)
torch.linalg.eigh(s)[0]
torch.linalg.eigvalsh(s)
torch.linalg.solve(s, b)
torch.linalg.lstsq(s, b)[0]
torch.linalg.tensorinv(s.reshape(3, 3, 1), 2)
torch.linalg.tensorsolve(s, v)
""".strip().splitlines()


def arguments(torch, dtypes):
    """The names above, in float32 or a half type: `dtypes` are those of a, v, p, image ... and of b, kernel, grid."""

    def ramp(*shape, dtype, scale=1.0):
        n = 1
        for size in shape:
            n *= size
        values = [((37 * i + 11) % 101 - 50) / 60.0 * scale for i in range(n)]
        return torch.tensor(values, dtype=torch.float32).reshape(shape).to(dtype)

    one, other = dtypes
    matrix = ramp(3, 3, dtype=torch.float32)
    return {
        "a": ramp(3, 3, dtype=one),
        "b": ramp(3, 3, dtype=other, scale=0.7),
        "s": (matrix @ matrix.T + 3 * torch.eye(3)).to(one),
        "v": ramp(3, dtype=one, scale=0.5),
        "p": torch.sigmoid(ramp(3, 3, dtype=torch.float32)).to(one),
        "k": torch.tensor([2, 0, 1]),
        "sign": torch.tensor([[1.0, -1.0, 1.0]] * 3, dtype=other),
        "image": ramp(1, 2, 4, 4, dtype=one),
        "volume": ramp(1, 2, 4, 4, 4, dtype=one),
        "kernel": ramp(2, 2, 3, 3, dtype=other, scale=0.3),
        "grid": ramp(1, 2, 2, 2, dtype=other),
    }


HALVES = "bfloat16", "float16"


def cases(half):
    """The types of the arguments, in turn."""
    return {
        "single": ("float32", "float32"),
        "half": (half, half),
        "half and single": (half, "float32"),
        "single and half": ("float32", half),
        "double": ("float64", "float64"),
    }


def evaluate(torch, expression, dtypes, half):
    """What the expression gives under autocast on the CPU."""
    names = arguments(torch, [getattr(torch, name) for name in dtypes])
    with torch.autocast("cpu", getattr(torch, half)):
        return eval(expression, {"torch": torch, "F": torch.nn.functional, **names})


def result_type(torch, expression, dtypes, half):
    """The result's type, or None if the call is refused."""
    try:
        return str(evaluate(torch, expression, dtypes, half).dtype).removeprefix("torch.")
    except (RuntimeError, TypeError, ValueError):
        return None


def all_types(torch):
    """The result's type for every expression and case."""
    return {
        half: {
            case: {e: result_type(torch, e, dtypes, half) for e in EXPRESSIONS} for case, dtypes in cases(half).items()
        }
        for half in HALVES
    }


EXPECTED = Path(__file__).with_name("expected.json")

if __name__ == "__main__":  # python -m tests.amp.expressions: write down what PyTorch does
    import torch

    EXPECTED.write_text(json.dumps(all_types(torch), indent=1) + "\n")
