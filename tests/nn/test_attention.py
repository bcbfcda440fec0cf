"""Multi-head attention and Transformer layers: masks, weights, dropout, cached decoding, mistakes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from tests.ops.harness import assert_close

import pullback
from pullback import nn
from pullback.nn import functional as F

Tensor = pullback.Tensor
LATER = pullback.ones(5, 5).triu(1).bool()
PADDING = pullback.tensor([[False] * 5, [False, False, False, True, True]])


def attention(**options: Any) -> nn.MultiheadAttention:
    pullback.manual_seed(0)
    return nn.MultiheadAttention(8, 2, batch_first=True, **{"dtype": pullback.float64, **options})


def sequence(*shape: int) -> Tensor:
    pullback.manual_seed(1)
    return pullback.randn(*(shape or (2, 5, 8)), dtype=pullback.float64)


def near(a: Tensor, b: Tensor) -> None:
    assert_close("result", a.numpy(force=True), b.numpy(force=True))


def test_one_head_by_hand() -> None:
    m = nn.MultiheadAttention(2, 1, dtype=pullback.float64)
    with pullback.no_grad():
        m.in_proj_weight.copy_(pullback.eye(2).repeat(3, 1))
        m.out_proj.weight.copy_(pullback.eye(2))
    y, weights = m(
        *(
            pullback.tensor(rows, dtype=pullback.float64)
            for rows in ([[2.0, 0]], [[1.0, 0], [0, 1]], [[5.0, 0], [0, 7]])
        )
    )
    p = 1 / (1 + math.exp(-2 / math.sqrt(2)))
    near(weights, pullback.tensor([[p, 1 - p]], dtype=pullback.float64))
    near(y, pullback.tensor([[5 * p, 7 * (1 - p)]], dtype=pullback.float64))


MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "later": {"attn_mask": LATER},
    "later, hinted": {"attn_mask": LATER, "is_causal": True},
    "padding": {"key_padding_mask": PADDING},
    "both": {"attn_mask": LATER, "key_padding_mask": PADDING, "is_causal": True},
    "float": {"attn_mask": nn.Transformer.generate_square_subsequent_mask(5), "key_padding_mask": PADDING},
}


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "bias": False}])
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
def test_the_result_is_the_same_with_weights_and_without(masks: dict[str, Any], options: dict[str, Any]) -> None:
    m, x = attention(**options), sequence()
    with_weights, weights = m(x, x, x, **masks)
    without, none = m(x, x, x, need_weights=False, **masks)
    near(with_weights, without)
    assert none is None
    near(weights.sum(-1), pullback.ones(2, 5, dtype=pullback.float64))


def test_masked_keys_have_no_weight_and_no_influence() -> None:
    m, x = attention(), sequence()
    y, weights = m(x, x, x, PADDING, attn_mask=LATER, average_attn_weights=False)
    assert weights.shape == (2, 2, 5, 5)
    assert bool((weights[:, :, LATER] == 0).all()) and bool((weights[1, :, :, 3:] == 0).all())
    other = x.clone()
    other[1, 3:] += 1
    near(y[1, :3], m(other, other, other, PADDING, attn_mask=LATER)[0][1, :3])
    other = x.clone()
    other[:, 4] += 1
    near(y[:, :4], m(other, other, other, PADDING, attn_mask=LATER)[0][:, :4])


def test_a_query_that_sees_no_key() -> None:
    """As in PyTorch: zeros where no weights are asked for, else NaN, which is what their softmax is."""
    m, x = attention(), sequence()
    blind = pullback.tensor([[False] * 5, [True] * 5])
    with pullback.no_grad():
        m.out_proj.bias.fill_(0.5)
    y, _ = m(x, x, x, blind, need_weights=False)
    near(y[1], pullback.full((5, 8), 0.5, dtype=pullback.float64))
    y, weights = m(x, x, x, blind)
    assert bool(weights[1].isnan().all()) and bool(y[1].isnan().all()) and not bool(y[0].isnan().any())
    x.requires_grad_()
    m(x, x, x, blind, need_weights=False)[0].sum().backward()
    assert bool(x.grad.isfinite().all())


def test_averaged_weights_are_the_mean_over_heads() -> None:
    m, x = attention(), sequence()
    near(m(x, x, x)[1], m(x, x, x, average_attn_weights=False)[1].mean(1))
    assert m(x[0], x[0], x[0])[1].shape == (5, 5)
    assert m(x[0], x[0], x[0], average_attn_weights=False)[1].shape == (2, 5, 5)


def test_time_first_and_batch_first_agree() -> None:
    m, x = attention(), sequence()
    y, weights = m(x, x, x, PADDING)
    m.batch_first = False
    t = x.transpose(0, 1)
    z, same = m(t, t, t, PADDING)
    near(y, z.transpose(0, 1))
    near(weights, same)


def test_static_keys_take_the_place_of_the_projected() -> None:
    m, x, k = attention(), sequence().transpose(0, 1), sequence(4, 3, 4)
    arguments = (8, 2, m.in_proj_weight, m.in_proj_bias, None, None, True, 0.0, m.out_proj.weight, m.out_proj.bias)
    y, weights = F.multi_head_attention_forward(x, x, x, *arguments, static_k=k, static_v=k)
    assert y.shape == (5, 2, 8) and weights.shape == (2, 5, 4)  # three, and the zero
    with pytest.raises(pullback.errors.ShapeError, match=r"\(4, time, 4\)"):
        F.multi_head_attention_forward(x, x, x, *arguments, static_k=k[:3], static_v=k)


def test_dropout_drops_weights_while_training() -> None:
    pullback.manual_seed(2)
    m = nn.MultiheadAttention(4, 2, dropout=0.25)
    x = pullback.randn(50, 20, 4)
    weights = m(x, x, x, average_attn_weights=False)[1]
    kept = m.eval()(x, x, x, average_attn_weights=False)[1]
    dropped = weights == 0
    assert abs(dropped.float().mean().item() - 0.25) < 0.01  # of 100 000
    np.testing.assert_allclose(
        weights[~dropped].numpy(force=True), (kept[~dropped] / 0.75).numpy(force=True), rtol=1e-5
    )
    near(m(x, x, x)[0], m(x, x, x)[0])


def test_dropout_keeps_the_mean_of_a_layer() -> None:
    pullback.manual_seed(3)
    m = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = pullback.randn(6, 1, 4).expand(6, 4000, 4)
    y = m(x, x, x, need_weights=False)[0].mean(1)
    assert (y - m.eval()(x, x, x)[0][:, 0]).abs().max().item() < 0.05


@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
def test_layers_drop_while_training_only(name: str) -> None:
    pullback.manual_seed(4)
    m = getattr(nn, name)(8, 2, 16, dropout=0.5)
    xs = [pullback.randn(5, 2, 8)] * (2 if "Decoder" in name else 1)
    assert not bool((m(*xs) == m(*xs)).any())
    m.eval()
    assert bool((m(*xs) == m(*xs)).all())


# -- Transformer layers ------------------------------------------------------------------------------------------------


def test_a_causal_mask_and_its_hint() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -math.inf, -math.inf], [0, 0, -math.inf], [0, 0, 0]]
    pullback.manual_seed(5)
    m = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True).double(), 2)
    mask, x = nn.Transformer.generate_square_subsequent_mask(5), sequence()
    near(m(x, mask), m(x, mask, is_causal=True))
    near(m(x, mask)[:, :3], m(x[:, :3], mask[:3, :3]))


def test_layers_of_a_stack_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    stack = nn.TransformerEncoder(layer, 2)
    parameters = [*layer.parameters(), *stack.parameters()]
    assert len({id(p) for p in parameters}) == len(parameters) == 36
    near(stack.layers[0].linear1.weight, stack.layers[1].linear1.weight)


def test_own_encoders_and_layers_are_called_as_pytorch_calls_them() -> None:
    class Encoder(nn.Module):
        def forward(
            self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = None
        ) -> Tensor:
            assert mask is LATER and src_key_padding_mask is PADDING and is_causal is None
            return src * 2

    class Layer(nn.TransformerEncoderLayer):
        def _ff_block(self, x: Tensor) -> Tensor:
            return x * 0

    m = nn.Transformer(8, 2, custom_encoder=Encoder(), num_decoder_layers=1, dim_feedforward=8, batch_first=True)
    x = sequence().float()
    assert m(x, x, LATER, src_key_padding_mask=PADDING).shape == (2, 5, 8)
    stack = nn.TransformerEncoder(Layer(8, 2, 16, norm_first=True, batch_first=True), 1)
    assert "self_attn.in_proj_weight" in stack.layers[0].state_dict()
    stack(x).sum().backward()
    assert stack.layers[0].linear1.weight.grad is None


# -- decoding a token at a time ----------------------------------------------------------------------------------------


class Cached(nn.Module):
    """Causal attention that keeps the keys and values of what came before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if past is not None:
            k, v = pullback.cat([past[0], k], 2), pullback.cat([past[1], v], 2)
        old, new = k.shape[2] - q.shape[2], q.shape[2]
        seen = pullback.ones(new, old + new, dtype=pullback.bool).tril(old)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(y.transpose(1, 2).flatten(2)), (k, v)


@pytest.mark.parametrize("pieces", [[1] * 6, [3, 1, 2], [6]])
def test_cached_steps_give_the_whole_causal_result(pieces: list[int]) -> None:
    pullback.manual_seed(6)
    m, x = Cached(8, 2).double(), sequence(2, 6, 8)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in m.qkv(x).chunk(3, -1))
    whole = m.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
    past, parts = None, []
    with pullback.inference_mode():
        for piece in x.split(pieces, 1):
            y, past = m(piece, past)
            parts.append(y)
    near(pullback.cat(parts, 1), whole)
    assert past is not None and past[0].shape == (2, 2, 6, 4)


def test_layers_decode_by_memory_of_their_inputs() -> None:
    """MultiheadAttention takes the newest place as query and all as keys: the last row of the causal result."""
    m, x = attention(), sequence()
    whole, _ = m(x, x, x, attn_mask=LATER)
    for t in range(1, 6):
        near(m(x[:, t - 1 : t], x[:, :t], x[:, :t])[0], whole[:, t - 1 : t])


# -- mistakes ----------------------------------------------------------------------------------------------------------

MISTAKES = {
    "no mask": ({"is_causal": True}, "hint that attn_mask is causal"),
    "mask of numbers": ({"attn_mask": LATER.long()}, "only bool and floating types of attn_mask"),
    "mask too small": ({"attn_mask": LATER[:3]}, r"is \(3, 5\), but should be \(5, 5\)"),
    "3-D mask": ({"attn_mask": LATER.expand(2, 5, 5)}, r"should be \(4, 5, 5\)"),
    "1-D mask": ({"attn_mask": LATER[0]}, "expected `attn_mask` to be 2-D or 3-D but found 1-D"),
    "padding of one": ({"key_padding_mask": PADDING[0]}, "expected `key_padding_mask` to be 2-D but found 1-D"),
    "padding too small": ({"key_padding_mask": PADDING[:, :2]}, r"must be \(2, 5\), not \(2, 2\)"),
}


@pytest.mark.parametrize(("masks", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_masks(masks: dict[str, Any], message: str) -> None:
    m, x = attention(), sequence()
    with pytest.raises(pullback.errors.PullbackError, match=message):
        m(x, x, x, **masks)


def test_mistakes_in_shapes() -> None:
    m, x = attention(), sequence()
    for inputs, message in (
        ((x, x, x[0]), "expected `value` to be 3-D but found 2-D"),
        ((x[None], x, x), "received 4-D query"),
        ((x, x, x[:, :2]), "do not fit"),
        ((x, x[:1], x[:1]), "do not fit"),
        ((x[..., :4], x, x), "embed_dim is 8"),
    ):
        with pytest.raises(pullback.errors.ShapeError, match=message):
            m(*inputs)
    for sizes in ((8, 3), (0, 1), (8, 0)):
        with pytest.raises(pullback.errors.ArgumentError, match="embed_dim"):
            nn.MultiheadAttention(*sizes)
    with pytest.raises(pullback.errors.ArgumentError, match="relu/gelu, not tanh"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")
    model = nn.Transformer(8, 2, 1, 1, 8, batch_first=True)
    with pytest.raises(pullback.errors.ShapeError, match="batch number of src and tgt"):
        model(x, x[:1])
    with pytest.raises(pullback.errors.ShapeError, match="d_model=8"):
        model(x, x[..., :4])


def test_choice_of_kernels() -> None:
    kernels, q = nn.attention, sequence(2, 3, 4)
    y = F.scaled_dot_product_attention(q, q, q)
    for choice in (kernels.SDPBackend.MATH, [kernels.SDPBackend.FLASH_ATTENTION, kernels.SDPBackend.MATH]):
        with kernels.sdpa_kernel(choice):
            near(F.scaled_dot_product_attention(q, q, q), y)
    with pytest.raises(pullback.errors.KindError, match="SDPBackend"), kernels.sdpa_kernel("math"):
        pass
    with pytest.raises(AttributeError, match="score_mod"):
        _ = kernels.flex_attention


def test_a_float32_mask_goes_with_any_query() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    for dtype in (pullback.float64, pullback.bfloat16):
        q = sequence(2, 3, 4).to(dtype)
        near(
            F.scaled_dot_product_attention(q, q, q, mask).double(),
            F.scaled_dot_product_attention(q, q, q, mask == 0).double(),
        )


# -- live --------------------------------------------------------------------------------------------------------------


def results(torch: Any, autocast: bool, need_weights: bool, mask: bool) -> list[str]:
    m = torch.nn.MultiheadAttention(8, 2)
    x = torch.ones(5, 2, 8, requires_grad=True)
    later = torch.ones(5, 5).triu(1).bool() if mask else None
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y, weights = m(x, x, x, need_weights=need_weights, attn_mask=later)
    y.sum().backward()
    return [str(t.dtype) for t in (y, weights, x.grad, m.in_proj_weight.grad) if t is not None]


@pytest.mark.parity
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_types_under_autocast_are_pytorchs(need_weights: bool, mask: bool) -> None:
    torch = pytest.importorskip("torch")
    ours = results(pullback, True, need_weights, mask)
    assert ours == results(torch, True, need_weights, mask)
    assert ours[0] == "torch.bfloat16"


@pytest.mark.parity
@pytest.mark.parametrize("name", ["TransformerEncoderLayer", "TransformerDecoderLayer"])
def test_types_of_layers_under_autocast_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    seen = []
    for library in (pullback, torch):
        m = getattr(library.nn, name)(8, 2, 16)
        xs = [library.ones(5, 2, 8)] * (2 if "Decoder" in name else 1)
        with library.autocast("cpu", dtype=library.bfloat16):
            y = m(*xs)
        y.sum().backward()
        seen.append([str(y.dtype), *(str(p.grad.dtype) for p in m.parameters())])
    assert seen[0] == seen[1]


@pytest.mark.parity
@pytest.mark.parametrize("need_weights", [False, True])
def test_queries_without_keys_are_pytorchs(need_weights: bool) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for library in (pullback, torch):
        m = library.nn.MultiheadAttention(4, 1, dtype=library.float64)
        with library.no_grad():
            m.in_proj_weight.copy_(library.eye(4).repeat(3, 1))
            m.out_proj.weight.copy_(library.eye(4))
        x = library.arange(12.0, dtype=library.float64).reshape(3, 1, 4)
        blind = library.tensor([[False] * 3, [True] * 3, [False] * 3])
        found.append(m(x, x, x, attn_mask=blind, need_weights=need_weights)[0].detach().numpy())
    np.testing.assert_allclose(*found, rtol=1e-12)


@pytest.mark.parity
def test_eval_results_without_gradients_are_pytorchs() -> None:
    """PyTorch goes another way there; it leaves zeros at padded places."""
    torch = pytest.importorskip("torch")
    theirs = (
        torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).double().eval()
    )
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).double().eval()
    ours.load_state_dict({k: pullback.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = sequence()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        y = theirs(torch.from_numpy(x.numpy()), src_key_padding_mask=torch.from_numpy(PADDING.numpy())).numpy()
    with pullback.no_grad():
        z = ours(x, src_key_padding_mask=PADDING).numpy()
    seen = ~PADDING.numpy()
    np.testing.assert_allclose(z[seen], y[seen], rtol=1e-10, atol=1e-12)
