from __future__ import annotations

import json
import math
import os
import random

import numpy as np
import pytest

import pullback as torch
from pullback import nn
from pullback.errors import ArgumentError, PullbackError
from pullback.io.checkpoints import CheckpointError
from pullback.optim import SGD, AdamW
from pullback.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR
from pullback.train import Callback, EarlyStopping, JsonLog, NonFiniteError, Trainer, draw, read

torch.manual_seed(0)
X = torch.randn(22, 3)
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 22, 4)]  # the last one has 2 samples


def net(dropout: float = 0.0):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, 1))


def make(model=None, *, lr: float = 0.1, optimizer=SGD, **kwargs) -> Trainer:
    model = net() if model is None else model
    settings = {"train": BATCHES, "progress": False, "loss": nn.MSELoss(), **kwargs}
    return Trainer(model, optimizer(model.parameters(), lr=lr), **settings)


def weights(model) -> list:
    return [p.detach().clone() for p in model.parameters()]


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# -- the loop ----------------------------------------------------------------------------------------------------------


def test_the_loop_is_the_loop_written_by_hand() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for x, y in BATCHES:
            optimizer.zero_grad()
            loss = nn.MSELoss()(model(x), y)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    trainer = make(epochs=2, clip=0.5)
    logs = trainer.fit()
    assert equal(weights(trainer.model), weights(model))
    assert logs["loss"] == loss.item() and logs["grad_norm"] == norm.item()
    assert (trainer.step, trainer.epoch, logs["lr"]) == (12, 2, 0.1)


def test_accumulation_is_the_big_batch_tail_included() -> None:
    big = [(X[:16].double(), Y[:16].double()), (X[16:].double(), Y[16:].double())]
    small = [(x.double(), y.double()) for x, y in BATCHES]
    one, other = make(net().double(), train=big, epochs=2), make(net().double(), train=small, epochs=2, accumulate=4)
    a, b = one.fit(), other.fit()
    assert one.step == other.step == 4
    assert math.isclose(a["loss"], b["loss"], rel_tol=1e-14)
    for p, q in zip(weights(one.model), weights(other.model), strict=True):
        assert torch.allclose(p, q, rtol=1e-13, atol=1e-15)


def test_the_count_weighs_the_batches() -> None:
    def loss(model, batch):
        x, y, mask = batch
        return ((model(x) - y) ** 2 * mask).sum() / mask.sum()

    masks = [torch.ones(4, 1), torch.tensor([[1.0], [0.0], [0.0], [0.0]])]
    batches = [(x.double(), y.double(), m.double()) for (x, y), m in zip(BATCHES, masks, strict=False)]
    joined = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]
    count = lambda batch: batch[2].sum()  # noqa: E731
    one = make(net().double(), train=joined, loss=loss, steps=1, count=count)
    other = make(net().double(), train=batches, loss=loss, steps=1, count=count, accumulate=2)
    assert math.isclose(one.fit()["loss"], other.fit()["loss"], rel_tol=1e-14)
    for p, q in zip(weights(one.model), weights(other.model), strict=True):
        assert torch.allclose(p, q, rtol=1e-13, atol=1e-15)


def test_budgets() -> None:
    assert make(epochs=0, valid=BATCHES).fit() == {}
    for budget, step, epoch in [({"steps": 8}, 8, 1), ({"epochs": 3, "steps": 8}, 8, 1), ({"epochs": 1}, 6, 1)]:
        trainer = make(**budget)
        trainer.fit()
        assert (trainer.step, trainer.epoch, trainer.done) == (step, epoch, True)
    assert make(epochs=3, accumulate=4).total == 6
    assert make(epochs=3, steps=5).total == 5


def test_values_are_clipped() -> None:
    trainer = make(steps=1, lr=1.0, clip_value=0.01)
    before = weights(trainer.model)
    trainer.fit()
    moved = max((p - q).abs().max().item() for p, q in zip(weights(trainer.model), before, strict=True))
    assert math.isclose(moved, 0.01, rel_tol=1e-4)
    assert trainer.logs["grad_norm"] > 0.1  # as it was before


def test_schedules() -> None:
    def lr_after(make_scheduler, **kwargs) -> float:
        model = net()
        optimizer = SGD(model.parameters(), lr=1e-3)
        trainer = Trainer(
            model, optimizer, nn.MSELoss(), BATCHES, scheduler=make_scheduler(optimizer), progress=False, **kwargs
        )
        trainer.fit()
        return optimizer.param_groups[0]["lr"]

    halve = lambda optimizer: ExponentialLR(optimizer, 0.5)  # noqa: E731
    assert math.isclose(lr_after(halve, steps=8, scheduler_per="step"), 1e-3 / 2**8)
    assert math.isclose(lr_after(halve, steps=8, scheduler_per="epoch"), 1e-3 / 2)
    plateau = lambda optimizer: ReduceLROnPlateau(optimizer, mode="max", patience=0, factor=0.1)  # noqa: E731
    found = lr_after(plateau, epochs=3, valid=BATCHES, scheduler_per="validation")
    assert found < 1e-3  # the loss falls, which as a maximum is no improvement


def test_autocast_and_scaler() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    trainer = make(steps=4, scaler=scaler, autocast=torch.autocast("cpu", torch.bfloat16), clip=1.0)
    plain = make(steps=4, clip=1.0)
    trainer.fit(), plain.fit()
    assert scaler.get_scale() == 16.0
    assert math.isclose(trainer.logs["loss"], plain.logs["loss"], rel_tol=0.1)
    assert trainer.logs["loss"] != plain.logs["loss"]


def test_an_overflow_is_the_scalers_business() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    trainer = make(steps=1, scaler=scaler, lr=0.1)
    before = weights(trainer.model)
    trainer.fit()
    assert equal(weights(trainer.model), before)
    assert scaler.get_scale() == 2.0**126
    assert not math.isfinite(trainer.logs["grad_norm"]) and trainer.skipped == 0


# -- validation --------------------------------------------------------------------------------------------------------


def error(output, target):
    return (output - target).abs().mean()


def test_evaluation_weighs_by_samples_and_leaves_everything_as_it_was() -> None:
    model = net(dropout=0.5)
    model[2].eval()  # a frozen part stays frozen
    trainer = make(model, metrics={"error": error})
    state, others = torch.get_rng_state(), (random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    found = trainer.evaluate((torch.rand(1), random.random(), batch)[2] for batch in BATCHES)
    assert math.isclose(found["loss"], nn.MSELoss()(model(X), Y).item(), rel_tol=1e-6)
    assert math.isclose(found["error"], error(model(X), Y).item(), rel_tol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)
    assert others == (random.getstate(), str(np.random.get_state()))  # noqa: NPY002
    assert model.training and not model[2].training
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(PullbackError, match="nothing to evaluate"):
        trainer.evaluate([])


def test_a_loss_function_gives_metrics_itself() -> None:
    def loss(model, batch):
        output = model(batch["x"])
        return {"loss": ((output - batch["y"]) ** 2).mean(), "error": error(output, batch["y"])}

    batches = [{"x": x, "y": y} for x, y in BATCHES]
    logs = make(train=batches, valid=batches, loss=loss, epochs=1).fit()
    assert set(logs) >= {"valid_loss", "valid_error"}
    assert math.isclose(logs["valid_loss"], make(epochs=1, valid=BATCHES).fit()["valid_loss"], rel_tol=1e-6)


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list = []

    def __getattribute__(self, name):
        if name.startswith("on_") or name == "close":
            return lambda trainer, *args: self.events.append((name, trainer.step))
        return super().__getattribute__(name)


def test_the_order_of_events() -> None:
    recorder = Recorder()
    make(steps=8, valid=BATCHES, valid_every=4, callbacks=[recorder]).fit()
    assert recorder.events == [
        ("on_fit_start", 0),
        ("on_epoch_start", 0),
        *[("on_step_end", step) for step in (1, 2, 3, 4)],
        ("on_validation_end", 4),
        *[("on_step_end", step) for step in (5, 6)],
        ("on_epoch_end", 6),
        ("on_epoch_start", 6),
        *[("on_step_end", step) for step in (7, 8)],
        ("on_validation_end", 8),
        ("on_fit_end", 8),
        ("close", 8),
    ]


def test_training_ends_with_a_validation() -> None:
    recorder = Recorder()
    logs = make(steps=8, valid=BATCHES, callbacks=[recorder]).fit()
    assert [step for name, step in recorder.events if name == "on_validation_end"] == [6, 8]
    assert "valid_loss" in logs


def scripted(values: list[float]):
    """A loss whose values in eval mode are told beforehand."""
    values = iter(values)

    def loss(model, batch):
        real = ((model(batch[0]) - batch[1]) ** 2).mean()
        return real if model.training else real * 0 + next(values)

    return loss


@pytest.mark.parametrize("folder", [False, True])
def test_early_stopping_brings_the_best_weights_back(tmp_path, folder: bool) -> None:
    seen: dict[int, list] = {}

    class Keep(Callback):
        def on_validation_end(self, trainer, logs):
            seen[trainer.epoch] = weights(trainer.model)

    values = [3.0, 2.0, float("nan"), 2.5, 1.0]
    kwargs = {"folder": tmp_path / "run"} if folder else {}
    trainer = make(loss=scripted(values), valid=BATCHES[:1], epochs=9, patience=2, callbacks=[Keep()], **kwargs)
    trainer.fit()
    assert trainer.epoch == 4
    assert trainer.stopped == "valid_loss has not improved on 2 (step 12)"
    assert equal(weights(trainer.model), seen[2])
    if folder:
        assert trainer.checkpoints.best() == 12
        again = make(loss=scripted([]), valid=BATCHES[:1], epochs=9, patience=2, **kwargs)
        again.fit()
        assert again.step == 24 and equal(weights(again.model), seen[2])


def test_early_stopping_of_a_maximum() -> None:
    stopping = EarlyStopping(1, "valid_score", mode="max", min_delta=0.1, restore_best=False)
    trainer = make(valid=BATCHES, callbacks=[stopping])
    for value, waited in [(1.0, 0), (1.5, 0), (1.55, 1)]:
        stopping.on_validation_end(trainer, {"valid_score": value})
        assert stopping.waited == waited
    assert trainer.done and stopping.weights is None
    with pytest.raises(PullbackError, match=r"monitor='valid_score'[\s\S]*use one of valid_loss"):
        stopping.on_validation_end(trainer, {"valid_loss": 1.0})


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"train": iter(BATCHES)}, "gone through once only"),
        ({"scheduler_per": "step"}, "give both scheduler="),
        ({"on_nonfinite": "ignore"}, "use 'stop' or 'skip'"),
        ({"metrics": {"error": error}, "loss": lambda model, batch: 0}, "let the function return a dict"),
        ({"patience": 2}, "give valid="),
        ({"valid_every": 0}, "numbers from 1"),
    ],
)
def test_settings_that_contradict_each_other(kwargs, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make(**kwargs)


def test_a_plateau_goes_by_validations() -> None:
    model = net()
    optimizer = SGD(model.parameters(), lr=0.1)
    for scheduler, per in [(ReduceLROnPlateau(optimizer), "epoch"), (StepLR(optimizer, 1), "validation")]:
        with pytest.raises(ArgumentError, match="ReduceLROnPlateau goes with scheduler_per='validation'"):
            Trainer(model, optimizer, nn.MSELoss(), BATCHES, BATCHES, scheduler=scheduler, scheduler_per=per)


def test_fit_needs_data_and_an_end() -> None:
    with pytest.raises(ArgumentError, match="epochs= or steps="):
        make().fit()
    with pytest.raises(ArgumentError, match="train="):
        make(train=None, epochs=1).fit()
    with pytest.raises(PullbackError, match="a whole epoch gave no batch"):
        make(train=[], steps=3).fit()
    with pytest.raises(PullbackError, match="give the Trainer a folder"):
        make().save()


def test_data_without_a_position_cannot_be_resumed(tmp_path) -> None:
    class Stream:
        def __iter__(self):
            return iter(BATCHES)

    assert make(train=Stream(), epochs=1).fit()["step"] == 6
    with pytest.raises(ArgumentError, match="cannot say where in the data it is"):
        make(train=Stream(), epochs=1, folder=tmp_path)


# -- NaN and Inf -------------------------------------------------------------------------------------------------------


class Log(nn.Module):
    def forward(self, x):
        return x.relu().log()  # -inf where nothing is left


class Root(nn.Module):
    def forward(self, x):
        return (x * 0).sqrt()  # finite, with an infinite slope


def message(model, **kwargs) -> str:
    trainer = make(model, steps=1, **kwargs)
    before = weights(model)
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit()
    assert all(torch.equal(p.nan_to_num(), q.nan_to_num()) for p, q in zip(weights(model), before, strict=True))
    return str(caught.value)


def test_the_first_bad_op_of_the_forward_pass_is_named() -> None:
    torch.manual_seed(1)
    text = message(nn.Sequential(nn.Linear(3, 5), nn.Sequential(nn.Tanh(), Log()), nn.Linear(5, 1)))
    assert "the loss is " in text and "at step 1" in text
    assert "the first: log made inf in layer '1.1' (Log)" in text
    assert "test_trainer.py" in text and "x.relu().log()" in text
    assert "from float32 [4, 5], from 0 to " in text


def test_a_gradient_that_no_op_spoiled_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    model[0].bias.register_hook(lambda g: g * math.nan)
    text = message(model)
    assert "the gradient of parameter '0.bias' of shape [5] has nan at index [0]" in text and "look at hooks" in text


def test_a_norm_that_overflows_is_told() -> None:
    text = message(nn.Linear(3, 1), loss=lambda model, batch: (model(batch[0]) * 1e25).mean())
    assert "every gradient is finite, but so large that their norm is not" in text


def test_the_first_bad_rule_of_the_backward_pass_is_named() -> None:
    text = message(nn.Sequential(nn.Linear(3, 5), Root(), nn.Linear(5, 1)))
    assert "the forward pass is finite; the first: the gradient of sqrt is inf in layer '1' (Root)" in text
    assert "(x * 0).sqrt()" in text


def test_a_mask_is_not_to_blame() -> None:
    class Masked(nn.Module):
        def forward(self, x):
            scores = x.masked_fill(torch.ones(5, dtype=torch.bool), -math.inf)
            return scores.softmax(-1)

    text = message(nn.Sequential(nn.Linear(3, 5), Masked(), nn.Linear(5, 1)))
    assert "softmax made nan in layer '1' (Masked)" in text


def test_bad_data_and_bad_weights_are_named() -> None:
    x = X[:4].clone()
    x[2, 1] = math.nan
    text = message(net(), train=[BATCHES[0], (x, Y[:4])], accumulate=2)
    assert "the data: tensor 0 of micro-batch 1, of shape [4, 3], has nan at index [2, 1]" in text
    model = net()
    with torch.no_grad():
        model[3].weight[0, 4] = math.inf
    assert "the weights: parameter '3.weight' of shape [1, 5] has inf at index [0, 4]" in message(model)


def test_the_loss_itself_may_be_to_blame() -> None:
    text = message(net(), loss=lambda model, batch: (model(batch[0]) * 0).log().mean())
    assert "log made inf in the loss" in text


def test_a_step_can_be_left_out() -> None:
    x = X[:4].clone()
    x[0, 0] = math.inf
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    recorder = Recorder()
    trainer = make(
        model, train=[BATCHES[0], (x, Y[:4]), BATCHES[1]], epochs=1, on_nonfinite="skip", callbacks=[recorder]
    )
    trainer.fit()
    torch.manual_seed(2)
    other = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    make(other, train=BATCHES[:2], epochs=1).fit()
    assert equal(weights(model), weights(other))
    assert equal(list(model.buffers()), list(other.buffers()))
    assert trainer.skipped == 1 and trainer.step == 3
    assert ("on_skip", 2) in recorder.events


# -- online learning and inference -------------------------------------------------------------------------------------


def test_one_sample_at_a_time() -> None:
    model, other = net(), net()
    trainer, optimizer = make(model, train=None), SGD(other.parameters(), lr=0.1)
    model.eval()
    for x, y in zip(X, Y, strict=True):
        logs = trainer.learn((x[None], y[None]))
        optimizer.zero_grad()
        loss = nn.MSELoss()(other(x[None]), y[None])
        loss.backward()
        optimizer.step()
        assert logs["loss"] == loss.item()
    assert equal(weights(model), weights(other))
    assert trainer.step == 22 and model.training


def test_prediction() -> None:
    model = net(dropout=0.5)
    trainer = make(model)
    expected = net().eval()(X)
    found = trainer.predict(X, batch_size=5)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad
    assert torch.equal(trainer.predict(X, batch_size=5), found)
    assert torch.allclose(trainer.predict(BATCHES), expected, atol=1e-6)
    assert torch.allclose(trainer.predict([x for x, _ in BATCHES]), expected, atol=1e-6)
    pairs = trainer.predict(BATCHES, forward=lambda model, batch: (model(batch[0]), batch[1]))
    assert len(pairs) == 6 and torch.equal(pairs[5][1], Y[20:])
    assert model.training


# -- checkpoints -------------------------------------------------------------------------------------------------------


def long(folder, model=None, **kwargs) -> Trainer:
    """A run with everything that has state."""
    model = net(dropout=0.3) if model is None else model
    optimizer = AdamW(model.parameters(), lr=0.01)
    settings = {
        "scheduler": ExponentialLR(optimizer, 0.9),
        "scheduler_per": "step",
        "valid": BATCHES[:2],
        "epochs": 4,
        "accumulate": 2,
        "patience": 3,
        "checkpoint_every": 2,
        "folder": folder,
        "progress": False,
    }
    return Trainer(model, optimizer, nn.MSELoss(), BATCHES, **{**settings, **kwargs})


class Kill(BaseException):
    pass


class KillAt(Callback):
    """Ends the run as a signal would: nothing is tidied up after the event."""

    def __init__(self, event: str, count: int) -> None:
        self.left = count
        setattr(self, event, self.hit)

    def hit(self, trainer, *args) -> None:
        self.left -= 1
        if self.left == 0:
            raise Kill


def final(trainer: Trainer):
    parts = trainer.optimizer, trainer.scheduler, trainer.callbacks[0]
    return weights(trainer.model), [part.state_dict() for part in parts], torch.get_rng_state()


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def seed() -> None:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002


def without_time(path) -> list[dict]:
    times = ("time", "samples_per_second")
    return [{name: value for name, value in record.items() if name not in times} for record in read(path)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    model = net(dropout=0.3)
    seed()
    trainer = long(folder, model)
    trainer.fit()
    return final(trainer), without_time(folder / "log.jsonl")


KILLS = [("on_step_end", 3), ("on_step_end", 6), ("on_validation_end", 2), ("on_epoch_end", 1)]
KILLS += [("on_epoch_start", 3), ("on_checkpoint", 1), ("on_checkpoint", 5), ("on_fit_end", 1)]


@pytest.mark.parametrize(("event", "count"), KILLS)
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path, uninterrupted, event: str, count: int) -> None:
    model = net(dropout=0.3)
    seed()
    with pytest.raises(Kill):
        long(tmp_path, model, callbacks=[KillAt(event, count)]).fit()
    torch.manual_seed(99)  # what a new process starts with
    model = net(dropout=0.3)
    trainer = long(tmp_path, model)
    if trainer.checkpoints.latest() is None:  # nothing there: it starts from the beginning
        seed()
    trainer.fit()
    assert same(final(trainer), uninterrupted[0])
    assert without_time(tmp_path / "log.jsonl") == uninterrupted[1]


def test_a_finished_run_is_not_run_again(tmp_path) -> None:
    first = long(tmp_path)
    logs = first.fit()
    before = (tmp_path / "log.jsonl").read_bytes()
    again = long(tmp_path)
    assert again.fit() == logs
    assert (tmp_path / "log.jsonl").read_bytes() == before
    more = long(tmp_path, epochs=5)
    more.fit()
    assert more.epoch == 5 and more.step == 15


def test_the_other_generators_go_on_too(tmp_path) -> None:
    trainer = long(tmp_path, steps=2)
    trainer.fit()
    expected = random.random(), np.random.rand(), torch.rand(2)  # noqa: NPY002
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    long(tmp_path, steps=2).fit()
    assert (random.random(), np.random.rand()) == expected[:2] and torch.equal(torch.rand(2), expected[2])  # noqa: NPY002


def test_a_fresh_run_does_not_write_over_another(tmp_path) -> None:
    long(tmp_path).fit()
    with pytest.raises(ArgumentError, match="resume=False would write over it"):
        long(tmp_path).fit(resume=False)


def test_damage_is_told_and_an_earlier_step_can_be_chosen(tmp_path, uninterrupted) -> None:
    model = net(dropout=0.3)
    seed()
    trainer = long(tmp_path, model)
    trainer.fit()
    steps = trainer.checkpoints.steps()
    path = trainer.checkpoints.path(steps[-1])
    data = bytearray(path.read_bytes())
    data[-3] ^= 64
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"damaged, by their checksums: '[\s\S]*fit\(resume={steps[-2]}\)"):
        long(tmp_path).fit()
    again = long(tmp_path)
    again.fit(resume=steps[-2])
    assert same(final(again), uninterrupted[0])
    assert without_time(tmp_path / "log.jsonl") == uninterrupted[1]


def test_another_run_is_refused_before_anything_changes(tmp_path) -> None:
    long(tmp_path).fit()
    wide = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 1))
    before = weights(wide)
    with pytest.raises(CheckpointError, match=r"not of this model:\s+0.weight: \S+ \[5, 3\] in the checkpoint"):
        long(tmp_path, wide).fit()
    assert equal(weights(wide), before)
    with pytest.raises(CheckpointError, match=r"not of this run:\s+optimizer: 'AdamW' in the checkpoint, 'SGD' here"):
        make(net(0.3), epochs=1, folder=tmp_path).fit()
    model = net(0.3)
    optimizer = AdamW(reversed(list(model.parameters())), lr=0.01)
    scheduler = ExponentialLR(optimizer, 0.9)
    swapped = Trainer(
        model, optimizer, nn.MSELoss(), BATCHES, epochs=9, scheduler=scheduler, scheduler_per="step", folder=tmp_path
    )
    with pytest.raises(
        CheckpointError, match=r"group 0 differs: in the checkpoint and here it has 0.weight and 3.bias"
    ):
        swapped.fit()


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(tmp_path, monkeypatch, uninterrupted) -> None:
    model = net(dropout=0.3)
    seed()
    trainer = long(tmp_path, model)
    replace, calls = os.replace, []

    def full(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        replace(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            trainer.fit()
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    again = long(tmp_path, net(dropout=0.3))
    again.fit()
    assert same(final(again), uninterrupted[0])


def test_saving_and_loading_by_hand(tmp_path) -> None:
    trainer = make(train=None, folder=tmp_path)
    trainer.learn(BATCHES[0])
    path = trainer.save()
    assert torch.load(path)["model"].keys() == trainer.model.state_dict().keys()
    saved = weights(trainer.model)
    trainer.learn(BATCHES[1])
    trainer.load("latest")
    assert trainer.step == 1 and equal(weights(trainer.model), saved)


# -- logs and pictures -------------------------------------------------------------------------------------------------


def test_the_log_has_a_line_a_step(tmp_path) -> None:
    make(steps=8, valid=BATCHES, folder=tmp_path, lr=0.01).fit()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == list(range(1, 9))
    assert set(steps[0]) == {"step", "epoch", "loss", "lr", "grad_norm", "samples_per_second", "time"}
    assert [(r["step"], r["epoch"]) for r in records if "valid_loss" in r] == [(6, 1), (8, 2)]


def test_a_log_can_be_sparse(tmp_path) -> None:
    make(steps=6, folder=tmp_path, log_every=3).fit()
    assert [record["step"] for record in read(tmp_path / "log.jsonl")] == [3, 6]


def test_numbers_that_json_lacks_and_torn_lines(tmp_path) -> None:
    from pullback.train.logs import line

    path = tmp_path / "log.jsonl"
    path.write_text(line({"step": 1, "loss": math.nan, "grad_norm": -math.inf}) + '{"step": 2, "lo')
    (record,) = read(path)
    assert record["loss"] == "nan" and float(record["grad_norm"]) == -math.inf


def test_a_step_left_out_is_logged(tmp_path) -> None:
    x = torch.full((4, 3), math.nan)
    make(train=[(x, Y[:4])], steps=1, folder=tmp_path, on_nonfinite="skip").fit()
    assert any("the loss is nan" in record.get("skipped", "") for record in read(tmp_path / "log.jsonl"))


def test_a_log_that_cannot_be_written_names_the_file(tmp_path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    log = JsonLog("/dev/full")
    log.position = 0
    log.file = open("/dev/full", "ab")  # noqa: SIM115
    with pytest.raises(OSError, match="the log cannot be written: No space left on device: '/dev/full'"):
        log.write({"step": 1})
    log.close(None)


def test_curves_are_drawn_at_the_end(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    make(epochs=2, valid=BATCHES, folder=tmp_path).fit()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "empty.jsonl").write_text("")
    draw(tmp_path / "empty.jsonl", tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()


def test_without_matplotlib_a_line_says_what_to_install(tmp_path, monkeypatch, capsys) -> None:
    from pullback.train import curves

    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    make(steps=1, folder=tmp_path).fit()
    assert capsys.readouterr().out.strip().endswith("pip install 'pullback[train]'")
    assert not (tmp_path / "curves.png").exists()


def test_tensorboard_gets_what_the_log_gets(tmp_path) -> None:
    make(epochs=1, valid=BATCHES, folder=tmp_path, tensorboard=True).fit()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    data = path.read_bytes()
    assert data.count(b"train/loss") == 6 and data.count(b"valid/loss") == 1
