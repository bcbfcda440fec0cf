"""accumulate: the gradient of several micro-batches is that of one big batch."""

from __future__ import annotations

import pytest

import pullback as torch
from pullback import nn, optim
from pullback.amp import GradScaler
from pullback.nn.utils.clip_grad import clip_grad_norm_
from pullback.train.accumulation import accumulate

F = nn.functional
IGNORED = -100


def batches(sizes: list[int], masked: bool = False) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(inputs, classes) in float64; with `masked`, about a third of the classes do not count, all of some batch."""
    torch.manual_seed(0)
    made = []
    for i, n in enumerate(sizes):
        y = torch.randint(3, (n,))
        if masked:
            y = torch.where(torch.rand(n) < 0.35, IGNORED, y) if i != 1 else torch.full((n,), IGNORED)
        made.append((torch.randn(n, 4, dtype=torch.float64), y))
    return made


def tokens(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (batch[1] != IGNORED).sum()


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def big_batch_gradients(net: nn.Module, parts: list) -> list[torch.Tensor]:
    x, y = (torch.cat(column) for column in zip(*parts, strict=True))
    return list(torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters())))


def check(net: nn.Module, expected: list[torch.Tensor]) -> None:
    for p, g in zip(net.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, g, rtol=1e-13, atol=1e-15)
        p.grad = None


@pytest.mark.parametrize("reduction", ["sum", "none", "mean"])
def test_unequal_batches_and_a_tail(reduction: str) -> None:
    parts, net = batches([5, 2, 7, 1, 3, 4, 6]), model()
    lengths = []
    for k, window in enumerate(accumulate(parts, 3)):
        for x, y in window:
            loss = F.cross_entropy(net(x), y, reduction=reduction)
            (window.from_mean(loss) if reduction == "mean" else window.from_sum(loss)).backward()
        check(net, big_batch_gradients(net, parts[3 * k : 3 * k + 3]))
        lengths.append((len(window), window.total))
    assert lengths == [(3, 14), (3, 8), (1, 6)] and len(accumulate(parts, 3)) == 3


def test_masks() -> None:
    """Tokens that are ignored do not count; a micro-batch may have none that do."""
    parts, net = batches([6, 4, 9, 5, 8], masked=True), model()
    for k, window in enumerate(accumulate(parts, 3, count=tokens)):
        assert window.total == sum(tokens(part).item() for part in parts[3 * k : 3 * k + 3])
        for x, y in window:
            window.from_sum(F.cross_entropy(net(x), y, reduction="sum", ignore_index=IGNORED)).backward()
        check(net, big_batch_gradients(net, parts[3 * k : 3 * k + 3]))


def test_means_with_masks() -> None:
    parts, net = batches([6, 9, 5], masked=True), model()
    del parts[1]
    (window,) = accumulate(parts, 2, count=tokens)
    for x, y in window:
        window.from_mean(F.cross_entropy(net(x), y)).backward()
    check(net, big_batch_gradients(net, parts))


def test_a_whole_step() -> None:
    """With a scaler, clipping and a schedule, the weights are those of training on big batches."""

    def train(parts: list, steps: int) -> list[torch.Tensor]:
        net = model()
        optimizer = optim.AdamW(net.parameters(), lr=0.1)
        scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        scaler = GradScaler("cpu", init_scale=1024.0)
        for window in accumulate(parts, steps, count=tokens):
            for x, y in window:
                scaler.scale(window.from_sum(F.cross_entropy(net(x), y, reduction="sum"))).backward()
            scaler.unscale_(optimizer)
            clip_grad_norm_(net.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            optimizer.zero_grad()
        return list(net.parameters())

    parts = batches([6, 4, 9, 5, 8], masked=True)
    joined = [tuple(torch.cat(c) for c in zip(*parts[i : i + 2], strict=True)) for i in range(0, 5, 2)]
    for p, q in zip(train(parts, 2), train(joined, 1), strict=True):
        assert torch.allclose(p, q, rtol=1e-10, atol=1e-12)


def test_counting() -> None:
    nested = {"meta": "text", "inputs": [torch.zeros(3, 2), torch.zeros(5)]}
    (window,) = accumulate([nested, nested], 2)
    assert window.total == 6
    (window,) = accumulate([1, 2, 3], 3, count=lambda n: 10 * n)
    assert window.counts == [10, 20, 30] and window.total == 60
    with pytest.raises(RuntimeError, match="cannot tell how many samples"):
        list(accumulate(["text"], 2))


def test_misuse_is_said() -> None:
    parts = batches([2, 2, 2, 2])

    def leave_early() -> None:
        for window in accumulate(parts, 2):
            for _ in window:
                break

    with pytest.raises(RuntimeError, match="left after 1 of its 2"):
        leave_early()
    for window in accumulate(parts, 2):  # leaving both loops is fine
        for _ in window:
            break
        break
    (window, _) = accumulate(parts, 2)
    with pytest.raises(RuntimeError, match="inside `for batch in window`"):
        window.from_mean(torch.tensor(1.0))
    list(window)
    with pytest.raises(RuntimeError, match="a second time"):
        list(window)
    with pytest.raises(RuntimeError, match="inside `for batch in window`"):
        window.from_mean(torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="one number"):
        window.from_mean(torch.ones(3))
    with pytest.raises(RuntimeError, match="at least one micro-batch"):
        accumulate(parts, 0)
    assert list(accumulate([], 4)) == []


def test_loader_is_read_a_window_at_a_time() -> None:
    taken = []

    def loader():
        for part in batches([1] * 5):
            taken.append(len(taken))
            yield part

    windows = iter(accumulate(loader(), 2))
    next(windows)
    assert len(taken) == 2
