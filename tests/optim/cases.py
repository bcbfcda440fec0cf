"""Optimizers and schedules, each with options, and what either library makes of 50 steps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tests.goldens.store import Golden
from tests.ops.harness import Array, Result, random

import pullback

STEPS = 50
SHAPES = (3, 4), (5,), (2, 1, 3)

OPTIMIZERS = [
    "SGD(ps, lr=0.1)",
    "SGD(ps, lr=0.1, momentum=0.9)",
    "SGD(ps, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1)",
    "SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)",
    "SGD(ps, lr=0.05, weight_decay=0.2, maximize=True)",
    "SGD(groups, lr=0.1, momentum=0.5)",
    "SGD(ps, lr=torch.tensor(0.1))",
    "Adam(ps)",
    "Adam(ps, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)",
    "Adam(ps, lr=0.05, amsgrad=True)",
    "Adam(ps, lr=0.05, amsgrad=True, maximize=True, weight_decay=0.1)",
    "Adam(ps, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)",
    "Adam(groups, lr=torch.tensor(0.05, dtype=torch.float64))",
    "AdamW(ps)",
    "AdamW(ps, lr=0.05, betas=(0.8, 0.95), weight_decay=0.2, amsgrad=True)",
    "AdamW(groups, lr=0.05, maximize=True)",
    "Adamax(ps)",
    "Adamax(ps, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)",
    "Adamax(ps, lr=0.05, maximize=True)",
    "NAdam(ps)",
    "NAdam(ps, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, momentum_decay=0.01)",
    "NAdam(ps, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)",
    "RAdam(ps)",
    "RAdam(ps, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)",
    "RAdam(ps, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True, maximize=True)",
    "RMSprop(ps)",
    "RMSprop(ps, lr=0.02, alpha=0.9, eps=1e-3, weight_decay=0.1)",
    "RMSprop(ps, lr=0.02, momentum=0.9, centered=True)",
    "RMSprop(ps, lr=0.02, centered=True, maximize=True)",
    "Adagrad(ps)",
    "Adagrad(ps, lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5, eps=1e-3)",
    "Adagrad(ps, lr=0.1, maximize=True)",
    "Adadelta(ps)",
    "Adadelta(ps, lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.1)",
    "Adadelta(ps, lr=0.5, maximize=True)",
    "Adafactor(ps)",
    "Adafactor(ps, lr=0.1, beta2_decay=-0.5, eps=(1e-4, 1e-2), d=2.0, weight_decay=0.1)",
    "Adafactor(ps, lr=0.1, maximize=True)",
    "Rprop(ps)",
    "Rprop(ps, lr=0.05, etas=(0.4, 1.5), step_sizes=(1e-3, 0.2))",
    "Rprop(ps, maximize=True)",
    "ASGD(ps)",
    "ASGD(ps, lr=0.05, lambd=0.01, alpha=0.6, t0=10, weight_decay=0.1)",
    "ASGD(ps, lr=0.05, maximize=True)",
]

MATRICES = [  # Newton and Schulz in bfloat16: the last bits differ, and steps amplify them
    "Muon(ps[:1])",
    "Muon(ps[:1], lr=0.02, weight_decay=0.0, momentum=0.8, nesterov=False, ns_steps=3)",
    "Muon(ps[:1], lr=0.02, adjust_lr_fn='match_rms_adamw')",
]

CLOSURES = [
    "LBFGS(ps, lr=0.5, max_iter=4)",
    "LBFGS(ps, lr=0.8, max_iter=5, history_size=3)",
    "LBFGS(ps, max_iter=6, line_search_fn='strong_wolfe')",
    "LBFGS(ps, lr=0.7, max_iter=10, max_eval=8, line_search_fn='strong_wolfe', history_size=2)",
    "SGD(ps, lr=0.002, momentum=0.9)",
    "AdamW(ps, lr=0.05)",
]

SCHEDULES = [
    "LambdaLR(opt, lambda t: 0.95 ** t)",
    "LambdaLR(opt, [lambda t: 1 / (1 + t), lambda t: 0.5 if t > 20 else 1.0])",
    "MultiplicativeLR(opt, lambda t: 0.9 + 0.001 * t)",
    "StepLR(opt, 7)",
    "StepLR(opt, step_size=10, gamma=0.3)",
    "MultiStepLR(opt, [5, 20, 20, 35], gamma=0.5)",
    "ConstantLR(opt)",
    "ConstantLR(opt, factor=0.25, total_iters=12)",
    "LinearLR(opt)",
    "LinearLR(opt, start_factor=0.1, end_factor=0.7, total_iters=20)",
    "ExponentialLR(opt, 0.93)",
    "PolynomialLR(opt)",
    "PolynomialLR(opt, total_iters=40, power=2.0)",
    "CosineAnnealingLR(opt, 10)",
    "CosineAnnealingLR(opt, T_max=23, eta_min=0.01)",
    "CosineAnnealingWarmRestarts(opt, 8)",
    "CosineAnnealingWarmRestarts(opt, T_0=5, T_mult=2, eta_min=0.01)",
    "CyclicLR(opt, 0.01, 0.1, step_size_up=6)",
    "CyclicLR(opt, [0.01, 0.02], 0.2, step_size_up=4, step_size_down=9, mode='triangular2')",
    "CyclicLR(opt, 0.01, 0.1, step_size_up=5, mode='exp_range', gamma=0.97, base_momentum=0.6, max_momentum=0.95)",
    "CyclicLR(opt, 0.01, 0.1, step_size_up=5, scale_fn=lambda k: 1 / (5 ** (k * 0.1)), cycle_momentum=False)",
    "CyclicLR(opt, 0.01, 0.1, step_size_up=5, scale_fn=lambda t: 0.99 ** t, scale_mode='iterations')",
    "OneCycleLR(opt, 0.1, total_steps=50)",
    "OneCycleLR(opt, [0.1, 0.3], epochs=5, steps_per_epoch=10, pct_start=0.4, anneal_strategy='linear')",
    "OneCycleLR(opt, 0.1, total_steps=55, three_phase=True, div_factor=10.0, final_div_factor=9.0, base_momentum=0.7)",
    "OneCycleLR(opt, 0.1, total_steps=50, cycle_momentum=False)",
    "OneCycleLR(adam, 0.1, total_steps=50)",
    "CyclicLR(adam, 0.001, 0.1, step_size_up=6)",
    "SequentialLR(opt, [LinearLR(opt, 0.1, total_iters=8), CosineAnnealingLR(opt, 42)], [8])",
    "SequentialLR(opt, [ConstantLR(opt, 0.1, 3), ExponentialLR(opt, 0.9), StepLR(opt, 4)], milestones=[5, 30])",
    "ChainedScheduler([ConstantLR(opt, 0.1, 10), ExponentialLR(opt, 0.95)])",
    "ChainedScheduler([LinearLR(opt), StepLR(opt, 12), CosineAnnealingLR(opt, 30)], opt)",
    "SWALR(opt, 0.02)",
    "SWALR(opt, [0.02, 0.5], anneal_epochs=20, anneal_strategy='linear')",
    "SWALR(opt, 0.3, anneal_epochs=0)",
]

METRICS = [
    "ReduceLROnPlateau(opt)",
    "ReduceLROnPlateau(opt, factor=0.5, patience=2, threshold=0.05, cooldown=3, min_lr=0.02)",
    "ReduceLROnPlateau(opt, mode='max', patience=1, threshold_mode='abs', min_lr=[0.001, 0.3], eps=0.01)",
    "ReduceLROnPlateau(opt, mode='max', factor=0.3, patience=3)",
    "ReduceLROnPlateau(opt, threshold_mode='abs', threshold=0.01, patience=0)",
]


class Library(NamedTuple):
    """PyTorch, or pullback in its place."""

    torch: Any
    tensor: Callable[[Array], Any]
    array: Callable[[Any], Array]


OURS = Library(pullback, lambda a: pullback.tensor(a.copy()), lambda t: t.detach().numpy().copy())


def leaves(library: Library, dtype: Any = np.float64) -> list[Any]:
    return [library.tensor(random(f"optim/{s}", s).astype(dtype)).requires_grad_() for s in SHAPES]


def names(library: Library, ps: list[Any]) -> dict[str, Any]:
    groups = [{"params": ps[:1], "weight_decay": 0.3}, {"params": ps[1:], "lr": 0.02}]
    return {**vars(library.torch.optim), "torch": library.torch, "ps": ps, "groups": groups}


def gradients(library: Library, ps: list[Any], step: int) -> None:
    """Gradients of a quadratic with noise; the last parameter has none at every third step."""
    for i, p in enumerate(ps):
        value = library.array(p)
        g = 0.3 * value + random(f"optim/{step}/{i}", value.shape).astype(value.dtype)
        p.grad = None if i == 2 and step % 3 == 1 else library.tensor(g)


def state_of(library: Library, optimizer: Any) -> list[Array]:
    """All parameters, and all state in the order of its names."""
    ps = [p for group in optimizer.param_groups for p in group["params"]]
    states = [s for p in ps if p in optimizer.state for _, s in sorted(optimizer.state[p].items())]
    return [library.array(t) for t in [*ps, *states] if hasattr(t, "detach")]


def optimized(library: Library, case: str) -> Result:
    """Parameters early on and in the middle, and everything at the end."""
    ps = leaves(library)
    optimizer = eval(case, names(library, ps))
    outs = []
    for step in range(STEPS):
        gradients(library, ps, step)
        optimizer.step()
        if step in (0, 9):
            outs += [library.array(p) for p in ps]
    return Result(outs + state_of(library, optimizer), [], [])


def closed(library: Library, case: str) -> Result:
    """Rosenbrock's function and a quartic, by closures: the losses on the way, and the parameters at the end."""
    torch, ps = library.torch, leaves(library)[:2]
    optimizer = eval(case, names(library, ps))

    def closure() -> Any:
        optimizer.zero_grad()
        x, y = ps[0][:, :2], ps[0][:, 2:]
        loss = (1 - x).pow(2).sum() + 10 * (y - x * x).pow(2).sum() + (ps[1] ** 4).sum()
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure).detach()) for _ in range(5)]
    assert torch.is_grad_enabled()
    return Result([np.array(losses), *[library.array(p) for p in ps]], [], [])


def schedule_names(library: Library) -> dict[str, Any]:
    optim, ps = library.torch.optim, leaves(library)
    named = {
        "opt": optim.SGD([{"params": ps[:1]}, {"params": ps[1:], "lr": 0.4}], lr=0.1, momentum=0.9),
        "adam": optim.AdamW(ps, lr=0.1),
        "SWALR": optim.swa_utils.SWALR,
    }
    return {**vars(optim.lr_scheduler), **named}


def rates(optimizer: Any) -> list[float]:
    """Learning rate and momentum of each group."""
    return [
        float(x) for g in optimizer.param_groups for x in (g["lr"], g["momentum"] if "momentum" in g else g["betas"][0])
    ]


def metric(step: int) -> float:
    """Falls, and then hardly any more."""
    return 1 / (1 + min(step, 20)) + 0.02 * float(random(f"metric/{step}", ()))


def scheduled(library: Library, case: str) -> Result:
    """The rates before and after each step."""
    scheduler = eval(case, schedule_names(library))
    seen = [rates(scheduler.optimizer)]
    for step in range(STEPS - 1):
        scheduler.optimizer.step()
        scheduler.step(metric(step)) if case in METRICS else scheduler.step()
        seen.append(rates(scheduler.optimizer))
        assert [float(x) for x in scheduler.get_last_lr()] == seen[-1][::2]
    return Result([np.array(seen)], [], [])


KINDS: list[tuple[list[str], Callable[[Library, str], Result]]] = [
    (OPTIMIZERS, optimized),
    (CLOSURES, closed),
    (SCHEDULES + METRICS, scheduled),
]
RUN = {case: run for cases, run in KINDS for case in cases}


def stamp(case: str) -> str:
    return hashlib.sha256(repr((case, STEPS, SHAPES)).encode()).hexdigest()[:16]


def theirs() -> Library:
    import torch

    return Library(torch, lambda a: torch.from_numpy(np.array(a)), lambda t: t.detach().numpy().copy())


def goldens() -> dict[str, Golden]:
    """What PyTorch gives."""
    return {case: Golden(stamp(case), run(theirs(), case)) for case, run in RUN.items()}
