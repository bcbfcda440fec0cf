from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import pullback as torch
from pullback import nn
from pullback.optim import SGD
from pullback.train import Callback, Trainer, progress

X = torch.ones(6, 2)
BATCHES = [(X, X[:, :1])] * 5


def make(**kwargs) -> Trainer:
    model = nn.Linear(2, 1)
    return Trainer(model, SGD(model.parameters(), lr=0.01), nn.MSELoss(), **{"train": BATCHES, **kwargs})


def test_lines_say_how_far_training_is(capsys) -> None:
    make(epochs=2, valid=BATCHES).fit()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1  step 5/10  loss ")
    assert second.startswith("epoch 2  step 10/10  loss ")
    for part in ("lr 0.01", "|g| ", " samples/s", "valid_loss ", "0:00:00 left"):
        assert part in second


def test_lines_within_an_epoch_come_now_and_then(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Clock(Callback):
        def on_step_end(self, trainer, logs):
            now[0] += 1.0

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    make(steps=40, train=BATCHES * 8, callbacks=[Clock()]).fit()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == [f"step {step}/40" for step in (10, 20, 30, 40)]


def test_no_progress_no_output(capsys) -> None:
    make(epochs=1, progress=False).fit()
    assert capsys.readouterr().out == ""


def test_the_end_of_unknown_length(capsys) -> None:
    class Stream:
        def __iter__(self):
            return iter(BATCHES)

    model = nn.Linear(2, 1)
    Trainer(model, SGD(model.parameters(), lr=0.01), nn.MSELoss(), Stream(), epochs=1).fit()
    assert capsys.readouterr().out.startswith("epoch 1  step 5  loss ")


def test_clock() -> None:
    assert progress.clock(3723.4) == "1:02:03"
    assert progress.clock(0) == "0:00:00"


def test_the_display_suits_the_output(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert type(progress.display()) is progress.Lines
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "find_spec", lambda name: object())
    assert type(progress.display()) is progress.Bar
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    assert type(progress.display()) is progress.Lines
    make(steps=1).fit()
    assert "pip install 'pullback[train]'" in capsys.readouterr().out


def test_the_bar(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress.Bar, "every", 0.0)
    make(epochs=2, valid=BATCHES, progress=False, callbacks=[progress.Bar()]).fit()
    out = capsys.readouterr().out
    assert "epoch 1  step 5  valid_loss " in out
    assert "10/10" in out and "|g| " in out


def test_the_bar_is_put_away_after_an_error(capsys) -> None:
    pytest.importorskip("rich")
    bar = progress.Bar()
    with pytest.raises(ZeroDivisionError):
        make(epochs=1, progress=False, callbacks=[bar], metrics={"x": lambda a, b: 1 / 0}, valid=BATCHES).fit()
    assert not bar.bar.live.is_started
