"""Module: attributes, the tree, conversions, copies, state_dict and its hooks."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import nn
from pullback.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)


class Model(nn.Module):
    """Parameters and buffers of all kinds, a shared module, an extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2)
        self.b = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Identity())
        self.register_buffer("mean", torch.ones(2))
        self.register_buffer("passing", torch.ones(1), persistent=False)
        self.register_parameter("none", None)
        self.c = self.a
        self.step = 0

    def forward(self, x: Any) -> Any:
        return self.b(self.a(x)) + self.mean

    def get_extra_state(self) -> Any:
        return {"step": self.step}

    def set_extra_state(self, state: Any) -> None:
        self.step = state["step"]


STATE = ["mean", "_extra_state", "a.weight", "a.bias", "b.0.weight", "c.weight", "c.bias"]


# -- attributes and the tree -------------------------------------------------------------------------------------------


def test_the_tree() -> None:
    m = Model()
    assert [name for name, _ in m.named_parameters()] == ["a.weight", "a.bias", "b.0.weight"]
    assert [name for name, _ in m.named_parameters("x", remove_duplicate=False)][-2:] == ["x.c.weight", "x.c.bias"]
    assert list(m.parameters(recurse=False)) == [] and len(list(m.buffers())) == 2
    assert [name for name, _ in m.named_buffers(prefix="p")] == ["p.mean", "p.passing"]
    assert [name for name, _ in m.named_modules()] == ["", "a", "b", "b.0", "b.1"]
    assert len(list(m.modules(remove_duplicate=False))) == 6
    assert [name for name, _ in m.named_children()] == ["a", "b"]


def test_paths() -> None:
    m = Model()
    assert m.get_submodule("b.0") is m.b[0] and m.get_submodule("") is m
    assert m.get_parameter("b.0.weight") is m.b[0].weight and m.get_buffer("mean") is m.mean
    m.set_submodule("b.1", nn.Flatten())
    m.set_submodule("b.new", nn.Flatten())
    assert isinstance(m.b[1], nn.Flatten) and len(m.b) == 3
    for wrong in (
        lambda: m.get_submodule("b.9"),
        lambda: m.get_parameter("b.0.bias"),
        lambda: m.get_buffer("a.weight"),
        lambda: m.set_submodule("b.9", nn.Flatten(), strict=True),
        lambda: m.set_submodule("mean", nn.Flatten()),
    ):
        with pytest.raises(AttributeError):
            wrong()
    for wrong in (lambda: m.set_submodule("", nn.Flatten()), lambda: m.set_submodule("b.1", 3)):
        with pytest.raises(ValueError, match="path and a Module"):
            wrong()


def test_attributes_change_their_kind() -> None:
    m = Model()
    m.extra = 3
    m.extra = nn.Parameter(torch.ones(1))
    assert "extra" in m._parameters and "extra" not in vars(m)
    m.extra = None
    assert m.extra is None and "extra" not in m.state_dict()
    m.extra = nn.Buffer(torch.zeros(1), persistent=False)
    assert "extra" in dict(m.named_buffers()) and "extra" not in m.state_dict()
    m.extra = torch.ones(1)  # stays what it is: a buffer that is not saved
    assert m.extra == 1 and "extra" not in m.state_dict()
    m.mean = torch.zeros(2)
    assert "mean" in m.state_dict()
    m.extra = nn.Flatten()
    assert dict(m.named_children())["extra"] is m.extra
    del m.extra
    assert not hasattr(m, "extra")
    m.a.weight = None
    assert m.a.weight is None and list(m.a.state_dict()) == ["bias"]
    assert {"a", "mean", "forward"} <= set(dir(m)) and "0" not in dir(m.b)


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "tensor for parameter": (lambda: setattr(Model().a, "weight", torch.ones(1)), TypeError, "cannot assign Tensor"),
    "number for module": (lambda: setattr(Model(), "a", 3), TypeError, "child module"),
    "dot": (lambda: Model().register_buffer("a.b", None), KeyError, "dot"),
    "empty": (lambda: Model().add_module("", None), KeyError, "empty"),
    "taken": (lambda: Model().register_parameter("a", None), KeyError, "already exists"),
    "kind": (lambda: Model().register_parameter("w", torch.ones(1)), TypeError, "Tensor"),
    "missing": (lambda: Model().nothing, AttributeError, "'Model' object has no attribute 'nothing'"),
    "mode": (lambda: Model().train(3), ValueError, "boolean, not int"),
    "device": (lambda: Model().cuda(), RuntimeError, "no device"),
    "sharing": (lambda: Model().share_memory(), RuntimeError, "between processes"),
    "integers": (lambda: Model().to(torch.int64), TypeError, "floating point"),
    "no forward": (lambda: nn.Module()(1), NotImplementedError, "forward"),
    "arguments": (lambda: nn.Module(3), TypeError, "takes no arguments"),
    "parameter of a list": (lambda: nn.Parameter([1.0]), TypeError, "not list"),
    "state": (lambda: Model().load_state_dict(3), TypeError, "mapping"),
    "extra state": (lambda: nn.Module().get_extra_state(), RuntimeError, "no extra state"),
}


@pytest.mark.parametrize(("call", "kind", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(call: Callable[[], Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        call()


def test_super_init_comes_first() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(torch.ones(1))

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\) first"):
        Early()


def test_init_passes_arguments_on_if_asked() -> None:
    class Other:
        def __init__(self, x: int) -> None:
            self.x = x

    class Both(nn.Module, Other):
        call_super_init = True

    assert Both(x=3).x == 3


# -- parameters --------------------------------------------------------------------------------------------------------


def test_parameters_share_memory_and_stay_parameters() -> None:
    t = torch.ones(2)
    p = nn.Parameter(t, requires_grad=False)
    t.fill_(5.0)
    assert p.tolist() == [5.0, 5.0] and not p.requires_grad and isinstance(p, torch.Tensor)
    assert type(p + 1) is torch.Tensor and type(p.detach()) is torch.Tensor
    twin = copy.deepcopy(nn.Parameter(t))
    assert isinstance(twin, nn.Parameter) and twin.requires_grad and twin.data_ptr() != t.data_ptr()
    assert repr(p).startswith("Parameter containing:\ntensor([5., 5.])")
    assert nn.Parameter().shape == (0,)
    computed = torch.ones(2, requires_grad=True) * 2
    assert nn.Parameter(computed).is_leaf


def test_zero_grad() -> None:
    m = Model()
    m(torch.ones(1, 3)).sum().backward()
    g = m.a.weight.grad
    m.zero_grad(set_to_none=False)
    assert m.a.weight.grad is g and not g.any()
    m.zero_grad()
    assert m.a.weight.grad is None


# -- changing all of it ------------------------------------------------------------------------------------------------


def test_conversions_keep_the_objects_and_their_ties() -> None:
    m = Model()
    m.count = nn.Buffer(torch.tensor(3))
    weight, mean = m.a.weight, m.mean
    m(torch.ones(1, 3)).sum().backward()
    assert m.double() is m and m.a.weight is weight is m.c.weight and m.mean is mean
    assert weight.dtype == weight.grad.dtype == mean.dtype == torch.float64 and m.count.dtype == torch.int64
    for convert, expected in [
        (lambda: m.to(torch.float16), torch.float16),
        (lambda: m.to("cpu", torch.bfloat16), torch.bfloat16),
        (lambda: m.to(torch.ones(1)), torch.float32),
        (lambda: m.to(device="cpu", dtype=torch.float64, non_blocking=True), torch.float64),
        (lambda: m.to("cpu"), torch.float64),
        (lambda: m.half(), torch.float16),
        (lambda: m.bfloat16(), torch.bfloat16),
        (lambda: m.float().cpu(), torch.float32),
    ]:
        assert convert() is m and weight.dtype == mean.dtype == expected
    m.type(torch.float64)
    assert m.count.dtype == torch.float64  # type() means all
    assert m.to_empty(device="cpu").a.weight.shape == (2, 3)


def test_train_and_eval_reach_everything_through_its_own_train() -> None:
    class Frozen(nn.Linear):
        def train(self, mode: bool = True) -> Any:
            return super().train(False)

    m = nn.Sequential(Frozen(1, 1), nn.Dropout())
    assert m.train() is m and not m[0].training and m[1].training and not m.eval()[1].training


def test_apply_and_requires_grad() -> None:
    seen: list[str] = []
    m = Model().apply(lambda module: seen.append(type(module).__name__))
    assert seen == ["Linear", "Linear", "Identity", "Sequential", "Model"]
    assert not any(p.requires_grad for p in m.requires_grad_(False).parameters())


@pytest.mark.parametrize("twice", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_keep_ties(twice: Callable[[Any], Any]) -> None:
    m = Model()
    m.b[0].weight = nn.Parameter(m.a.weight[:, :2].detach())
    m.tied = m.a.weight
    twin = twice(m)
    assert twin.a is twin.c and twin.tied is twin.a.weight and twin.a.weight is not m.a.weight
    assert type(twin.tied) is nn.Parameter and twin.tied.requires_grad
    with torch.no_grad():
        twin.a.weight.zero_()
    assert not twin.b[0].weight.any() and m.a.weight.any()  # the one memory of both was copied once
    assert twin.mean.tolist() == [1, 1] and twin._non_persistent_buffers_set == {"passing"}


# -- state_dict --------------------------------------------------------------------------------------------------------


def test_state_dict() -> None:
    m = Model()
    state = m.state_dict()
    assert list(state) == STATE and state["_extra_state"] == {"step": 0}
    assert state["a.weight"].data_ptr() == m.a.weight.data_ptr() and not state["a.weight"].requires_grad
    assert dict(state._metadata) == {path: {"version": 1} for path in ("", "a", "b", "b.0", "b.1", "c")}
    assert list(m.state_dict(prefix="x.")) == [f"x.{name}" for name in STATE]
    assert m.state_dict(keep_vars=True)["a.weight"] is m.a.weight
    destination: dict[str, Any] = {"before": 1}
    assert m.state_dict(destination, "x.") is destination and list(destination)[:2] == ["before", "x.mean"]


def test_loading_copies() -> None:
    source, m = Model(), Model()
    source.step, weight = 7, m.a.weight
    assert str(m.load_state_dict(source.state_dict())) == "<All keys matched successfully>"
    assert m.a.weight is weight and torch.equal(weight, source.a.weight) and m.step == 7
    assert weight.data_ptr() != source.a.weight.data_ptr()


def test_loading_can_assign() -> None:
    source, m = Model().double(), Model()
    m.a.bias.requires_grad_(False)
    m.load_state_dict(source.state_dict(), assign=True)
    assert m.a.weight.data_ptr() == source.a.weight.data_ptr() and m.mean.dtype == torch.float64
    assert isinstance(m.a.weight, nn.Parameter) and m.a.weight.requires_grad and not m.a.bias.requires_grad


def test_what_is_assigned_is_as_frozen_as_what_was_there() -> None:
    m = nn.Linear(2, 2).requires_grad_(False)
    m.bias.requires_grad = True
    m.load_state_dict(nn.Linear(2, 2).state_dict(keep_vars=True), assign=True)
    assert not m.weight.requires_grad and m.bias.requires_grad


def test_what_does_not_fit_is_told_at_once() -> None:
    m = Model()
    state = m.state_dict()
    del state["a.bias"], state["_extra_state"]
    state.update({"z.y": torch.ones(1), "a.q.r": torch.ones(1), "b.0.weight": torch.ones(3, 3), "mean": 5})
    with pytest.raises(RuntimeError) as error:
        m.load_state_dict(state)
    for text in (
        "Error(s) in loading state_dict for Model",
        "Missing key(s) in state_dict: '_extra_state', 'a.bias'",
        "Unexpected key(s) in state_dict: 'z.y', 'a.q.r'",
        "size mismatch for b.0.weight: copying [3, 3], the module has [2, 2]",
        "expected a Tensor for mean, the state_dict has int",
    ):
        assert text in str(error.value)
    state.update({"b.0.weight": torch.ones(2, 2), "mean": torch.zeros(2)})
    found = m.load_state_dict(state, strict=False)
    assert sorted(found.missing_keys) == ["_extra_state", "a.bias"] and found.unexpected_keys == ["z.y", "a.q.r"]
    missing, _ = found
    assert missing == found.missing_keys and "a.bias" in repr(found) and (m.mean == 0).all()


def test_a_scalar_of_old_files() -> None:
    m = nn.Module()
    m.scale = nn.Parameter(torch.tensor(1.0))
    m.load_state_dict({"scale": torch.tensor([4.0])})
    assert m.scale.shape == () and m.scale == 4


def test_a_module_can_save_and_load_its_own_way() -> None:
    class Packed(nn.Linear):
        _version = 3

        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            super()._save_to_state_dict(destination, prefix, keep_vars)
            destination[prefix + "w"] = destination.pop(prefix + "weight")

        def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
            assert local_metadata["version"] == 3
            state_dict[prefix + "weight"] = state_dict.pop(prefix + "w")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    a, b = nn.Sequential(Packed(2, 2)), nn.Sequential(Packed(2, 2))
    state = a.state_dict()
    assert list(state) == ["0.bias", "0.w"]
    b.load_state_dict(state)
    assert torch.equal(a[0].weight, b[0].weight) and list(state) == ["0.bias", "0.w"]


def test_state_dict_hooks() -> None:
    m, order = Model(), []
    m.register_state_dict_pre_hook(lambda module, prefix, keep_vars: order.append(("before", prefix, keep_vars)))
    m._register_state_dict_hook(lambda module, state, prefix, metadata: state.update(extra=metadata["version"]))
    last = m._register_state_dict_hook(lambda module, state, prefix, metadata: {"all": state})
    assert m.state_dict()["all"]["extra"] == 1 and order == [("before", "", False)]
    last.remove()
    m.register_state_dict_post_hook(lambda module, state, prefix, metadata: state)
    with pytest.raises(RuntimeError, match="must return None"):
        m.state_dict()


def test_load_hooks() -> None:
    m = Model()
    state = m.state_dict()
    state["old"] = state.pop("a.weight") + 1

    def rename(module: Any, state: Any, prefix: str, *rest: Any) -> None:
        assert module is m
        state[prefix + "a.weight"] = state.pop(prefix + "old")

    def forgive(module: Any, keys: Any) -> None:
        keys.missing_keys.clear()

    m.register_load_state_dict_pre_hook(rename)
    m.register_load_state_dict_post_hook(forgive)
    del state["a.bias"]
    before = m.a.weight.detach().clone()
    m.load_state_dict({k: v for k, v in state.items() if not k.startswith("c.")})
    assert torch.equal(m.a.weight, before + 1)
    m.register_load_state_dict_post_hook(lambda module, keys: keys)
    with pytest.raises(RuntimeError, match="must return None"):
        m.load_state_dict(state)


def test_states_go_through_files() -> None:
    m, file = Model(), io.BytesIO()
    torch.save(m.state_dict(), file)
    file.seek(0)
    twin = Model()
    twin.load_state_dict(torch.load(file))
    assert all(torch.equal(a, b) for a, b in zip(m.parameters(), twin.parameters(), strict=True))


# -- lazy parameters ---------------------------------------------------------------------------------------------------


def test_lazy_linear() -> None:
    m = nn.LazyLinear(2, dtype=torch.float64)
    assert repr(m) == "LazyLinear(in_features=0, out_features=2, bias=True)" and m.has_uninitialized_params()
    assert repr(m.weight) == "<UninitializedParameter>" and isinstance(m.weight, nn.Parameter)
    with pytest.raises(ValueError, match="shape is not known yet"):
        m.weight + 1
    twin = copy.deepcopy(m).float()
    assert m(torch.ones(3, 5).double()).shape == (3, 2)
    assert type(m) is nn.Linear and type(m.weight) is nn.Parameter and m.in_features == 5
    assert m.weight.abs().max() <= 5**-0.5 and m.weight.any() and m.bias.any()
    assert twin.has_uninitialized_params() and twin(torch.ones(1, 4)).dtype == torch.float32


def test_lazy_modules_and_states() -> None:
    full, lazy = nn.Linear(3, 2), nn.LazyLinear(2)
    assert list(lazy.state_dict()) == ["weight", "bias"]
    lazy.load_state_dict(nn.LazyLinear(2).state_dict())
    with pytest.raises(RuntimeError, match="not initialized in the state_dict"):
        full.load_state_dict(lazy.state_dict())
    lazy.load_state_dict(full.state_dict())
    x = torch.ones(1, 3)
    assert torch.equal(lazy(x), full(x)) and repr(lazy) == repr(full)
    assert pickle.loads(pickle.dumps(nn.LazyLinear(2)))(x).shape == (1, 2)


def test_a_lazy_module_without_initialize_parameters() -> None:
    class Odd(nn.modules.lazy.LazyModuleMixin, nn.Identity):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.UninitializedParameter()
            self.state = nn.UninitializedBuffer()

    with pytest.raises(RuntimeError, match="does not define initialize_parameters"):
        Odd()(1)
    Odd.initialize_parameters = lambda self, x: self.weight.materialize((2,))
    with pytest.raises(RuntimeError, match="left some parameters uninitialized"):
        Odd()(1)


# -- hooks that test_module_hooks.py does not have ---------------------------------------------------------------------


def test_hooks_that_run_even_after_an_error() -> None:
    m, seen = Model(), []
    m.register_forward_hook(lambda module, args, out: seen.append("never"))
    m.register_forward_hook(lambda module, args, out: seen.append(out), always_call=True)
    with pytest.raises(RuntimeError):
        m(torch.ones(1, 7))
    assert seen == [None]

    def broken(*args: Any) -> None:
        raise KeyError("hook")

    m.register_forward_hook(broken, always_call=True)
    with pytest.warns(UserWarning, match="KeyError"), pytest.raises(RuntimeError):
        m(torch.ones(1, 7))


def test_full_backward_pre_hook() -> None:
    m, seen = nn.Linear(2, 2, bias=False), []
    m.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 2,))
    m.register_backward_hook(lambda module, grad_input, grad_output: seen.append(grad_output[0].tolist()))
    m(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen == [[[2.0, 2.0]]] and m.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_backward_hooks_need_tensors() -> None:
    m = nn.Identity()
    m.register_full_backward_hook(lambda *args: None)
    with pytest.warns(UserWarning, match="not str"):
        assert m("x") == "x"


def test_hooks_on_all_modules() -> None:
    m, seen = nn.Sequential(nn.Identity()), []
    m[0].register_forward_hook(lambda *args: seen.append("own"))
    handles = [
        register_module_forward_pre_hook(lambda module, args: seen.append("before")),
        register_module_forward_hook(lambda module, args, out: seen.append("after")),
        register_module_full_backward_pre_hook(lambda module, grad_output: seen.append("enter")),
        register_module_full_backward_hook(lambda module, grad_input, grad_output: seen.append("leave")),
    ]
    m(torch.ones(1, requires_grad=True)).sum().backward()
    assert seen == ["before", "before", "after", "own", "after", "enter", "enter", "leave", "leave"]
    for handle in handles:
        handle.remove()
    seen.clear()
    m("x")
    assert seen == ["own"]


# -- PyTorch -----------------------------------------------------------------------------------------------------------


@pytest.mark.parity
def test_states_go_to_pytorch_and_back() -> None:
    theirs_torch = pytest.importorskip("torch")

    def build(library: Any) -> Any:
        n = library.nn
        return n.Sequential(n.Conv2d(1, 2, 3), n.BatchNorm2d(2), n.Flatten(), n.Linear(8, 3))

    ours, theirs = build(torch), build(theirs_torch)
    there = {k: theirs_torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()}
    assert str(theirs.load_state_dict(there)) == "<All keys matched successfully>"
    x = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype(np.float32)
    expected = theirs(theirs_torch.from_numpy(x))
    np.testing.assert_allclose(ours(torch.from_numpy(x)).detach().numpy(), expected.detach().numpy(), atol=1e-5)
    back = {k: torch.from_numpy(v.numpy().copy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(back)
    assert ours[1].num_batches_tracked == 1 and repr(ours) == repr(theirs)
    assert list(back) == list(ours.state_dict()) and dict(ours.state_dict()._metadata) == dict(
        theirs.state_dict()._metadata
    )


@pytest.mark.parity
def test_errors_are_of_pytorchs_kinds() -> None:
    theirs = pytest.importorskip("torch")
    n = theirs.nn
    pairs = [
        (lambda k: setattr(k.Linear(1, 1), "weight", 3), TypeError),
        (lambda k: k.Linear(1, 1).register_buffer("weight", None), KeyError),
        (lambda k: k.Linear(1, 1).get_submodule("x"), AttributeError),
        (lambda k: k.Linear(1, 1).load_state_dict({}), RuntimeError),
        (lambda k: k.Linear(1, 1).load_state_dict([]), TypeError),
        (lambda k: k.Linear(1, 1).train("yes"), ValueError),
        (lambda k: k.Bilinear(0, 1, 1), ValueError),
        (lambda k: k.Unflatten(0, 3), TypeError),
        (lambda k: k.LazyLinear(2).weight + 1, ValueError),
    ]
    for call, kind in pairs:
        for library in (nn, n):
            with pytest.raises(kind):
                call(library)
