"""What layers start with, and what becomes of it when they are loaded or converted."""

from __future__ import annotations

import copy

import pytest

import pullback as torch
from pullback import nn


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        ("nn.Conv1d(8, 500, 5)", 40),
        ("nn.Conv2d(8, 500, 3, groups=2)", 36),
        ("nn.Conv3d(2, 500, 2)", 16),
        ("nn.ConvTranspose2d(500, 8, 3)", 72),
    ],
)
def test_convolutions_start_uniformly(make: str, fan_in: int) -> None:
    torch.manual_seed(0)
    layer, bound = eval(make), fan_in**-0.5
    for p in layer.weight, layer.bias:
        assert p.abs().max() <= bound
    assert layer.weight.abs().max() > 0.99 * bound and abs(layer.weight.std().item() * 3**0.5 / bound - 1) < 0.03


def test_embeddings_start_normally() -> None:
    torch.manual_seed(0)
    for layer in nn.Embedding(500, 60, padding_idx=3), nn.EmbeddingBag(500, 60, padding_idx=-497):
        assert abs(layer.weight.mean().item()) < 0.02 and abs(layer.weight.std().item() - 1) < 0.02
        assert not layer.weight[3].any() and layer.weight[2].any()


def test_a_pretrained_table_is_taken_as_it_is() -> None:
    table = torch.arange(6.0).reshape(3, 2)
    frozen, learning = nn.Embedding.from_pretrained(table), nn.EmbeddingBag.from_pretrained(table, freeze=False)
    assert not frozen.weight.requires_grad and learning.weight.requires_grad
    assert frozen.weight.data_ptr() == table.data_ptr() and torch.equal(frozen(torch.tensor(2)), table[2])


def test_files_from_before_num_batches_tracked_load() -> None:
    layer = nn.BatchNorm1d(3)
    state = dict(layer.state_dict(), running_mean=torch.ones(3))
    del state["num_batches_tracked"]
    layer.load_state_dict(state)
    assert layer.running_mean.tolist() == [1, 1, 1] and layer.num_batches_tracked == 0


def test_running_statistics_can_be_reset() -> None:
    layer = nn.BatchNorm1d(2)
    layer(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    assert layer.num_batches_tracked == 1 and layer.running_mean.tolist() == pytest.approx([0.2, 0.4])
    assert layer.running_var.tolist() == pytest.approx([1.1, 1.7])
    layer.reset_running_stats()
    assert layer.num_batches_tracked == 0 and not layer.running_mean.any() and (layer.running_var == 1).all()


def test_batch_norms_become_synchronised_ones() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.BatchNorm1d(2, eps=0.1), nn.ReLU())).eval()
    twin, x = copy.deepcopy(model), torch.randn(4, 3)
    twin = nn.SyncBatchNorm.convert_sync_batchnorm(twin)
    assert type(twin[1][0]) is nn.SyncBatchNorm and not twin[1][0].training and twin[1][0].eps == 0.1
    assert list(twin.state_dict()) == list(model.state_dict()) and torch.equal(twin(x), model(x))
    assert torch.equal(twin.train()(x), model.train()(x))
    assert torch.equal(twin[1][0].running_var, model[1][0].running_var)


def test_layers_keep_working_as_copies() -> None:
    layer = nn.Conv2d(1, 2, 3, padding_mode="circular", padding=1)
    twin, x = copy.deepcopy(layer), torch.randn(1, 1, 4, 4)
    assert torch.equal(twin(x), layer(x)) and twin.weight is not layer.weight


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_learn_nothing_from_an_empty_batch(momentum: float | None) -> None:
    layer = nn.BatchNorm1d(3, momentum=momentum)
    assert layer(torch.empty(0, 3)).shape == (0, 3)
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.running_var.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked == 1
