"""What layers refuse, and how they say so."""

from __future__ import annotations

import pytest

import pullback as torch
from pullback import nn

x4 = torch.zeros(2, 3, 4, 4)

MISTAKES = {
    "gradients are dense": "nn.Embedding(3, 2, sparse=True)",
    "EmbeddingBag: gradients are dense": "nn.EmbeddingBag(3, 2, sparse=True)",
    "offsets must begin with 0": "nn.EmbeddingBag(3, 2)(torch.tensor([1, 2]), torch.tensor([1]))",
    "the last of them must be": "nn.EmbeddingBag(3, 2, include_last_offset=True)(torch.arange(2), torch.arange(2))",
    "padding_idx 3 must be within num_embeddings=3": "nn.Embedding(3, 2, padding_idx=3)",
    r"has shape \[2, 2\], but should have \[3, 2\]": "nn.Embedding(3, 2, _weight=torch.zeros(2, 2))",
    "should be 2-dimensional": "nn.Embedding.from_pretrained(torch.zeros(3))",
    "in_channels must be divisible by groups": "nn.Conv2d(3, 4, 3, groups=2)",
    "out_channels must be divisible by groups": "nn.Conv2d(4, 3, 3, groups=2)",
    "groups must be a positive integer": "nn.Conv2d(4, 4, 3, groups=0)",
    "padding_mode must be one of": "nn.Conv2d(3, 4, 3, padding_mode='mirror')",
    "Invalid padding string 'equal'": "nn.Conv2d(3, 4, 3, padding='equal')",
    "not supported for strided convolutions": "nn.Conv2d(3, 4, 3, stride=2, padding='same')",
    "expected kernel_size to be a single integer value or a list of 2 values": "nn.Conv2d(3, 4, (1, 2, 3))",
    "expected input.* to have 3 channels, but got 2": "nn.Conv2d(3, 4, 3)(torch.zeros(1, 2, 4, 4))",
    "ConvTranspose1d pads with zeros": "nn.ConvTranspose1d(3, 4, 3, padding_mode='circular')",
    r"valid sizes range from \[9, 9\] to \[10, 10\]": "nn.ConvTranspose2d(3, 4, 3, 2)(x4, output_size=(9, 11))",
    "output_size must have 2 or 4 elements": "nn.ConvTranspose2d(3, 4, 3)(x4, output_size=(6,))",
    "expected 2D or 3D input": "nn.BatchNorm1d(3)(x4)",
    "expected 4D input": "nn.BatchNorm2d(3)(x4[0])",
    "expected 5D input": "nn.BatchNorm3d(3)(x4)",
    "expected at least 2D input": "nn.SyncBatchNorm(3)(x4[0, 0, 0])",
    "no process groups": "nn.SyncBatchNorm(3, process_group=1)",
    "running_mean should contain 3 elements not 5": "nn.BatchNorm2d(5)(x4)",
    "Expected more than 1 value per channel": "nn.BatchNorm1d(3)(torch.zeros(1, 3))",
    "at dim=1 to be num_features=5, not 3": "nn.InstanceNorm2d(5, affine=True)(x4)",
    "must be divisible by num_groups": "nn.GroupNorm(2, 3)",
    r"Given normalized_shape=\[5\]": "nn.LayerNorm(5)(x4)",
    "dropout probability": "nn.Dropout(-0.1)",
    "max_val must be larger": "nn.Hardtanh(1, 1)",
    "expected 3D or 4D input": "nn.ReflectionPad2d(1)(x4[0, 0])",
    "too large": "nn.ReflectionPad2d(4)(x4)",
    "either output_size or output_ratio": "nn.FractionalMaxPool2d(2)",
    "output_ratio must be between 0 and 1": "nn.FractionalMaxPool2d(2, output_ratio=1.5)",
    "do not fit into an input": "nn.FractionalMaxPool2d(2, output_size=4)(x4)",
    "invalid max index: 20": "nn.MaxUnpool1d(2)(torch.zeros(1, 1, 2), torch.tensor([[[0, 20]]]))",
    "margin must be greater than 0": "nn.TripletMarginLoss(0)",
    "only p == 1 and p == 2 supported": "nn.MultiMarginLoss(3)",
    "not a valid value for reduction": "nn.MSELoss(reduction='avg')(x4, x4)",
    "negative entry": "nn.GaussianNLLLoss()(x4, x4, x4 - 1)",
    "cutoffs should be growing": "nn.AdaptiveLogSoftmaxWithLoss(4, 10, [5, 3])",
    "expected input .batch, features.": "nn.AdaptiveLogSoftmaxWithLoss(4, 9, [5])(torch.zeros(2, 4), torch.arange(3))",
    "no options": "nn.LinearCrossEntropyLoss(4, 3, options=1)(torch.zeros(2, 4), torch.tensor([0, 1]))",
    r"weight to have shape \[3\]": "nn.LinearCrossEntropyLoss(4, 3, weight=torch.ones(2))",
    "blank 5 must be one of the 3 classes": "nn.CTCLoss(5)(torch.zeros(4, 1, 3), torch.ones(1, 2).long(), (4,), (2,))",
    "input_lengths must be from 0 to 4": "nn.CTCLoss()(torch.zeros(4, 1, 3), torch.ones(1, 2).long(), (5,), (2,))",
    "target_lengths must be from 0 to 2": "nn.CTCLoss()(torch.zeros(4, 1, 3), torch.ones(1, 2).long(), (4,), (3,))",
    "targets must be classes from 0 to 2": "nn.CTCLoss()(torch.zeros(4, 1, 3), torch.tensor([[3]]), (4,), (1,))",
    "as many as target_lengths add up to": "nn.CTCLoss()(torch.zeros(4, 1, 3), torch.tensor([1, 1]), (4,), (1,))",
    "ignore_index is not supported": "nn.CrossEntropyLoss(ignore_index=0)(torch.zeros(2, 3), torch.ones(2, 3))",
    r"batch_norm\(\): argument 'eps' must be float, not NoneType": "nn.BatchNorm2d(3, eps=None)(x4)",
    r"layer_norm\(\): argument 'eps' must be float": "nn.LayerNorm(4, eps=None)(x4)",
    r"group_norm\(\): argument 'eps' must be float": "nn.GroupNorm(3, 3, eps=None)(x4)",
    r"instance_norm\(\): argument 'eps' must be float": "nn.InstanceNorm2d(3, eps=None)(x4)",
    r"normalize\(\): argument 'eps' must be float": "nn.functional.normalize(x4, eps=None)",
    r"rms_norm\(\): argument 'eps' must be float, not str": "nn.RMSNorm(4, eps='small')(x4)",
    "either both be None or neither": "nn.functional.batch_norm(x4, torch.zeros(3), None, training=True)",
    "no gradient": "nn.CrossEntropyLoss(torch.ones(3, requires_grad=True))(torch.zeros(2, 3), torch.tensor([0, 1]))",
}  # fmt: skip


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_says_what_is_wrong(message: str) -> None:
    with pytest.raises((RuntimeError, ValueError, TypeError, IndexError), match=message):
        eval(MISTAKES[message])


def test_hardtanh_understands_its_older_names() -> None:
    with pytest.warns(FutureWarning, match="use min_val"):
        layer = nn.Hardtanh(min_value=-3)
    assert (layer.min_val, layer.max_val) == (-3, 1.0)


def test_instance_norm_without_weights_takes_other_channels_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="num_features=5, not 3"):
        assert nn.InstanceNorm2d(5)(x4).shape == x4.shape


def test_a_warning_is_at_the_users_line() -> None:
    for loss in (nn.MSELoss(), nn.functional.mse_loss):
        with pytest.warns(UserWarning, match="different to the input size") as noted:
            loss(torch.zeros(2, 1), torch.zeros(2))
        assert noted[0].filename == __file__


def test_targets_outside_the_classes_are_noticed() -> None:
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [5])
    for wrong in (10, -1):
        with pytest.raises(IndexError):
            layer(torch.zeros(2, 8), torch.tensor([0, wrong]))


def test_layers_that_are_not_here_say_why() -> None:
    with pytest.raises(AttributeError, match=r"pullback\.nn has no 'CrossMapLRN2d': use LocalResponseNorm"):
        nn.CrossMapLRN2d(3)
    with pytest.raises(AttributeError, match=r"pullback\.nn has no 'Liner'"):
        _ = nn.Liner
