"""Tensors on devices: names, moves, factories, copies and files. `xla` is a CPU here, seen as a device of XLA."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
from pullback import devices, nn
from pullback.utils.data import DataLoader, TensorDataset

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.parity


def on(*shape: int) -> torch.Tensor:
    return torch.arange(float(np.prod(shape))).reshape(shape).to("xla")


# -- names -------------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert torch.device("cuda", 1) == torch.device("cuda:1") and torch.device(1).type == "cuda"
    assert str(torch.device("xla")) == "xla" and repr(torch.device("xla:0")) == "device(type='xla', index=0)"
    assert on(2).device == torch.device("xla:0") == torch.device("xla") != torch.device("cpu")
    assert on(2).is_xla and not on(2).is_cpu and not on(2).is_cuda and torch.ones(1).is_cpu
    assert on(2).get_device() == 0 and torch.ones(1).get_device() == -1


MISSING: dict[str, Callable[[], Any]] = {
    "to": lambda: torch.ones(2).to("cuda"),
    "cuda": lambda: torch.ones(2).cuda(),
    "module": lambda: nn.Linear(1, 1).cuda(),
    "factory": lambda: torch.zeros(2, device="cuda:0"),
    "generator": lambda: torch.Generator("cuda"),
    "default": lambda: torch.set_default_device("tpu"),
    "with": lambda: torch.device("cuda").__enter__(),
    "number": lambda: torch.ones(2).to("xla:99"),
    "unknown": lambda: torch.device("gpu"),
}


@pytest.fixture
def no_accelerator() -> None:
    """Asked when a test runs: JAX, once asked, warns of every fork, and tests of data loaders fork."""
    if jax.default_backend() != "cpu":
        pytest.skip("there is an accelerator")


@pytest.mark.parametrize("call", MISSING.values(), ids=MISSING)
@pytest.mark.usefixtures("no_accelerator")
def test_what_is_not_there_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="there is no device"):
        call()
    assert torch.zeros(1).device.type == "cpu"


def test_without_jax_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "CHECKED", {})
    monkeypatch.setattr(devices, "installed", lambda package: False)
    monkeypatch.delitem(sys.modules, "jax")
    with pytest.raises(RuntimeError, match=r"JAX's, which is not installed(.|\n)*pullback\[xla\]"):
        torch.ones(2).to("xla")
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0


def test_jax_is_not_loaded_for_nothing() -> None:
    code = (
        "import sys, pullback as torch\n"
        "torch.device('cuda'), torch.zeros(2, device='cpu').to('cpu').cpu()\n"
        "assert torch.cuda.memory_allocated() == 0 and not torch.cuda.is_initialized() or torch.cuda.is_available()\n"
        "torch.cuda.synchronize(), torch.cuda.empty_cache()\n"
        "assert 'jax' not in sys.modules or torch.cuda.is_available()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("no_accelerator")
def test_cuda_answers_without_a_gpu() -> None:
    assert not torch.cuda.is_available() and not torch.cuda.is_bf16_supported()
    assert torch.cuda.device_count() == torch.cuda.max_memory_allocated() == 0
    assert torch.accelerator.current_accelerator() is None and torch.accelerator.device_count() == 0
    torch.cuda.synchronize()
    torch.accelerator.synchronize()
    for call in (torch.cuda.current_device, torch.cuda.get_device_name, torch.cuda.Event, torch.cuda.Stream):
        with pytest.raises(RuntimeError, match="no device"):
            call()
    with pytest.raises(RuntimeError, match="no accelerator"):
        torch.accelerator.current_device_index()


# -- moves -------------------------------------------------------------------------------------------------------------


def test_moves() -> None:
    x = torch.arange(6, dtype=torch.int32).reshape(2, 3).t()
    y = x.to("xla")
    assert y.device.type == "xla" and y.dtype is torch.int32 and y.tolist() == x.tolist()
    assert y.to("xla:0") is y and y.to("xla", copy=True) is not y and x.cpu() is x
    assert y.cpu().tolist() == x.tolist() and y.cpu().device.type == "cpu"
    assert y.to("cpu", torch.float64, non_blocking=True).dtype is torch.float64
    assert x.to(y.float()).device == y.device and x.to(y.float()).dtype is torch.float32
    y[0] = 7
    assert x.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_gradients_flow_through_moves() -> None:
    w = torch.randn(3, requires_grad=True)
    y = (w.to("xla") * on(3)).cpu().sum() + w.sum()
    y.backward()
    assert w.grad.device.type == "cpu" and w.grad.tolist() == [1.0, 2.0, 3.0]
    v = on(3).requires_grad_()
    (v.cpu() ** 3).sum().to("xla").backward()
    assert v.grad.device == v.device and v.grad.tolist() == [0.0, 3.0, 12.0]
    (g,) = torch.autograd.grad((v.cpu() ** 3).sum(), [v], create_graph=True)
    g.sum().backward()
    assert g.device == v.device and v.grad.tolist() == [0.0, 9.0, 24.0]


def test_writes_from_another_device() -> None:
    w = torch.ones(2, requires_grad=True)
    x = on(3) * 1
    x[:2] = w * 3
    x.sum().backward()
    assert x.device.type == "xla" and x.tolist() == [3.0, 3.0, 2.0] and w.grad.tolist() == [3.0, 3.0]
    y = torch.zeros(3)
    assert y.copy_(on(3)).device.type == "cpu" and y.tolist() == [0.0, 1.0, 2.0]


def test_modules_move_and_parameters_stay_the_same_objects() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = list(model.parameters())
    model(torch.ones(4, 2)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    assert model.to("xla") is model and all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"xla"}
    assert {p.grad.device.type for p in before} == {"xla"}
    optimizer.step()
    assert {s.device.type for kept in optimizer.state.values() for s in kept.values()} == {"xla"}
    assert {p.device.type for p in model.cpu().parameters()} == {"cpu"}
    model.to(torch.ones((), device="xla", dtype=torch.float64))
    assert before[0].device.type == "xla" and before[0].dtype is torch.float64


def test_lazy_modules() -> None:
    for layer in (nn.LazyLinear(3, device="xla"), nn.LazyLinear(3).to("xla")):
        assert layer(torch.ones(2, 5, device="xla")).device.type == layer.weight.device.type == "xla"


def test_inputs_from_two_devices_are_refused() -> None:
    x = on(3)
    for call in (lambda: x + torch.ones(3), lambda: torch.ones(3) * x, lambda: nn.Linear(3, 1)(x)):
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            call()
    assert (x * torch.tensor(2.0)).device == (torch.tensor(2.0) * x).device == x.device
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3) * torch.tensor(2.0, device="xla")
    with pytest.raises(RuntimeError, match="located on a different device"):
        x.grad = torch.ones(3)


# -- where tensors are made --------------------------------------------------------------------------------------------


def test_factories() -> None:
    made = [
        torch.zeros(2, device="xla"), torch.tensor([1.0], device="xla"), torch.arange(3, device=torch.device("xla")),
        torch.rand(2, device="xla"), torch.eye(2, device="xla:0"), torch.full((2,), 3, device="xla"),
        torch.as_tensor(np.ones(2), device="xla"), torch.zeros_like(torch.ones(1), device="xla"),
        torch.ones_like(on(2)), on(2).new_tensor([1]), on(2).new_zeros(3), on(2).new_full((2,), 1), torch.tensor(on(2)),
        nn.Linear(2, 2, device="xla").weight, torch.randn_like(on(2)),
    ]  # fmt: skip
    assert {t.device.type for t in made} == {"xla"}
    assert torch.zeros_like(on(2), device="cpu").device.type == "cpu"


def test_default_device() -> None:
    x = torch.ones(2)
    with torch.device("xla"):
        assert torch.zeros(1).device.type == nn.Linear(1, 1).weight.device.type == torch.randn(1).device.type == "xla"
        assert torch.zeros_like(x).device.type == x.new_zeros(1).device.type == (x + 1).device.type == "cpu"
        with torch.device("cpu"):
            assert torch.zeros(1).device.type == "cpu"
        assert torch.get_default_device() == torch.device("xla:0")
    assert torch.zeros(1).device.type == "cpu" == torch.get_default_device().type
    torch.set_default_device("xla")
    try:
        assert torch.ones(1).device.type == "xla"
    finally:
        torch.set_default_device(None)
    assert torch.ones(1).device.type == "cpu"


def test_random_numbers_are_the_same_everywhere() -> None:
    def drawn(device: str, owner: str | None) -> list[Any]:
        torch.manual_seed(3)
        g = None if owner is None else torch.Generator(owner).manual_seed(3)
        x = torch.zeros(5, device=device)
        tensors = [
            torch.rand(5, generator=g, device=device), torch.randint(9, (5,), generator=g, device=device),
            torch.randperm(6, generator=g, device=device), x.uniform_(-1, 1, generator=g).clone(),
            torch.bernoulli(torch.full((9,), 0.3, device=device), generator=g),
        ]  # fmt: skip
        assert {t.device.type for t in tensors} == {device}
        return [t.tolist() for t in tensors]

    assert drawn("cpu", None) == drawn("xla", None) == drawn("xla", "xla")
    g = torch.Generator("xla")
    state = g.get_state()
    first = torch.rand(3, generator=g, device="xla")
    assert g.device.type == "xla" and state.device.type == "cpu"
    assert torch.equal(torch.rand(3, generator=g.set_state(state), device="xla"), first)


# -- looks, copies, files ----------------------------------------------------------------------------------------------


def test_values_leave_the_device() -> None:
    x = on(2)
    assert repr(x) == "tensor([0., 1.], device='xla:0')" and f"{x[1]:.1f}" == "1.0"
    assert x.tolist() == [0.0, 1.0] and x[1].item() == 1.0 and float(x[1]) == 1.0 and bool(x[1]) and list(x)[1] == 1
    for call in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(RuntimeError, match=r"can't convert xla:0(.|\n)*tensor\.cpu\(\)"):
            call()
    assert x.numpy(force=True).tolist() == [0.0, 1.0]


def test_copies_keep_what_shares_memory() -> None:
    x = on(3, 2)
    x.grad = torch.ones(3, 2, device="xla")
    for a, b in (copy.deepcopy((x, x.t()[1:])), pickle.loads(pickle.dumps((x, x.t()[1:])))):
        assert a.device == b.device == x.device and a.grad.device == x.device and b.shape == (1, 3)
        b.mul_(10)
        assert a.tolist() == [[0.0, 10.0], [2.0, 30.0], [4.0, 50.0]] and x[0, 1].item() == 1.0
    assert x[1:].data_ptr() == x.data_ptr() + 8 and x[1:].storage_offset() == 2 and x.t().stride() == (1, 2)


def test_files() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).to("xla")
    model[1].weight = model[0].weight
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "view": model[0].weight.detach().t()}, file)
    for place, kind in ((None, "cpu"), ("xla", "xla"), (torch.device("xla:0"), "xla"), ({"cpu": "xla"}, "xla")):
        file.seek(0)
        loaded = torch.load(file, map_location=place)
        state = loaded["model"]
        assert {t.device.type for t in state.values()} == {kind}
        assert state["0.weight"].tolist() == model[0].weight.tolist() == loaded["view"].t().tolist()
        state["0.weight"].zero_()
        assert state["1.weight"].abs().sum() == 0
    model.load_state_dict(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict())
    assert model[0].weight.device.type == "xla"


def test_workers_do_not_use_devices() -> None:
    torch.ones(1, device="xla")  # JAX runs
    loader = DataLoader(TensorDataset(torch.arange(4.0)), batch_size=2, num_workers=1, pin_memory=True)
    assert [batch[0].to("xla").sum().item() for batch in loader] == [1.0, 5.0]
    with pytest.raises(RuntimeError, match="forked process"):
        list(DataLoader(TensorDataset(on(4)), batch_size=2, num_workers=1))
    assert [batch[0].device.type for batch in DataLoader(TensorDataset(on(4)), batch_size=2)] == ["xla", "xla"]


# -- compile -----------------------------------------------------------------------------------------------------------


def test_a_compiled_step_runs_where_its_tensors_are() -> None:
    w = torch.ones(3, requires_grad=True)
    v = torch.ones(3, device="xla", requires_grad=True)

    def step(p: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = (p * x.to(p.device)).sum()
        (g,) = torch.autograd.grad(y, [p])
        with torch.no_grad():
            p -= g
        return y.detach(), (y.detach() * 2).cpu()

    compiled = torch.compile(step)
    for p, kind in ((w, "cpu"), (v, "xla"), (w, "cpu")):
        y, z = compiled(p, torch.arange(3.0))
        assert y.device.type == p.device.type == kind and z.device.type == "cpu" and z.numpy() == 2 * y.item()
    assert w.tolist() == [1.0, -1.0, -3.0] and v.tolist() == [1.0, 0.0, -1.0]
    with pytest.raises(RuntimeError, match="computes on the CPU"):
        torch.compile(step, engine="numpy")(v, torch.arange(3.0))
    with pytest.raises(RuntimeError, match="same device"):
        torch.compile(lambda x: x * v)(torch.ones(3))


def test_a_device_for_a_step_changes_nothing_for_the_user() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())

    @torch.compile(engine="xla", device="xla")
    def step(x: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(2):
        assert step(torch.ones(3, 2)).device.type == "cpu"
    assert type(model.weight._array) is not np.ndarray and model.weight.device.type == "cpu"
    assert model.weight.detach().numpy().shape == (2, 2) and "device" not in repr(model.weight)
    assert torch.rand(2).numpy().shape == (2,)
    assert (model.weight + torch.ones(2, 2)).device.type == "cpu"
    assert model.to("xla").weight.device.type == "xla" and model.cpu().weight.detach().numpy().shape == (2, 2)
    assert type(model.weight._array) is np.ndarray


def test_gradients_do_not_share_memory() -> None:
    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        x.grad = y.grad = None
        (x + y).sum().backward()
        x.grad.mul_(2)

    for device in ("cpu", "xla"):
        for run in (step, torch.compile(step), torch.compile(step, engine="numpy") if device == "cpu" else step):
            x, y = (torch.ones(2, device=device, requires_grad=True) for _ in range(2))
            run(x, y)
            assert x.grad.tolist() == [2.0, 2.0] and y.grad.tolist() == [1.0, 1.0]
