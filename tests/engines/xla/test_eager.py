"""Eager ops on arrays of a device: values, dtypes, views, writes and training are the CPU's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.engines.xla.compare import close

import pullback as torch
from pullback import devices, nn
from pullback.ops.record import OPS

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.parity
F = nn.functional


def on(*shape: int) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape).to("xla")


# -- ops ---------------------------------------------------------------------------------------------------------------

VIEWS = [name for name, op in OPS.items() if op.view]
# How each is written in JAX is tested in test_forms; here, that an op of each kind runs at once.
OTHERS = [
    "add", "mul", "div", "where", "cast", "clone", "full_like", "sum", "amax", "argmax", "sort", "topk", "matmul",
    "conv", "max_pool", "softmax", "layer_norm", "gather", "scatter_add", "take_at", "put_at", "embedding", "cumsum",
    "cat", "stack", "nll", "attention", "nonzero", "adam", "sgd", "uniform", "qr", "pad", "tril",
]  # fmt: skip


@pytest.mark.parametrize("name", [*VIEWS, *[name for name in OTHERS if name in OPS]])
def test_ops(name: str) -> None:
    there = devices.elsewhere()
    op = OPS[name]
    for sample in op.samples()[: 8 if op.view else 2]:
        with np.errstate(all="ignore"):
            expected = op(*sample.inputs, **sample.params)
        given = [there.place(x, "xla:0") if isinstance(x, np.ndarray) else x for x in sample.inputs]
        got = op(*given, **sample.params)
        pairs = [(expected, got)] if not isinstance(got, tuple) else list(zip(expected, got, strict=True))
        for a, b in pairs:
            assert b.device == "xla:0" and a.shape == b.shape and a.dtype == b.dtype, sample.note
            close(np.asarray(a), np.asarray(b), f"{name} {sample.note}")
            if op.view and sample.note != "must copy":
                assert b.base is given[0].base, sample.note


def test_numbers_of_another_type_are_other_numbers() -> None:
    x = torch.arange(3, device="xla")
    for number, dtype in ((2, torch.int64), (2.0, torch.float32), (True, torch.int64)):
        assert (x * number).dtype is dtype and torch.maximum(x, torch.tensor(number)).dtype is dtype
    assert (x == 1).tolist() == [False, True, False] and (x == True).tolist() == [False, True, False]  # noqa: E712
    assert [(x.double() * k).sum().item() for k in (0.5, 1 / 3, 2)] == [1.5, 1.0, 6.0]


def test_mistakes_are_told_as_on_the_cpu() -> None:
    with pytest.raises(ValueError, match="do not broadcast"):
        on(3) + on(4)
    with pytest.raises(RuntimeError, match="matmul"):
        on(2, 3) @ on(2, 3)
    with pytest.raises(IndexError, match="index 3 is out of bounds for dimension 0 with size 3"):
        on(3)[torch.tensor([0, 3], device="xla")]
    with pytest.raises(IndexError, match="out of bounds"):
        F.embedding(torch.tensor([5], device="xla"), on(3, 2))
    with pytest.raises(RuntimeError, match="single memory location"):
        on(1).expand(3).add_(1)


# -- views, writes, keys -----------------------------------------------------------------------------------------------


def writes(x: torch.Tensor) -> list[torch.Tensor]:
    seen = [x.t(), x[1:], x.view(-1)[::2], x.diagonal()]
    x[1:3] = 7.0
    x.t().add_(1)
    seen[3].mul_(2)
    x[x > 15] = 0.5
    x[[0, 2], 1] = torch.tensor([5.0, 6.0], device=x.device)
    seen[1][0] = torch.arange(4.0)
    x[..., -1] += 3
    x.view(-1)[::2].zero_()
    first, *_ = x.unbind(0)
    first.copy_(x[2])
    x.masked_fill_(x == 1, -4.0)
    return [x, *seen, x[x > 2], x[[0, 2]], x[:, None, 1], x[torch.tensor(1)], x[x[:, 0] > -9, 1], torch.nonzero(x)]


def test_views_and_writes() -> None:
    expected, got = writes(torch.arange(16.0).reshape(4, 4)), writes(on(4, 4))
    for a, b in zip(expected, got, strict=True):
        assert b.device.type == "xla" and a.tolist() == b.tolist()
    assert [a.stride() for a in expected[:5]] == [b.stride() for b in got[:5]]


def test_a_reshape_that_copies_is_no_view() -> None:
    for device in ("cpu", "xla"):
        x = torch.arange(6.0, device=device).reshape(2, 3)
        y = x.t().reshape(6)
        y.zero_()
        assert x.sum().item() == 15.0
        with pytest.raises(RuntimeError, match="not compatible"):
            x.t().view(6)


def test_gradients_of_writes() -> None:
    def run(device: str) -> list[Any]:
        w = torch.arange(6.0, device=device).reshape(2, 3).requires_grad_()
        x = w * 2
        x[0].mul_(w[1])
        x.t()[1] = w.sum(1)
        x[w > 3] = 1.0
        (x**2).sum().backward()
        return w.grad.tolist()

    assert run("cpu") == run("xla")


# -- training ----------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(4, 6, 2, dropout=0.2), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(x)[0][-1])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(11, 8), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        return self.out(self.encoder(self.embedding(x), mask=mask).mean(1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def cnn() -> nn.Module:
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(36, 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], type]] = {
    "mlp": (mlp, (6, 4), float),
    "cnn": (cnn, (4, 1, 6, 6), float),
    "lstm": (Recurrent, (5, 3, 4), float),
    "transformer": (Transformer, (3, 5), int),
    "line": (lambda: nn.Linear(4, 3), (6, 4), float),
}


def trained(
    name: str, device: str, optimizer: str = "SGD", scaled: bool = False, compiled: bool = False, **options: Any
) -> list[torch.Tensor]:
    """Two steps; losses, parameters, buffers and the optimizer's state."""
    make, shape, kind = MODELS[name]
    torch.manual_seed(0)
    model = make().to(device)
    g = torch.Generator().manual_seed(1)
    x = (torch.randn(shape, generator=g) if kind is float else torch.randint(0, 11, shape, generator=g)).to(device)
    y = torch.randint(0, 3, (shape[1] if name == "lstm" else shape[0],), generator=g).to(device)
    rule = getattr(torch.optim, optimizer)(model.parameters(), lr=0.05, **options)
    scaler = torch.amp.GradScaler(device, init_scale=128.0, enabled=scaled)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        rule.zero_grad()
        loss = F.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(rule)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(rule)
        scaler.update()
        return loss.detach()

    if compiled:
        step = torch.compile(step)
    losses = [step(x, y) for _ in range(2)]
    state = [s for p in model.parameters() for s in rule.state.get(p, {}).values() if isinstance(s, torch.Tensor)]
    result = [*losses, *model.state_dict().values(), *state]
    assert {t.device.type for t in result} == {device}
    return result


def same(expected: list[torch.Tensor], got: list[torch.Tensor], tolerance: float = 1e-5) -> None:
    for a, b in zip(expected, got, strict=True):
        assert a.dtype is b.dtype and a.shape == b.shape
        torch.testing.assert_close(b.cpu(), a, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm", "transformer"])
def test_training(name: str) -> None:
    expected = trained(name, "cpu", momentum=0.9)
    same(expected, trained(name, "xla", momentum=0.9))
    if name == "mlp":
        same(expected, trained(name, "xla", momentum=0.9, compiled=True))


@pytest.mark.parametrize("optimizer", ["Adam", "RMSprop", "Lion"])
def test_optimizers(optimizer: str) -> None:
    same(trained("line", "cpu", optimizer), trained("line", "xla", optimizer), 1e-4)


def test_grad_scaler() -> None:
    expected = trained("line", "cpu", scaled=True)
    same(expected, trained("line", "xla", scaled=True))
    same(expected, trained("line", "xla", scaled=True, compiled=True))


def test_autocast_follows_the_device() -> None:
    x, y = torch.ones(2, 2), torch.ones(2, 2, device="xla")
    with torch.autocast("xla"):
        assert torch.is_autocast_enabled("xla") and not torch.is_autocast_enabled("cpu")
        assert (x @ x).dtype is torch.float32 and (y @ y).dtype is torch.bfloat16
        assert y.bfloat16().exp().dtype is torch.float32  # as CUDA's table has it
        with torch.autocast("cpu", torch.float16):
            assert (x @ x).dtype is torch.float16 and (y @ y).dtype is torch.bfloat16
            assert torch.get_autocast_dtype("xla") is torch.bfloat16
        with torch.autocast("xla", enabled=False):
            assert (y @ y).dtype is torch.float32
        layer = nn.Linear(2, 2, device="xla")
        loss = F.mse_loss(layer(y), y)
    loss.backward()
    assert loss.dtype is torch.float32 and layer.weight.grad.dtype is torch.float32
    assert not torch.is_autocast_enabled("xla")

    @torch.compile
    def product(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    for on_, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        with torch.autocast("xla", enabled=on_):
            assert product(y).dtype is dtype and product(x).dtype is torch.float32


# -- functions that make tensors of their own --------------------------------------------------------------------------

FUNCTIONS: dict[str, Callable[[str], Any]] = {
    "dropout": lambda d: F.dropout(torch.ones(50, device=d), 0.4),
    "gumbel_softmax": lambda d: F.gumbel_softmax(torch.ones(4, 5, device=d)),
    "rrelu": lambda d: F.rrelu(-torch.ones(9, device=d), training=True),
    "multinomial": lambda d: torch.multinomial(torch.tensor([0.1, 0.2, 0.7], device=d), 2),
    "normal": lambda d: torch.normal(torch.zeros(3, device=d), torch.ones(3, device=d)),
    "exponential": lambda d: torch.empty(9, device=d).exponential_(),
    "trunc_normal": lambda d: nn.init.trunc_normal_(torch.empty(3, 3, device=d)),
    "orthogonal": lambda d: nn.init.orthogonal_(torch.empty(3, 3, device=d)),
    "unique": lambda d: torch.unique(torch.tensor([0.0, 1, 1, 2], device=d)),
    "masked_select": lambda d: torch.arange(4.0, device=d).masked_select(torch.arange(4, device=d) > 1),
    "isin": lambda d: torch.isin(torch.arange(4, device=d), torch.tensor([1, 2], device=d)),
    "as_strided": lambda d: torch.arange(6.0, device=d).as_strided((2, 2), (2, 1), 1),
    "affine_grid": lambda d: F.affine_grid(torch.eye(2, 3, device=d)[None], (1, 1, 2, 2), align_corners=False),
    "ctc_loss": lambda d: F.ctc_loss(
        torch.zeros(1, 1, 4, device=d).log_softmax(-1), torch.tensor([[2]], device=d), (1,), (1,)
    ),
    "multilabel_margin_loss": lambda d: F.multilabel_margin_loss(
        torch.ones(2, 3, device=d), torch.tensor([[0, -1, 0], [1, -1, 0]], device=d)
    ),
    "embedding with max_norm": lambda d: F.embedding(
        torch.tensor([[0, 1]], device=d), torch.ones(3, 2, device=d), max_norm=0.5
    ),
    "embedding_bag": lambda d: F.embedding_bag(
        torch.tensor([0, 1, 2], device=d), torch.ones(3, 2, device=d), torch.tensor([0, 2], device=d)
    ),
    "packed": lambda d: nn.GRU(3, 4, device=d)(
        nn.utils.rnn.pack_padded_sequence(torch.ones(5, 2, 3, device=d), [5, 3])
    )[1],
    "cell": lambda d: nn.LSTMCell(3, 4, device=d)(torch.ones(2, 3, device=d))[0],
    "fractional_max_pool2d": lambda d: F.fractional_max_pool2d(torch.ones(1, 1, 5, 5, device=d), 2, 3),
    "pdist": lambda d: F.pdist(torch.eye(3, device=d)),
    "Normal": lambda d: torch.distributions.Normal(torch.zeros(3, device=d), 1.0).rsample((2,)),
    "Categorical": lambda d: torch.distributions.Categorical(logits=torch.zeros(3, device=d)).sample((4,)),
}


@pytest.mark.parametrize("call", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_stay_on_the_device(call: Callable[[str], Any]) -> None:
    results = []
    for device in ("cpu", "xla"):
        torch.manual_seed(5)
        results.append(call(device))
    expected, got = results
    assert got.device.type == "xla" and got.dtype is expected.dtype
    torch.testing.assert_close(got.detach().cpu(), expected.detach(), rtol=1e-5, atol=1e-5)
