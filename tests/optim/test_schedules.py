"""Each schedule: PyTorch's numbers to the last bit, and its state."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
from tests.goldens import store

import pullback as torch
from pullback import nn, optim
from pullback.optim import lr_scheduler, swa_utils

from . import cases
from .cases import METRICS, OURS, RUN, SCHEDULES

each = pytest.mark.parametrize("case", SCHEDULES + METRICS)


def optimizer(lr: Any = 0.1, **options: Any) -> Any:
    return optim.SGD([torch.ones(1, requires_grad=True)], lr=lr, **options)


@each
def test_fifty_steps_are_pytorchs(case: str) -> None:
    golden = store.family("optim")[case]
    assert golden.stamp == cases.stamp(case), "the case has changed; run `make goldens`"
    np.testing.assert_allclose(RUN[case](OURS, case).outs[0], golden.result.outs[0], 1e-14)


@pytest.mark.parity
@each
def test_fifty_steps_are_pytorchs_live(case: str) -> None:
    pytest.importorskip("torch")
    np.testing.assert_array_equal(RUN[case](OURS, case).outs[0], RUN[case](cases.theirs(), case).outs[0])


def made(case: str) -> Any:
    return eval(case, cases.schedule_names(OURS))


def advance(scheduler: Any, case: str, first: int, last: int) -> list[Any]:
    seen = []
    for step in range(first, last):
        scheduler.optimizer.step()
        scheduler.step(cases.metric(step)) if case in METRICS else scheduler.step()
        seen.append(cases.rates(scheduler.optimizer))
    return seen


@each
def test_state_goes_through_a_file(case: str) -> None:
    scheduler = made(case)
    advance(scheduler, case, 0, 17)
    file = io.BytesIO()
    torch.save([scheduler.state_dict(), scheduler.optimizer.state_dict()], file)
    file.seek(0)
    state, of_optimizer = torch.load(file)
    other = made(case)
    other.optimizer.load_state_dict(of_optimizer)
    other.load_state_dict(copy.deepcopy(state))
    assert advance(other, case, 17, 40) == advance(scheduler, case, 17, 40)
    assert [float(x) for x in other.get_last_lr()] == [float(x) for x in scheduler.get_last_lr()]


def test_callables_with_state_are_saved() -> None:
    class Warm:
        def __init__(self, speed: float) -> None:
            self.speed = speed

        def __call__(self, t: int) -> float:
            return min(1.0, self.speed * t)

    first, second = Warm(0.5), Warm(0.25)
    saved = lr_scheduler.LambdaLR(optimizer(), first).state_dict()
    assert saved["lr_lambdas"] == [{"speed": 0.5}]
    lr_scheduler.LambdaLR(optimizer(), second).load_state_dict(saved)
    assert second.speed == 0.5
    saved = lr_scheduler.CyclicLR(optimizer(momentum=0.9), 0.1, 0.2, scale_fn=first).state_dict()
    second.speed = 0.0
    lr_scheduler.CyclicLR(optimizer(momentum=0.9), 0.1, 0.2, scale_fn=second).load_state_dict(saved)
    assert second.speed == 0.5


def test_resuming_with_last_epoch() -> None:
    whole = optimizer()
    scheduler = lr_scheduler.CosineAnnealingLR(whole, 10)
    for _ in range(4):
        whole.step()
        scheduler.step()
    resumed = optimizer()
    resumed.load_state_dict(whole.state_dict())
    later = lr_scheduler.CosineAnnealingLR(resumed, 10, last_epoch=3)
    for _ in range(5):
        whole.step(), resumed.step()
        scheduler.step(), later.step()
        assert later.get_last_lr() == pytest.approx(scheduler.get_last_lr())
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified"):
        lr_scheduler.StepLR(optimizer(), 3, last_epoch=5)


def test_initial_lr_is_kept() -> None:
    o = optimizer()
    scheduler = lr_scheduler.LinearLR(o, 0.5)
    assert o.param_groups[0]["initial_lr"] == 0.1 and scheduler.base_lrs == [0.1]
    assert o.param_groups[0]["lr"] == 0.05 and scheduler.last_epoch == 0


def test_a_tensor_stays_the_same_tensor() -> None:
    lr = torch.tensor(0.5)
    o = optimizer(lr)
    scheduler = lr_scheduler.ExponentialLR(o, 0.5)
    o.step()
    scheduler.step()
    assert o.param_groups[0]["lr"] is lr and lr.item() == 0.25
    assert scheduler.get_last_lr()[0].item() == 0.25 and o.param_groups[0]["initial_lr"].item() == 0.5
    o = optimizer(lr)
    plateau = lr_scheduler.ReduceLROnPlateau(o, patience=0)
    plateau.step(1.0), plateau.step(1.0)
    assert lr.item() == pytest.approx(0.025)


def test_the_wrong_order_is_noticed() -> None:
    o = optimizer()
    scheduler = lr_scheduler.StepLR(o, 3)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    o.step()
    scheduler.step()


def test_get_lr_is_not_for_users() -> None:
    scheduler = lr_scheduler.ExponentialLR(optimizer(), 0.5)
    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        scheduler.get_lr()
    assert scheduler.get_last_lr() == [0.1]


def test_epochs_can_be_named() -> None:
    o = optimizer()
    scheduler = lr_scheduler.StepLR(o, 2, gamma=0.5)
    o.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(5)
    assert scheduler.get_last_lr() == [0.1 * 0.25]
    restarts = lr_scheduler.CosineAnnealingWarmRestarts(o, 4, T_mult=2)
    restarts.step(5.5)
    assert restarts.T_i == 8 and restarts.T_cur == pytest.approx(1.5) and restarts.last_epoch == 5


def test_a_schedule_of_the_users() -> None:
    class Half(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            return [lr / 2**self.last_epoch for lr in self.base_lrs]

    o = optimizer(lr=1.0)
    scheduler = Half(o)
    for expected in (0.5, 0.25):
        o.step()
        scheduler.step()
        assert o.param_groups[0]["lr"] == expected
    with pytest.raises(NotImplementedError, match="must define get_lr"):
        lr_scheduler.LRScheduler(o)


def test_mistakes() -> None:
    o = optimizer(momentum=0.9)
    step = lr_scheduler.StepLR(o, 3)
    plateau = lr_scheduler.ReduceLROnPlateau(o)
    for wrong, said in [
        (lambda: lr_scheduler.ConstantLR(o, factor=2.0), "between 0 and 1"),
        (lambda: lr_scheduler.LinearLR(o, start_factor=0.0), "greater than 0"),
        (lambda: lr_scheduler.LinearLR(o, end_factor=2.0), "between 0 and 1"),
        (lambda: lr_scheduler.LambdaLR(o, [len, len]), "same length"),
        (lambda: lr_scheduler.SequentialLR(o, [], []), "at least one scheduler"),
        (lambda: lr_scheduler.SequentialLR(o, [step, step], []), "one more than"),
        (lambda: lr_scheduler.SequentialLR(o, [step, plateau], [1]), "does not support `ReduceLROnPlateau`"),
        (lambda: lr_scheduler.ChainedScheduler([step], optimizer()), "belong to one optimizer"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(o, 0), "positive integer T_0"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(o, 1, T_mult=0), "T_mult >= 1"),
        (lambda: lr_scheduler.CosineAnnealingWarmRestarts(o, 1).step(-1), "non-negative epoch"),
        (lambda: lr_scheduler.CyclicLR(o, 0.1, 0.2, mode="x"), "mode is invalid"),
        (lambda: lr_scheduler.CyclicLR(optim.Adagrad([torch.ones(1)]), 0.1, 0.2), "must support momentum"),
        (lambda: lr_scheduler.OneCycleLR(o, 0.1), "either total_steps OR"),
        (lambda: lr_scheduler.OneCycleLR(o, 0.1, total_steps=0), "positive integer total_steps"),
        (lambda: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9, pct_start=2), "pct_start"),
        (lambda: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9, anneal_strategy="x"), "'cos' or 'linear'"),
        (lambda: lr_scheduler.ReduceLROnPlateau(o, factor=1.0), "Factor should be < 1.0"),
        (lambda: lr_scheduler.ReduceLROnPlateau(o, mode="x"), "mode x is unknown"),
        (lambda: lr_scheduler.ReduceLROnPlateau(o, threshold_mode="x"), "threshold mode x is unknown"),
        (lambda: swa_utils.SWALR(o, 0.1, anneal_epochs=-1), "anneal_epochs"),
        (lambda: swa_utils.SWALR(o, 0.1, anneal_strategy="x"), "'cos' or 'linear'"),
    ]:
        with pytest.raises(ValueError, match=said):
            wrong()
    with pytest.raises(TypeError, match="not an Optimizer"):
        lr_scheduler.StepLR(3, 3)
    with pytest.raises(TypeError, match="lr_lambda should be a function, but got float"):
        lr_scheduler.MultiplicativeLR(o, 0.5)
    cycle = lr_scheduler.OneCycleLR(o, 0.1, total_steps=2)
    o.step()
    cycle.step(), cycle.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        cycle.step()


# -- averages of models ----------------------------------------------------------------------------------------------


def test_the_mean_of_models() -> None:
    model = nn.Linear(1, 1)
    averaged = swa_utils.AveragedModel(model)
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == 3.0 and int(averaged.n_averaged) == 3
    assert averaged(torch.ones(1, 1)).item() == pytest.approx(3.0 + averaged.module.bias.item())
    assert set(averaged.state_dict()) == {"n_averaged", "module.weight", "module.bias"}


@pytest.mark.parametrize(
    "options",
    [{"avg_fn": swa_utils.get_ema_avg_fn(0.5)}, {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}],
)
def test_the_moving_average_of_models(options: Any) -> None:
    model = nn.Linear(1, 1)
    averaged = swa_utils.AveragedModel(model, **options)
    for value in (1.0, 2.0, 6.0):
        nn.init.constant_(model.weight, value)
        averaged.update_parameters(model)
    assert averaged.module.weight.item() == (1.0 * 0.5 + 2.0 * 0.5) * 0.5 + 6.0 * 0.5
    with pytest.raises(ValueError, match="Invalid decay value"):
        swa_utils.get_ema_avg_fn(1.5)
    with pytest.raises(ValueError, match="Only one of"):
        swa_utils.AveragedModel(model, avg_fn=len, multi_avg_fn=len)


@pytest.mark.parametrize("use_buffers", [False, True])
def test_buffers_of_averages(use_buffers: bool) -> None:
    model = nn.BatchNorm1d(1)
    averaged = swa_utils.AveragedModel(model, use_buffers=use_buffers)
    for value in (1.0, 3.0):
        model.running_mean.fill_(value)
        averaged.update_parameters(model)
    assert averaged.module.running_mean.item() == (2.0 if use_buffers else 3.0)


def test_update_bn() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1, momentum=0.3), nn.Linear(1, 1)).eval()
    batches = [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [11.0]])]
    swa_utils.update_bn([(x, None) for x in batches], model)
    assert model[0].running_mean.item() == 5.0 and model[0].running_var.item() == pytest.approx(10.0)
    assert model[0].momentum == 0.3 and not model.training
    swa_utils.update_bn(batches, nn.Linear(1, 1))  # nothing to do
