"""torch.nn.modules: where PyTorch keeps each layer, for programs that import from there. Nothing is defined here."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .. import convolution, dropout, lazy, losses, module, normalization, pooling, state
from . import utils as utils

# Each module of PyTorch's, and the names that programs import from it.
CONTENTS = {
    "activation": "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish "
    "MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink "
    "Softsign Tanh Tanhshrink Threshold",
    "adaptive": "AdaptiveLogSoftmaxWithLoss",
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d SyncBatchNorm "
    "_BatchNorm _NormBase",
    "channelshuffle": "ChannelShuffle",
    "container": "ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv1d LazyConv2d LazyConv3d "
    "LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d _ConvNd _ConvTransposeNd",
    "distance": "CosineSimilarity PairwiseDistance",
    "dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout _DropoutNd",
    "flatten": "Flatten Unflatten",
    "fold": "Fold Unfold",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d LazyInstanceNorm1d LazyInstanceNorm2d "
    "LazyInstanceNorm3d _InstanceNorm",
    "lazy": "LazyModuleMixin",
    "linear": "Bilinear Identity LazyLinear Linear",
    "loss": "BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss HingeEmbeddingLoss "
    "HuberLoss KLDivLoss L1Loss LinearCrossEntropyLoss MSELoss MarginRankingLoss MultiLabelMarginLoss "
    "MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss "
    "TripletMarginLoss TripletMarginWithDistanceLoss _Loss _WeightedLoss",
    "module": "Module register_module_forward_hook register_module_forward_pre_hook "
    "register_module_full_backward_hook register_module_full_backward_pre_hook _IncompatibleKeys",
    "normalization": "GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "padding": "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d "
    "ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d",
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d "
    "AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d "
    "LPPool3d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d _MaxPoolNd",
    "rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell RNNCellBase",
    "sparse": "Embedding EmbeddingBag",
    "transformer": "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}  # fmt: skip

# Names that are not in nn itself.
ELSEWHERE: dict[str, Any] = {
    "LazyModuleMixin": lazy.LazyModuleMixin,
    "_BatchNorm": normalization._BatchNorm,
    "_ConvNd": convolution._Convolution,
    "_ConvTransposeNd": convolution._ConvTranspose,
    "_DropoutNd": dropout._Dropout,
    "_IncompatibleKeys": state._IncompatibleKeys,
    "_InstanceNorm": normalization._InstanceNorm,
    "_Loss": losses._Loss,
    "_MaxPoolNd": pooling._MaxPool,
    "_NormBase": normalization._Tracking,
    "_WeightedLoss": losses._WeightedLoss,
    **{name: getattr(module, name) for name in module.__all__ if name.startswith("register_")},
}


def _find(name: str) -> Any:
    return ELSEWHERE[name] if name in ELSEWHERE else getattr(sys.modules[__package__.rpartition(".")[0]], name)


def _made(name: str, names: list[str]) -> ModuleType:
    """A module that looks its names up when they are asked for, as nn may not be complete yet."""

    def look_up(attribute: str) -> Any:
        if attribute not in names:
            raise AttributeError(f"module {made.__name__!r} has no attribute {attribute!r}")
        return _find(attribute)

    made = ModuleType(f"{__name__}.{name}", f"torch.nn.modules.{name}")
    made.__spec__ = ModuleSpec(made.__name__, None)
    vars(made).update(__getattr__=look_up, __all__=[n for n in names if n[0] != "_"], __dir__=lambda: names)
    return made


for _name, _names in CONTENTS.items():
    globals()[_name] = sys.modules[f"{__name__}.{_name}"] = _made(_name, _names.split())

_LAYERS = {name for names in CONTENTS.values() for name in names.split() if name[0] != "_"}


def __getattr__(name: str) -> Any:
    if name in _LAYERS:
        return _find(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
