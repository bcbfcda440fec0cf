"""The Trainer's steps compiled: the same numbers as eagerly, few captures, and nothing left of a bad step."""

from __future__ import annotations

import math

import pytest

import pullback as torch
from pullback import nn
from pullback.engines import native
from pullback.errors import ArgumentError, PullbackError
from pullback.optim import SGD, AdamW, Optimizer
from pullback.optim.lr_scheduler import ExponentialLR
from pullback.train import Callback, NonFiniteError, Trainer, curves, display, read

torch.manual_seed(0)
X = torch.randn(22, 3)
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 22, 4)]  # the last one has 2 samples
OTHERS = {"native": [pytest.mark.slow], "xla": [pytest.mark.slow, pytest.mark.parity]}  # which compile for seconds
FUNCTIONS = ("whole", "first", "more", "update", "evaluation")


def on_engines(names: str, *cases: tuple, elsewhere: int) -> pytest.MarkDecorator:
    """All cases on NumPy, and the first `elsewhere` of them on the other engines."""
    compiler = pytest.mark.skipif(not native.available(), reason="there is no C compiler")
    found = [("numpy", *case) for case in cases]
    for engine, marks in OTHERS.items():
        marks = [*marks, compiler] if engine == "native" else marks
        found += [pytest.param(engine, *case, marks=marks) for case in cases[:elsewhere]]
    return pytest.mark.parametrize(("engine", *names.split()), found)


class Losses(Callback):
    """Keeps what each step logs."""

    def __init__(self) -> None:
        self.all: list[dict] = []
        self.skipped: list[int] = []

    def on_step_end(self, trainer, logs) -> None:
        self.all.append({name: value for name, value in logs.items() if not name.endswith("per_second")})

    def on_skip(self, trainer, reason) -> None:
        self.skipped.append(trainer.step)


def net(middle: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Linear(3, 5, bias=False), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.3), middle or nn.Identity()
    return nn.Sequential(*layers, nn.Linear(5, 1))


def error(output, target):
    return (output - target).abs().mean()


def make(compile, model=None, *, optimizer=AdamW, lr=0.02, loss=None, train=BATCHES, **settings) -> Trainer:
    model = net() if model is None else model
    made = optimizer(model.parameters(), lr=lr)
    if settings.pop("schedule", False):
        settings |= {"scheduler": ExponentialLR(made, 0.9), "scheduler_per": "step"}
    losses = Losses()
    torch.manual_seed(5)
    settings = {"epochs": 3, "progress": False, "callbacks": [losses], **settings}
    trainer = Trainer(model, made, loss or nn.MSELoss(), train, compile=compile, **settings)
    trainer.losses = losses.all
    trainer.left_out = losses.skipped
    return trainer


def captures(trainer: Trainer) -> dict[str, int]:
    return {name: getattr(trainer.run, name)._captures for name in FUNCTIONS}


def same(a: list[dict], b: list[dict], tolerance: float = 1e-5) -> None:
    assert len(a) == len(b) > 0
    for one, other in zip(a, b, strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance, nan_ok=True)


def state(trainer: Trainer) -> dict:
    """All that the next step depends on."""
    scaler = trainer.scaler.state_dict()
    model = {name: t.tolist() for name, t in trainer.model.state_dict().items()}
    moments = [
        {name: t.tolist() for name, t in kept.items()} for kept in trainer.optimizer.state_dict()["state"].values()
    ]
    return {"model": model, "moments": moments, "scaler": scaler, "rng": torch.get_rng_state().tolist()}


# -- the same numbers --------------------------------------------------------------------------------------------------


SETTINGS = {
    "plain": {"clip": 0.5, "schedule": True, "valid": BATCHES, "metrics": {"error": error}},
    "window": {"clip": 0.5, "schedule": True, "valid": BATCHES, "accumulate": 4},
    "values": {"clip_value": 0.01, "optimizer": SGD},
    "scaler": {"clip": 0.5, "scaler": True, "accumulate": 4, "valid": BATCHES},
    "bf16": {"autocast": torch.autocast("cpu", torch.bfloat16), "scaler": True, "epochs": 1},
}


@on_engines("kind", ("window",), ("plain",), ("scaler",), ("bf16",), ("values",), elsewhere=3)
def test_a_compiled_run_has_the_numbers_of_an_eager_one(engine: str, kind: str) -> None:
    def run(compile) -> Trainer:
        settings = dict(SETTINGS[kind])
        if settings.pop("scaler", False):
            settings["scaler"] = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
        trainer = make(compile, **settings)
        trainer.fit()
        return trainer

    eager, compiled = run(None), run(engine)
    tolerance = 1e-2 if kind == "bf16" else 1e-5
    same(compiled.losses, eager.losses, tolerance)
    shapes = 1 if kind in ("window", "scaler") else 2  # windows of 4 batches, and of a whole one and a smaller one
    assert captures(compiled)["first" if shapes == 1 else "whole"] == shapes
    names = {name for name in eager.logs if name.startswith("valid_")}
    assert {name: compiled.logs[name] for name in names} == pytest.approx(
        {name: eager.logs[name] for name in names}, rel=1e-5
    )
    assert compiled.scaler.state_dict() == eager.scaler.state_dict()
    assert compiled.optimizer.param_groups[0]["lr"] == eager.optimizer.param_groups[0]["lr"]
    assert torch.equal(compiled.model[1].num_batches_tracked, eager.model[1].num_batches_tracked)


def test_epochs_validations_and_schedules_are_not_captured_anew() -> None:
    """Once for each shape: the last batch is smaller."""
    trainer = make("numpy", valid=BATCHES, valid_every=2, schedule=True, epochs=4, clip=1.0)
    trainer.fit()
    assert captures(trainer) == {"whole": 2, "first": 0, "more": 0, "update": 0, "evaluation": 2}
    assert trainer.step == 24
    trainer.epochs = 5
    trainer.fit()
    assert captures(trainer)["whole"] == captures(trainer)["evaluation"] == 2


def test_a_window_is_not_unrolled() -> None:
    trainer = make("numpy", train=BATCHES[:5], valid=BATCHES[:5], accumulate=4, schedule=True, epochs=4)
    trainer.fit()  # windows of 4 batches and of 1
    assert trainer.step == 8
    assert captures(trainer) == {"whole": 0, "first": 1, "more": 1, "update": 1, "evaluation": 1}
    few, many = make("numpy", accumulate=2, steps=1), make("numpy", accumulate=5, steps=1, train=BATCHES[:5])
    few.fit(), many.fit()
    for name in ("first", "more", "update"):
        sizes = {len(getattr(t.run, name).program.instructions) for t in (few, many)}
        assert len(sizes) == 1


def test_gradients_of_before_do_not_matter() -> None:
    clean = make("numpy", steps=2)
    clean.fit()
    other = make("numpy", steps=2)
    for p in other.model.parameters():
        p.grad = torch.ones_like(p)
    other.fit()
    assert clean.losses == other.losses
    assert all(p.grad is None for p in other.model.parameters())


def test_a_parameter_that_is_not_the_optimizers() -> None:
    """Its gradient is that of the last step, as a user's loop would leave it, and no reason to capture again."""
    model = net()
    optimizer = SGD(model[0].parameters(), lr=0.1)
    trainer = Trainer(model, optimizer, nn.MSELoss(), BATCHES[:5], epochs=2, progress=False, compile="numpy")
    trainer.fit()
    assert captures(trainer)["whole"] == 1
    assert model[0].weight.grad is None and model[5].weight.grad is not None


def test_a_compiled_step_can_be_verified() -> None:
    trainer = make("numpy", net(nn.Identity()), steps=3, clip=0.5, train=BATCHES[:5])
    trainer.fit()
    before = state(trainer)
    assert torch.verify(trainer.run.whole, BATCHES[0], engines=["numpy"]).ok
    assert state(trainer) == before


# -- tokens ------------------------------------------------------------------------------------------------------------


def cross_entropy(model, batch):
    x, y = batch
    output = model(x)
    loss = nn.functional.cross_entropy(output, y)
    wrong = (output.argmax(1) != y) & (y != -100)
    return {"loss": loss, "error": wrong.double().sum() / (y != -100).sum()}


def tokens(batch):
    return (batch[1] != -100).sum()


def labelled(*masked: int) -> list:
    """Batches of 4 labels, of which the first so many are not to be learned."""
    torch.manual_seed(3)
    batches = [(torch.randn(4, 3), torch.randint(0, 5, (4,))) for _ in masked]
    return [(x, torch.where(torch.arange(4) < n, -100, y)) for (x, y), n in zip(batches, masked, strict=True)]


@pytest.mark.parametrize("compile", [None, "numpy"])
def test_tokens_weigh_the_same_wherever_they_are(compile) -> None:
    """A window with a batch of no labels, and one with many, is the batch of all labels together."""
    parts = labelled(1, 4, 0)
    whole = [tuple(torch.cat(column) for column in zip(*parts, strict=True))]
    settings = {"loss": cross_entropy, "count": tokens, "steps": 1, "optimizer": SGD, "clip": 10.0}
    torch.manual_seed(2)
    model = nn.Linear(3, 5).double()
    parts, whole = ([(x.double(), y) for x, y in batches] for batches in (parts, whole))
    other = nn.Linear(3, 5).double()
    other.load_state_dict(model.state_dict())
    one = make(compile, model, train=whole, **settings)
    many = make(compile, other, train=parts, accumulate=3, **settings)
    one.fit(), many.fit()
    same(many.losses, one.losses, 1e-12)
    assert set(one.losses[0]) == {"step", "epoch", "loss", "lr", "grad_norm", "error"}
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("compile", [None, "numpy"])
def test_a_window_without_any_terms_changes_nothing_and_counts(compile, accumulate: int) -> None:
    batches = labelled(0, 0, 4, 4, 1, 1)
    model = nn.Linear(3, 5)
    settings = {"loss": cross_entropy, "count": tokens, "epochs": 1, "accumulate": accumulate}
    trainer = make(compile, model, train=batches, valid=batches, **settings)
    trainer.fit()
    empty = [logs for logs in trainer.losses if logs["loss"] == 0.0]
    assert [logs["grad_norm"] for logs in empty] == [0.0] * len(empty) and len(empty) == 2 // accumulate
    assert trainer.step == 6 // accumulate and trainer.skipped == 0
    assert all(p.isfinite().all() for p in model.parameters()) and math.isfinite(trainer.logs["valid_loss"])
    steps = [kept["step"].item() for kept in trainer.optimizer.state.values()]
    assert steps == [4 // accumulate] * len(steps)  # the optimizer's own count: updates that were made


def test_what_a_loss_function_must_give() -> None:
    def trainer(loss):
        return make(None, nn.Linear(3, 1), loss=loss, steps=1)

    for loss, message in [
        (lambda model, batch: {"losses": model(batch[0]).mean()}, "losses and no loss"),
        (lambda model, batch: model(batch[0]), r"'loss' of shape \[4, 1\]"),
        (lambda model, batch: {"loss": model(batch[0]).mean(), "n": 3}, "'n' of class int"),
        (lambda model, batch: {"loss": model(batch[0]).mean(), "lr": model(batch[0]).mean()}, "a 'lr' of its own"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            trainer(loss).fit()


# -- NaN and Inf -------------------------------------------------------------------------------------------------------


class Log(nn.Module):
    def forward(self, x):
        return (x * x).log()  # dropout leaves zeros


class Root(nn.Module):
    def forward(self, x):
        return x.abs().sqrt()  # finite, with an infinite slope


@on_engines("layer accumulate", (Log, 1), (Root, 2), (Root, 1), (Log, 2), elsewhere=2)
def test_a_bad_step_is_explained_and_leaves_all_as_it_was(engine: str, layer, accumulate: int) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1) if layer is Log else None
    trainer = make(engine, net(layer()), accumulate=accumulate, clip=0.5, scaler=scaler)
    trainer.model[3].eval()
    with torch.no_grad():  # something goes on before it
        trainer.model[1].bias += 3.0
    trainer.model[3].p = 0.0
    trainer.steps, trainer.epochs = 2, None
    trainer.fit()
    assert all(math.isfinite(logs["loss"]) for logs in trainer.losses)
    before, trainer.steps, trainer.model[3].p = state(trainer), 3, 0.5
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit()
    assert state(trainer) == before and trainer.step == 2
    assert all(p.grad is None for p in trainer.model.parameters())
    text = str(caught.value)
    assert "at step 3" in text and "test_compiled.py" in text and "from float32 [4, 5], from 0 to " in text
    if layer is Log:
        assert "the first: log made inf in layer '4' (Log)" in text and "(x * x).log()" in text
    else:
        assert "the forward pass is finite; the first: the gradient of sqrt is inf in layer '4' (Root)" in text
        assert "its rule's div made it" in text and "x.abs().sqrt()" in text


@on_engines("accumulate", (2,), (1,), elsewhere=1)
def test_a_bad_step_is_left_out(engine: str, accumulate: int) -> None:
    """Weights, moments and running means are those of a run without it."""
    bad = (torch.where(torch.arange(4)[:, None] == 1, math.inf, X[:4]), Y[:4])
    batches = BATCHES[:2] + [BATCHES[2], bad][-accumulate:] + BATCHES[:2]
    model = net()
    model[3].p = 0.0  # a step that was left out has drawn random numbers
    trainer = make(engine, model, train=batches, accumulate=accumulate, on_nonfinite="skip", epochs=1)
    trainer.fit()
    other = net()
    other[3].p = 0.0
    without = make(engine, other, train=BATCHES[:2] + BATCHES[:2], accumulate=accumulate, epochs=1)
    without.fit()
    left, right = state(trainer), state(without)
    assert left["model"] == right["model"] and left["moments"] == right["moments"]
    assert trainer.skipped == 1 and trainer.left_out == [3 if accumulate == 1 else 2]
    assert not math.isfinite(trainer.losses[trainer.left_out[0] - 1]["loss"])


@on_engines("", (), elsewhere=1)
def test_a_loss_that_is_not_finite_though_its_gradient_is(engine: str) -> None:
    """The scaler finds nothing in the gradients, and the update is left out all the same."""

    def loss(model, batch):
        return model(batch[0]).mean() + math.inf

    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=4.0)):
        model = nn.Linear(3, 1)
        before = [p.tolist() for p in model.parameters()]
        make(engine, model, loss=loss, steps=2, on_nonfinite="skip", scaler=scaler).fit()
        assert [p.tolist() for p in model.parameters()] == before


@on_engines("", (), elsewhere=1)
def test_an_overflow_is_the_scalers_business(engine: str) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    trainer = make(engine, nn.Linear(3, 1), steps=1, scaler=scaler, optimizer=SGD)
    before = state(trainer)["model"]
    trainer.fit()
    assert state(trainer)["model"] == before
    assert scaler.get_scale() == 2.0**126 and trainer.skipped == 0
    assert not math.isfinite(trainer.logs["grad_norm"])


class Plain(Optimizer):
    """One that knows nothing of found_inf."""

    def __init__(self, params, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad


def test_an_optimizer_that_cannot_leave_a_step_out() -> None:
    with pytest.raises(ArgumentError, match=r"left out by `found_inf`, and Plain.step\(\) ignores that"):
        make("numpy", optimizer=Plain)
    bad = (X[:4] * math.inf, Y[:4])
    trainer = make(None, nn.Linear(3, 1), optimizer=Plain, train=[bad, *BATCHES], on_nonfinite="skip", epochs=1)
    trainer.fit()
    assert trainer.skipped == 1 and all(p.isfinite().all() for p in trainer.model.parameters())


def test_an_engine_that_there_is_not() -> None:
    with pytest.raises(PullbackError, match="there is no engine 'cuda'"):
        make("cuda")


# -- going on ----------------------------------------------------------------------------------------------------------


class Stopped(BaseException):
    pass


class StopAt(Callback):
    """Ends the run as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer, logs) -> None:
        if trainer.step == self.step:
            raise Stopped


@on_engines("accumulate step", (4, 3), (1, 15), (1, 1), (4, 6), elsewhere=1)
def test_a_run_that_was_stopped_goes_on_to_the_bit(
    tmp_path, engine: str, accumulate: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "find_spec", lambda name: None)  # pictures take a second each

    def run(folder: str, *callbacks: Callback) -> Trainer:
        settings = {"valid": BATCHES, "schedule": True, "accumulate": accumulate, "epochs": 4, "checkpoint_every": 2}
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
        return make(engine, folder=tmp_path / folder, callbacks=callbacks, scaler=scaler, **settings)

    whole = run("whole")
    whole.fit()
    with pytest.raises(Stopped):
        run("parts", StopAt(step)).fit()
    parts = run("parts")
    if step > 2:
        torch.manual_seed(99)
    parts.fit()
    assert state(parts) == state(whole)
    assert {**parts.logs, "samples_per_second": 0} == {**whole.logs, "samples_per_second": 0}


# -- what is shown -----------------------------------------------------------------------------------------------------


class Memory(Callback):
    def on_step_end(self, trainer, logs) -> None:
        logs["memory"] = 1.5 * trainer.step


def test_callbacks_add_to_the_log_and_to_the_line(tmp_path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    forms = {"memory": "{:.2f} GiB"}
    rate = ("numbers", lambda batch: batch[0].numel())
    trainer = make("numpy", epochs=1, callbacks=[Memory()], progress=display(forms), rate=rate, folder=tmp_path)
    logs = trainer.fit()
    assert logs["memory"] == 9.0
    records = [record for record in read(tmp_path / "log.jsonl") if "loss" in record]
    assert [record["memory"] for record in records] == [1.5, 3.0, 4.5, 6.0, 7.5, 9.0]
    assert all(record["numbers_per_second"] > 0 for record in records)
    line = capsys.readouterr().out.splitlines()[0]
    assert " numbers/s  9.00 GiB" in line and "samples" not in line


def test_a_count_of_terms_is_a_rate_of_terms() -> None:
    trainer = make(None, nn.Linear(3, 5), loss=cross_entropy, train=labelled(0, 1), count=tokens, epochs=1)
    assert "terms_per_second" in trainer.fit()
