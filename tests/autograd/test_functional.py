"""Derivatives of functions: torch.autograd.functional and torch.func."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

import pullback

# jvp by dual numbers makes PyTorch compile with its deprecated TorchScript.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


def vector(torch: Any, *values: float, grad: bool = False) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=grad)


def cubes(x: Any) -> Any:
    return x * x * x


def volume(x: Any, y: Any) -> Any:
    return (x * x * y).sum()


def plain(tree: Any) -> Any:
    if isinstance(tree, (tuple, list)):
        return [plain(part) for part in tree]
    if isinstance(tree, dict):
        return {key: plain(part) for key, part in tree.items()}
    return tree.tolist()


def functional(torch: Any) -> Any:
    return import_module(f"{torch.__name__}.autograd.functional")


def test_jacobian(torch: Any) -> None:
    x = vector(torch, 1.0, 2.0)
    assert functional(torch).jacobian(cubes, x).tolist() == [[3.0, 0.0], [0.0, 12.0]]


def test_jacobian_of_nests(torch: Any) -> None:
    x, y = vector(torch, 1.0, 2.0), vector(torch, 3.0, 4.0)
    j = functional(torch).jacobian(lambda x, y: ((x * y).sum(), x * 2), (x, y))
    assert plain(j) == [[[3.0, 4.0], [1.0, 2.0]], [[[2.0, 0.0], [0.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]]]
    assert isinstance(j, tuple) and isinstance(j[0], tuple)


def test_jacobian_shapes(torch: Any) -> None:
    x = torch.ones(2, 3, dtype=torch.float64)
    assert tuple(functional(torch).jacobian(lambda x: x.sum(0) * 2, x).shape) == (3, 2, 3)
    assert tuple(functional(torch).jacobian(lambda x: x.sum(), x).shape) == (2, 3)


def test_jacobian_with_a_graph(torch: Any) -> None:
    x = vector(torch, 2.0, grad=True)
    j = functional(torch).jacobian(cubes, x, create_graph=True)
    j.sum().backward()
    assert x.grad.tolist() == [12.0]
    assert not functional(torch).jacobian(cubes, x).requires_grad


def test_hessian(torch: Any) -> None:
    x, y = vector(torch, 1.0, 2.0), vector(torch, 3.0, 4.0)
    h = functional(torch).hessian(volume, (x, y))
    assert plain(h) == [
        [[[6.0, 0.0], [0.0, 8.0]], [[2.0, 0.0], [0.0, 4.0]]],
        [[[2.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]],
    ]
    assert functional(torch).hessian(lambda x: cubes(x).sum(), x).tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_products(torch: Any) -> None:
    f, x, v = functional(torch), vector(torch, 1.0, 2.0), vector(torch, 1.0, 10.0)
    assert plain(f.vjp(cubes, x, v)) == [[1.0, 8.0], [3.0, 120.0]]
    assert plain(f.jvp(cubes, x, v)) == [[1.0, 8.0], [3.0, 120.0]]
    assert plain(f.hvp(lambda x: cubes(x).sum(), x, v)) == [9.0, [6.0, 120.0]]
    assert plain(f.vhp(lambda x: cubes(x).sum(), x, v)) == [9.0, [6.0, 120.0]]
    outputs, g = f.vjp(lambda x: cubes(x).sum(), x)
    assert g.tolist() == [3.0, 12.0] and not outputs.requires_grad


def test_products_of_several(torch: Any) -> None:
    f, x, y = functional(torch), vector(torch, 1.0, 2.0), vector(torch, 3.0, 4.0)
    assert plain(f.vhp(volume, (x, y), (x, y))) == [19.0, [[12.0, 32.0], [2.0, 8.0]]]
    _, t = f.jvp(lambda x, y: (x * y, x * 2), (x, y), (x, x))
    assert plain(t) == [[4.0, 12.0], [2.0, 4.0]]


def test_wrong_vectors(torch: Any) -> None:
    f, x = functional(torch), vector(torch, 1.0, 2.0)
    with pytest.raises(RuntimeError, match="can only be None"):
        f.vjp(cubes, x)
    with pytest.raises(RuntimeError, match="can only be None"):
        f.hvp(lambda x: cubes(x).sum(), x)
    with pytest.raises(RuntimeError, match="invalid size"):
        f.vjp(cubes, x, vector(torch, 1.0))
    with pytest.raises(RuntimeError, match="single element"):
        f.hessian(cubes, x)


def test_strict(torch: Any) -> None:
    f, x = functional(torch), vector(torch, 1.0)
    assert f.jacobian(lambda x: torch.ones(1), x).tolist() == [[0.0]]
    with pytest.raises(RuntimeError, match="strict"):
        f.jacobian(lambda x: torch.ones(1), x, strict=True)
    with pytest.raises(RuntimeError, match="strict"):
        f.vjp(lambda x, y: x.sum(), (x, x), strict=True)


# -- torch.func --------------------------------------------------------------------------------------------------------


def test_grad(torch: Any) -> None:
    x, y = vector(torch, 1.0, 2.0), vector(torch, 3.0, 4.0)
    assert torch.func.grad(volume)(x, y).tolist() == [6.0, 16.0]
    assert plain(torch.func.grad(volume, argnums=(0, 1))(x, y)) == [[6.0, 16.0], [1.0, 4.0]]
    assert x.grad is None and not x.requires_grad


def test_grad_of_grad(torch: Any) -> None:
    third = torch.func.grad(torch.func.grad(torch.func.grad(lambda x: x * x * x * x)))
    y = third(torch.tensor(2.0, dtype=torch.float64))
    assert y.item() == 48.0 and not y.requires_grad


def test_value_and_aux(torch: Any) -> None:
    x = vector(torch, 1.0, 2.0)
    g, value = torch.func.grad_and_value(lambda x: (x * x).sum())(x)
    assert (g.tolist(), value.item()) == ([2.0, 4.0], 5.0)
    g, aux = torch.func.grad(lambda x: ((x * x).sum(), x * 10), has_aux=True)(x)
    assert (g.tolist(), aux.tolist()) == ([2.0, 4.0], [10.0, 20.0])
    assert not aux.requires_grad


def test_grad_of_nests(torch: Any) -> None:
    params = {"w": vector(torch, 2.0), "b": [vector(torch, 1.0), vector(torch, 5.0)]}
    g = torch.func.grad(lambda p: (p["w"] * p["w"] * p["b"][0] + p["b"][1]).sum())(params)
    assert plain(g) == {"w": [4.0], "b": [[4.0], [1.0]]}


def test_what_closures_reach_stays_differentiable(torch: Any) -> None:
    w, x = vector(torch, 3.0, grad=True), vector(torch, 2.0)
    g = torch.func.grad(lambda x: (w * x * x).sum())(x)
    g.sum().backward()  # 2 w x
    assert w.grad.tolist() == [4.0]
    assert not torch.func.grad(lambda x: (x * x).sum())(x).requires_grad


def test_vjp_and_jvp(torch: Any) -> None:
    x, v = vector(torch, 1.0, 2.0), vector(torch, 1.0, 10.0)
    y, pull = torch.func.vjp(cubes, x)
    assert (y.tolist(), plain(pull(v)), plain(pull(v))) == ([1.0, 8.0], [[3.0, 120.0]], [[3.0, 120.0]])
    assert plain(torch.func.jvp(cubes, (x,), (v,))) == [[1.0, 8.0], [3.0, 120.0]]


def test_jacrev_and_hessian(torch: Any) -> None:
    x, y = vector(torch, 1.0, 2.0), vector(torch, 3.0, 4.0)
    for jac in (torch.func.jacrev, torch.func.jacfwd):
        assert jac(cubes)(x).tolist() == [[3.0, 0.0], [0.0, 12.0]]
        assert plain(jac(lambda x, y: x * y, argnums=(0, 1))(x, y)) == [
            [[3.0, 0.0], [0.0, 4.0]],
            [[1.0, 0.0], [0.0, 2.0]],
        ]
    assert torch.func.hessian(lambda x: cubes(x).sum())(x).tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_grad_needs_a_scalar(torch: Any) -> None:
    with pytest.raises(RuntimeError, match="scalar"):
        torch.func.grad(cubes)(vector(torch, 1.0, 2.0))


def test_value_and_grad() -> None:
    value, (gx, gy) = pullback.func.value_and_grad(volume, argnums=(0, 1))(vector(pullback, 1.0), vector(pullback, 3.0))
    assert (value.item(), gx.tolist(), gy.tolist()) == (3.0, [6.0], [1.0])
    (value, aux), g = pullback.func.value_and_grad(lambda x: ((x * x).sum(), "aux"), has_aux=True)(
        vector(pullback, 3.0)
    )
    assert (value.item(), aux, g.tolist()) == (9.0, "aux", [6.0])
    with pytest.raises(RuntimeError, match="argnums names argument 2"):
        pullback.func.grad(volume, argnums=2)(vector(pullback, 1.0), vector(pullback, 3.0))
