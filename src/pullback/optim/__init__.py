"""Optimizers and schedules, under PyTorch's names."""

from __future__ import annotations

from typing import NoReturn

from . import gradients, lr_scheduler, optimizer, scaling, swa_utils
from .adadelta import Adadelta
from .adafactor import Adafactor
from .adagrad import Adagrad
from .adam import Adam
from .adamax import Adamax
from .adamw import AdamW
from .asgd import ASGD
from .lbfgs import LBFGS
from .lion import Lion
from .muon import Muon
from .nadam import NAdam
from .optimizer import Optimizer
from .radam import RAdam
from .rmsprop import RMSprop
from .rprop import Rprop
from .rule import RuleOptimizer
from .sgd import SGD


def __getattr__(name: str) -> NoReturn:
    if name == "SparseAdam":
        raise AttributeError("pullback.optim has no SparseAdam: sparse tensors are not supported; use Adam")
    raise AttributeError(f"module 'pullback.optim' has no attribute {name!r}")
