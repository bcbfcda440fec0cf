"""A training step never reads a value: it runs on arrays that have none, as capturing it needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from tests.ops.shapes import ShapeOnly, shapes_run

import pullback as torch
import pullback.nn.functional as F
from pullback.tensor import Storage, Tensor, wrap

F32 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def _shapes() -> Iterator[None]:
    with shapes_run():
        yield


def symbolic(*shape: int, dtype: np.dtype = F32, parameter: bool = False) -> Tensor:
    t = wrap(ShapeOnly(shape, dtype))
    t.requires_grad = parameter
    return t


def test_reading_a_value_is_noticed() -> None:
    with pytest.raises(AssertionError, match="values of an array were read"):
        np.asarray(symbolic(3)._array)


def test_a_training_step_reads_no_values() -> None:
    x, target = symbolic(8, 5), symbolic(8, dtype=np.dtype(np.int64))
    w1, b1, w2, b2 = parameters = [symbolic(*shape, parameter=True) for shape in ((5, 4), (4,), (3, 4), (3,))]
    for _ in range(2):  # the second time, gradients are there already
        hidden = torch.relu(x @ w1 + b1)
        loss = F.cross_entropy(torch.matmul(hidden, w2.t()) + b2, target)
        assert loss.shape == () and loss.dtype is torch.float32
        loss.backward()
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    with torch.no_grad():
        for p in parameters:
            before = p._array
            assert p.grad.shape == p.shape and p.grad.dtype is p.dtype
            p.grad.mul_((1.0 / (norm + 1e-6)).clamp(max=1.0))
            p -= 0.1 * p.grad
            assert type(p._array) is ShapeOnly and p._array is not before and p._array is p._storage.array
            p.grad.zero_()


def test_layers_read_no_values() -> None:
    images, kernel = symbolic(2, 3, 8, 8), symbolic(4, 3, 3, 3, parameter=True)
    mean, variance, weight = symbolic(4), symbolic(4), symbolic(4, parameter=True)
    y = F.batch_norm(F.conv2d(images, kernel, padding=1), mean, variance, weight, training=True)
    y = F.max_pool2d(F.gelu(y), 2).flatten(2).transpose(1, 2)
    y = F.scaled_dot_product_attention(y, y, F.layer_norm(y, (4,)), is_causal=True)
    F.dropout(y, 0.5).mean().backward()
    assert kernel.grad.shape == kernel.shape and weight.grad.shape == (4,) and type(mean._array) is ShapeOnly


def test_second_order_reads_no_values() -> None:
    x = symbolic(4, 4, parameter=True)
    (g,) = torch.autograd.grad(torch.tanh(x @ x).sum(), [x], create_graph=True)
    (g * g).sum().backward()
    assert x.grad.shape == (4, 4)


def test_results_of_several_kinds_read_no_values() -> None:
    x = symbolic(4, 6, parameter=True)
    values, indices = x.max(dim=1)
    assert indices.shape == (4,) and indices.dtype is torch.int64
    y = torch.cat([values, x[:, 2], x.reshape(-1)]) * 2
    torch.where(y > 0, y, 0.0).sum().backward()
    assert x.grad.shape == (4, 6)


def forget(tensors: Iterable[Tensor]) -> None:
    """Tensors keep their shapes and types and lose their values."""
    for t in tensors:
        t._array = ShapeOnly(t._array.shape, t._array.dtype)
        t._storage = Storage(t._array)


def without_values(model: torch.nn.Module) -> torch.nn.Module:
    forget([*model.parameters(), *model.buffers()])
    return model


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Adagrad": {},
    "Adadelta": {},
    "Adafactor": {},
    "Rprop": {},
    "ASGD": {},
    "Lion": {},
}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_of_each_optimizer_reads_no_values(name: str, scaled: bool) -> None:
    nn = torch.nn
    model = without_values(
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    )
    optimizer = getattr(torch.optim, name)(model.parameters(), **OPTIMIZERS[name])
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    forget(scaler._state())
    x, target = symbolic(5, 6), symbolic(5, dtype=np.dtype(np.int64))
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=scaled):
            loss = F.cross_entropy(model(x), target)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    assert type(norm._array) is ShapeOnly
    assert all(type(t._array) is ShapeOnly for t in model.parameters())


def test_sequence_models_read_no_values() -> None:
    nn = torch.nn
    for layer, shape in (
        (nn.LSTM(4, 6, num_layers=2, bidirectional=True), (5, 2, 4)),
        (nn.GRU(4, 6), (5, 2, 4)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
    ):
        out = without_values(layer)(symbolic(*shape))
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())
