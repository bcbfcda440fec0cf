"""Optimizer itself: groups, errors, hooks, saving; and optimizers of the user's own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import nn, optim
from pullback.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    required,
)


def leaf(*values: float) -> Any:
    return torch.tensor(values, requires_grad=True)


def with_grad(*values: float) -> Any:
    p = leaf(*values)
    p.grad = torch.ones_like(p)
    return p


class Descent(Optimizer):
    """As the tutorials have it."""

    def __init__(self, params: Any, lr: Any = required) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad, alpha=-group["lr"])
                    state = self.state[p]
                    state["seen"] = state.get("seen", 0) + 1
        return loss


class Signs(optim.RuleOptimizer):
    """As a rule, with state that changes places."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def begin(self, p: Any, group: Any) -> Any:
        return {"a": p.detach().clone(), "b": torch.zeros_like(p)}

    def rule(self, p: Any, g: Any, s: Any, o: Any) -> Any:
        return p - o["lr"] * g.sign(), {"a": s["b"], "b": p}


# -- what it is made of ----------------------------------------------------------------------------------------------


def test_groups_have_their_own_options() -> None:
    p, q, r = with_grad(1.0), with_grad(1.0), with_grad(1.0)
    optimizer = optim.SGD([{"params": p}, {"params": [q], "lr": 0.5}], lr=0.25)
    optimizer.add_param_group({"params": (x for x in [r]), "lr": 0.75})
    optimizer.step()
    assert [x.item() for x in (p, q, r)] == [0.75, 0.5, 0.25]
    optimizer.param_groups[0]["lr"] = 1.0  # read anew at each step
    optimizer.step()
    assert [x.item() for x in (p, q, r)] == [-0.25, 0.0, -0.5]


def test_what_has_no_gradient_stays() -> None:
    p, q, frozen = with_grad(1.0), leaf(2.0), torch.ones(1)
    optimizer = optim.Adam([p, q, frozen], lr=0.1)
    optimizer.step()
    assert q.item() == 2.0 and q not in optimizer.state and frozen.item() == 1.0
    assert float(optimizer.state[p]["step"]) == 1.0
    q.grad = torch.ones(1)
    optimizer.step()
    assert float(optimizer.state[p]["step"]) == 2.0 and float(optimizer.state[q]["step"]) == 1.0


def test_zero_grad() -> None:
    p, q = with_grad(1.0), leaf(2.0)
    optimizer = optim.SGD([p, q], lr=0.1)
    held = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0] and held.tolist() == [0.0] and q.grad is None
    (p * p).sum().backward()
    optimizer.zero_grad()
    assert p.grad is None


def test_repr_is_pytorchs() -> None:
    optimizer = optim.SGD([leaf(1.0)], lr=0.1)
    optimizer.add_param_group({"params": [leaf(1.0)], "momentum": 0.5})
    lines = repr(optimizer).splitlines()
    assert lines[0] == "SGD (" and lines[-1] == ")"
    assert lines[1:4] == ["Parameter Group 0", "    dampening: 0", "    differentiable: False"]
    assert "    momentum: 0.5" in lines[10:]


def test_names() -> None:
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="with/without names"):
        optimizer.add_param_group({"params": [leaf(1.0)]})
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([("a", leaf(1.0)), leaf(2.0)], lr=0.1)
    other = optim.SGD(nn.Linear(2, 2).named_parameters(), lr=0.1)
    other.load_state_dict(optim.SGD(model.parameters(), lr=0.3).state_dict())
    assert other.param_groups[0]["param_names"] == ["weight", "bias"] and other.param_groups[0]["lr"] == 0.3


def test_mistakes() -> None:
    p = leaf(1.0)
    with pytest.raises(TypeError, match="iterable of Tensors or dicts"):
        optim.SGD(p, lr=0.1)
    with pytest.raises(TypeError, match=r"model\.parameters\(\)"):
        optim.SGD(nn.Linear(1, 1), lr=0.1)
    with pytest.raises(ValueError, match="empty parameter list"):
        optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="ordered collections"):
        optim.SGD([{"params": {p}}], lr=0.1)
    with pytest.raises(TypeError, match="can only optimize Tensors, but one of the params is float"):
        optim.SGD([1.0], lr=0.1)
    with pytest.raises(ValueError, match="non-leaf") as error:
        optim.SGD([p * 2], lr=0.1)
    assert "made" in str(error.value) and "p * 2" in str(error.value)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)
    with pytest.raises(TypeError, match="must be a dict"):
        optim.SGD([p], lr=0.1).add_param_group([p])
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        Descent([p])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optim.SGD([p, p], lr=0.1)
    with pytest.raises(NotImplementedError, match="must define step"):
        Optimizer([p], {}).step()
    with pytest.raises(AttributeError, match="sparse tensors are not supported; use Adam"):
        optim.SparseAdam  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Sgd'"):
        optim.Sgd  # noqa: B018


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: optim.SGD(p, lr=-1), "Invalid learning rate: -1"),
        (lambda p: optim.SGD(p, momentum=-1), "Invalid momentum value: -1"),
        (lambda p: optim.SGD(p, nesterov=True), "Nesterov momentum requires a momentum and zero dampening"),
        (lambda p: optim.SGD(p, lr=torch.ones(2)), "Tensor lr must be 1-element"),
        (lambda p: optim.Adam(p, eps=-1.0), "Invalid epsilon value: -1.0"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), "Invalid beta parameter at index 1: 1.0"),
        (lambda p: optim.AdamW(p, weight_decay=-1), "Invalid weight_decay value: -1"),
        (lambda p: optim.Adadelta(p, rho=2), "Invalid rho value: 2"),
        (lambda p: optim.Rprop(p, etas=(1.5, 2)), "Invalid eta values: 1.5, 2"),
        (lambda p: optim.Adafactor(p, beta2_decay=0.5), "beta2_decay should be <= 0"),
        (lambda p: optim.Adafactor(p, d=0.5), "d should be >= 1"),
        (lambda p: optim.Muon(p), "Muon only supports 2D parameters"),
        (lambda p: optim.Muon(p, adjust_lr_fn="x"), "Adjust learning rate function x is not supported"),
        (lambda p: optim.Muon(p, ns_steps=100), "must be below 100"),
        (lambda p: optim.LBFGS(p, line_search_fn="x"), "only 'strong_wolfe' is supported"),
        (lambda p: optim.LBFGS([{"params": p}, {"params": [leaf(1.0)]}]), "parameter groups"),
        (lambda p: optim.LBFGS(p).step(), "pass a closure|call optimizer.step"),
    ],
)
def test_options_are_checked(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make([leaf(1.0)])


# -- saving ----------------------------------------------------------------------------------------------------------


def test_state_dict_numbers_parameters() -> None:
    p, q, r = leaf(1.0), with_grad(1.0), with_grad(1.0)
    optimizer = optim.Adam([{"params": [p, q]}, {"params": [r], "lr": 0.5}])
    optimizer.step()
    saved = optimizer.state_dict()
    assert [g["params"] for g in saved["param_groups"]] == [[0, 1], [2]]
    assert sorted(saved["state"]) == [1, 2] and list(saved["state"][1]) == ["step", "exp_avg", "exp_avg_sq"]
    assert saved["param_groups"][1]["lr"] == 0.5


def test_adagrad_begins_all_groups_alike() -> None:
    p, q = leaf(1.0), leaf(1.0)
    groups = [{"params": [p]}, {"params": [q], "initial_accumulator_value": 5.0}]
    optimizer = optim.Adagrad(groups, initial_accumulator_value=2.0)
    assert float(optimizer.state[p]["sum"]) == float(optimizer.state[q]["sum"]) == 2.0  # as in PyTorch


def test_what_is_loaded_is_a_copy() -> None:
    p, q = with_grad(1.0), with_grad(1.0)
    first, second = optim.Adam([p]), optim.Adam([q])
    first.step()
    second.load_state_dict(first.state_dict())
    kept = first.state[p]["exp_avg"].clone()
    second.step()
    assert torch.equal(first.state[p]["exp_avg"], kept)
    assert float(first.state[p]["step"]) == 1.0 and float(second.state[q]["step"]) == 2.0


def test_loading_keeps_the_numbers_of_an_optimizer_of_ones_own() -> None:
    class Counting(optim.Optimizer):
        pass

    first, second = (Counting([leaf(1.0)], {}) for _ in range(2))
    first.state[first.param_groups[0]["params"][0]] = {"step": 3, "scale": 0.5}
    second.load_state_dict(first.state_dict())
    (state,) = second.state.values()
    assert state == {"step": 3, "scale": 0.5} and type(state["step"]) is int


def test_loading_converts() -> None:
    saved = {
        "state": {0: {"step": 3, "exp_avg": np.ones(1), "exp_avg_sq": torch.ones(1, dtype=torch.float64)}},
        "param_groups": [{**optim.Adam([leaf(1.0)]).state_dict()["param_groups"][0], "lr": 0.5}],
    }
    p = with_grad(1.0)
    optimizer = optim.Adam([p])
    optimizer.load_state_dict(saved)
    state = optimizer.state[p]
    assert state["step"].dtype is torch.float32 and float(state["step"]) == 3.0
    assert state["exp_avg"].dtype is torch.float32 and state["exp_avg_sq"].dtype is torch.float32
    assert optimizer.param_groups[0]["lr"] == 0.5 and optimizer.param_groups[0]["params"][0] is p
    old = {k: v for k, v in saved["param_groups"][0].items() if k != "decoupled_weight_decay"}
    newer = optim.AdamW([p])
    newer.load_state_dict({**saved, "param_groups": [old]})
    assert newer.param_groups[0]["decoupled_weight_decay"] is True


def test_what_does_not_fit_is_refused() -> None:
    saved = optim.SGD([leaf(1.0), leaf(2.0)]).state_dict()
    with pytest.raises(ValueError, match="2 parameters in group 0, where the optimizer has 1"):
        optim.SGD([leaf(1.0)]).load_state_dict(saved)
    with pytest.raises(ValueError, match="different number of parameter groups: 1, and the optimizer 2"):
        optim.SGD([{"params": [leaf(1.0)]}, {"params": [leaf(2.0)]}]).load_state_dict(saved)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_keep_identity(copied: Any) -> None:
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    other_model, other = copied((model, optimizer))
    assert other.param_groups[0]["params"][0] is other_model.weight
    buffer = other.state[other_model.weight]["momentum_buffer"]
    assert torch.equal(buffer, optimizer.state[model.weight]["momentum_buffer"])
    before = model.weight.detach().clone()
    other_model(torch.ones(1, 2)).sum().backward()
    other.step()
    assert torch.equal(model.weight, before) and not torch.equal(other_model.weight, before)


# -- hooks -----------------------------------------------------------------------------------------------------------


def test_hooks_of_step() -> None:
    calls: list[str] = []
    optimizer = Descent([with_grad(1.0)], lr=0.1)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append("post")),
        register_optimizer_step_pre_hook(lambda o, args, kwargs: calls.append("all pre")),
        register_optimizer_step_post_hook(lambda o, args, kwargs: calls.append("all post")),
    ]
    optimizer.step()
    assert calls == ["all pre", "pre", "post", "all post"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(calls) == 4


def test_a_hook_can_change_the_arguments() -> None:
    optimizer = Descent([with_grad(1.0)], lr=0.1)
    with optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o,), {"closure": lambda: 7.0})):
        assert optimizer.step() == 7.0
    with (
        optimizer.register_step_pre_hook(lambda o, args, kwargs: 3),
        pytest.raises(RuntimeError, match="None or a tuple"),
    ):
        optimizer.step()
    optimizer.step()  # the error has left nothing behind


def test_a_subclass_step_is_one_step() -> None:
    calls = []

    class Twice(optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step()
            return super().step(closure)

    p = with_grad(1.0)
    optimizer = Twice([p], lr=0.25)
    optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append(p.item()))
    optimizer.step()
    assert calls == [0.5]


def test_hooks_of_state_dict() -> None:
    calls: list[str] = []
    optimizer = optim.SGD([leaf(1.0)], lr=0.1)
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("save"))
    optimizer.register_state_dict_post_hook(lambda o, saved: {**saved, "note": 1})
    optimizer.register_state_dict_post_hook(lambda o, saved: calls.append(str("note" in saved)), prepend=True)
    optimizer.register_load_state_dict_pre_hook(lambda o, saved: calls.append(f"load {saved.pop('note')}"))
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append("loaded"))
    saved = optimizer.state_dict()
    assert saved["note"] == 1
    optimizer.load_state_dict(saved)
    assert calls == ["save", "False", "load 1", "loaded"] and "note" in saved


# -- the user's own --------------------------------------------------------------------------------------------------


def test_an_optimizer_with_its_own_step() -> None:
    p = leaf(3.0)
    optimizer = Descent([{"params": [p], "lr": 0.25}])

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert p.item() == 1.5 and optimizer.state[p] == {"seen": 1} and p.requires_grad and p.is_leaf
    assert not hasattr(optimizer, "found_inf")


def test_an_optimizer_given_by_a_rule() -> None:
    p = leaf(3.0, -1.0)
    optimizer = Signs([p], lr=0.5)
    p.grad = torch.tensor([2.0, -2.0])
    optimizer.step()
    assert p.tolist() == [2.5, -0.5]
    assert optimizer.state[p]["a"].tolist() == [0.0, 0.0] and optimizer.state[p]["b"].tolist() == [3.0, -1.0]
    optimizer.step()
    assert optimizer.state[p]["a"].tolist() == [3.0, -1.0] and optimizer.state[p]["b"].tolist() == [2.5, -0.5]
    optimizer.found_inf = torch.ones(1)
    optimizer.step()
    assert p.tolist() == [2.0, 0.0] and optimizer.state[p]["b"].tolist() == [2.5, -0.5]


def test_a_rule_names_all_its_state() -> None:
    class Forgetful(Signs):
        def begin(self, p: Any, group: Any) -> Any:
            return {"a": torch.zeros_like(p)}

        def rule(self, p: Any, g: Any, s: Any, o: Any) -> Any:
            return p - g, {"a": g, "b": g}

    with pytest.raises(ValueError, match="state that there was not before: b"):
        Forgetful([with_grad(1.0)], lr=0.1).step()


def test_parameters_written_after_being_used_are_noticed() -> None:
    p = with_grad(1.0)
    loss = (p * p).sum()
    optim.AdamW([p]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_what_cannot_be_written_is_refused() -> None:
    p = torch.ones(1).expand(3).requires_grad_()
    p.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="single memory location"):
        optim.SGD([p], lr=0.1).step()


def test_normalised_gradients() -> None:
    p, q, r = leaf(0.0, 0.0), leaf(0.0), leaf(0.0)
    p.grad, q.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert optim.gradients.normalize_grad_([p, q, r]).item() == 5.0
    assert p.grad.tolist() == pytest.approx([0.6, 0.0]) and q.grad.tolist() == pytest.approx([0.8])
    optim.gradients.normalize_grad_([p, q, r], each=True)
    assert p.grad.tolist() == pytest.approx([1.0, 0.0]) and q.grad.tolist() == pytest.approx([1.0])


def test_learning_rates_grow_with_the_batch() -> None:
    assert optim.scaling.linear_scaled_lr(0.1, 256, 1024) == pytest.approx(0.4)
    assert optim.scaling.sqrt_scaled_lr(0.1, 256, 1024) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="batch sizes must be positive"):
        optim.scaling.linear_scaled_lr(0.1, 0, 8)
