"""pullback.summary: a table of layers, and a model that is as it was before."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import pullback
from pullback import lens, nn


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 10, bias=False)
    )


def row(s: lens.Summary, *names: str) -> Any:
    found = [r for r in s.rows if (r.name, r.kind) == names or r.kind == names[0]]
    assert len(found) == 1, s
    return found[0]


def test_rows_say_what_layers_put_out_hold_and_cost() -> None:
    s = pullback.summary(convolutional(), (4, 1, 7, 7))
    assert [(r.name, r.kind, r.level, r.calls) for r in s.rows] == [
        ("", "Sequential", 0, 1),
        ("0", "Conv2d", 1, 1),
        ("1", "BatchNorm2d", 1, 1),
        ("2", "ReLU", 1, 1),
        ("3", "Flatten", 1, 1),
        ("4", "Linear", 1, 1),
    ]
    assert [r.outputs for r in s.rows] == [
        [(4, 10)],
        [(4, 8, 7, 7)],
        [(4, 8, 7, 7)],
        [(4, 8, 7, 7)],
        [(4, 392)],
        [(4, 10)],
    ]
    assert [r.parameters for r in s.rows] == [8 * 9 + 8 + 16 + 3920, 8 * 9 + 8, 16, 0, 0, 3920]
    assert (s.parameters, s.trainable, s.parameter_bytes) == (4016, 4016, 4016 * 4)


def test_flops_are_those_of_the_ops() -> None:
    s = pullback.summary(nn.Linear(5, 3, bias=False), (4, 5))
    multiplications = 4 * 5 * 3
    assert (s.forward_flops, s.backward_flops) == (2 * multiplications, 2 * multiplications)  # the input wants none
    model = nn.Sequential(nn.Linear(5, 3, bias=False), nn.Linear(3, 2, bias=False))
    s = pullback.summary(model, (4, 5))
    assert [r.forward for r in s.rows] == [2 * (60 + 24), 2 * 60, 2 * 24]
    assert [r.backward for r in s.rows] == [2 * (60 + 2 * 24), 2 * 60, 2 * 2 * 24]


def test_no_op_is_left_out() -> None:
    model, x = convolutional(), pullback.randn(4, 1, 7, 7)
    s = pullback.summary(model, x)
    with lens.FlopCounterMode(display=False) as counter:
        y = model(x)
        pullback.autograd.grad(y, list(model.parameters()), pullback.ones_like(y))
    assert s.forward_flops == sum(counter.forward.values()) == s.rows[0].forward
    assert s.backward_flops == sum(counter.backward.values()) == s.rows[0].backward
    assert sum(r.forward for r in s.rows[1:]) == s.forward_flops
    assert sum(r.backward for r in s.rows[1:]) == s.backward_flops


def test_undone_broadcasting_belongs_to_the_op_that_broadcast() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2, bias=False)
            self.shift = nn.Parameter(pullback.zeros(2))

        def forward(self, x: Any) -> Any:
            return self.inner(x) + self.shift

    s = pullback.summary(Shifted(), (4, 3))
    assert s.rows[1].backward == 2 * 4 * 3 * 2
    assert s.rows[0].backward - s.rows[1].backward == 4 * 2 == s.rows[0].forward - s.rows[1].forward


def test_the_model_stays_as_it_was() -> None:
    model, x = convolutional().train(), pullback.randn(4, 1, 7, 7, requires_grad=True)
    model[0].eval()
    model(x).sum().backward()
    grads = [p.grad for p in model.parameters()]
    before, state = copy.deepcopy(model.state_dict()), pullback.get_rng_state()
    pullback.summary(model, x)
    assert pullback.equal(pullback.get_rng_state(), state)
    assert all(pullback.equal(t, before[name]) for name, t in model.state_dict().items())
    assert [p.grad for p in model.parameters()] == grads
    assert [m.training for m in model.modules()] == [True, False, True, True, True, True]
    assert not any("_hooks" in vars(m) for m in model.modules())


def test_a_lazy_model_stays_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU())
    s = pullback.summary(model, (2, 3))
    assert s.parameters == 16 and s.rows[1].kind == "LazyLinear" and model[0].has_uninitialized_params()


def test_it_costs_the_same_without_recording_around_it() -> None:
    with pullback.no_grad():
        s = pullback.summary(nn.Linear(2, 2, bias=False), (1, 2))
    assert (s.forward_flops, s.backward_flops) == (8, 8)


def test_what_is_shared_counts_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(3, 3, bias=False)
            self.third = nn.Linear(3, 3, bias=False)
            self.third.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.third(self.second(self.first(x)))

    s = pullback.summary(Twice(), (1, 3))
    assert [(r.name, r.parameters, r.calls, r.forward) for r in s.rows] == [
        ("", 9, 1, 3 * 18),
        ("first", 9, 2, 2 * 18),
        ("third", 9, 1, 18),
    ]
    assert s.parameters == 9 and "first: Linear x2" in str(s)


def test_a_list_of_modules_costs_what_is_in_it() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(3))
            self.unused = nn.Linear(2, 2, bias=False)

        def forward(self, x: Any) -> Any:
            for layer in self.layers:
                x = layer(x)
            return x

    s = pullback.summary(Holder(), (1, 2))
    assert row(s, "ModuleList").forward == s.forward_flops == 3 * 8
    assert row(s, "ModuleList").backward == s.backward_flops and row(s, "ModuleList").outputs == []
    assert row(s, "unused", "Linear").forward == 0


def test_several_inputs_and_dtypes() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 3)

        def forward(self, i: Any, x: Any) -> Any:
            assert i.dtype == pullback.int64 and x.dtype == pullback.float64
            return self.table(i) + x, {"x": x}

    model = Pair().double()
    s = pullback.summary(model, [(2, 5), (2, 5, 3)], [pullback.int64, None])
    assert s.rows[0].outputs == [(2, 5, 3), (2, 5, 3)] and s.parameter_bytes == 240
    given = [pullback.tensor([[1, 2]]), (1, 2, 3)]
    assert pullback.summary(model, given).rows[1].outputs == [(1, 2, 3)]
    with pytest.raises(ValueError, match="1 dtypes were given for 2 inputs"):
        pullback.summary(model, given, [None])


def test_an_input_that_is_given_is_not_written_to() -> None:
    x = pullback.tensor([-1.0, 1.0])
    pullback.summary(nn.ReLU(inplace=True), x)
    assert x.tolist() == [-1.0, 1.0]


def test_frozen_parameters_are_not_trainable() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    s = pullback.summary(model, (4, 2))
    assert (s.parameters, s.trainable) == (13, 4) and s.rows[1].backward == 0 < s.rows[2].backward
    s = pullback.summary(model.requires_grad_(False), (4, 2))
    assert (s.trainable, s.backward_flops) == (0, 0)


def test_a_checkpoint_is_counted_where_its_ops_are() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 3, bias=False)

        def forward(self, x: Any) -> Any:
            return pullback.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)

    s = pullback.summary(nn.Sequential(nn.Linear(3, 3, bias=False), Block()), (1, 3))
    inner = row(s, "inner", "Linear")
    assert (inner.calls, inner.forward) == (1, 18)
    assert s.backward_flops == s.rows[0].backward > 3 * 18  # the forward pass once more


def test_depth_and_the_table() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Tanh())
    s = pullback.summary(model, (3, 2), depth=1)
    assert [r.name for r in s.rows] == ["", "0", "1"]
    lines = str(s).splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "forward", "FLOPs", "backward", "FLOPs"]
    assert lines[3].split() == ["0:", "Sequential", "[3,", "2]", "6", "30", f"{s.rows[1].backward}"]
    assert lines[-2] == "parameters  6 (6 trainable), 24 bytes" and repr(s) == str(s)
