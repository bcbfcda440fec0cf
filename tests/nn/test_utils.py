"""nn.utils: clipping, vectors of parameters, parametrizations, fusion, functional calls; and nn.modules."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import pullback
from pullback import nn
from pullback.func import functional_call
from pullback.nn import utils
from pullback.nn.utils import parametrizations, parametrize


def close(ours: Any, theirs: Any) -> None:
    a, b = (t.detach().numpy() if hasattr(t, "detach") else np.asarray(t) for t in (ours, theirs))
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def with_grads(*grads: list[float]) -> list[Any]:
    parameters = [nn.Parameter(pullback.zeros(len(g))) for g in grads]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = pullback.tensor(g)
    return [*parameters, nn.Parameter(pullback.zeros(2))]  # the last one has none


# -- clipping ----------------------------------------------------------------------------------------------------------


def test_gradients_are_scaled_to_a_norm() -> None:
    ps = with_grads([3.0, 0.0], [0.0, 4.0])
    assert utils.clip_grad_norm_(ps, 1.0).item() == 5
    close(ps[0].grad, [0.6, 0.0])
    close(ps[1].grad, [0.0, 0.8])
    assert ps[2].grad is None


@pytest.mark.parametrize(("order", "norm"), [(1, 7.0), (2, 5.0), (float("inf"), 4.0), (3, 91 ** (1 / 3))])
def test_norms_of_several_orders(order: float, norm: float) -> None:
    ps = with_grads([3.0, 0.0], [0.0, -4.0])
    close(utils.clip_grad_norm_(ps, norm / 2, order), norm)
    close(ps[1].grad, [0.0, -2.0])
    close(utils.get_total_norm([p.grad for p in ps[:2]], order), norm / 2)


def test_small_gradients_are_left_alone() -> None:
    ps = with_grads([3.0], [4.0])
    g = ps[0].grad
    utils.clip_grad_norm_(iter(ps), 10.0)
    assert ps[0].grad is g and g.item() == 3
    assert utils.clip_grad_norm_([ps[2]], 1.0).item() == 0
    assert utils.clip_grad_norm_(ps[0], 1.5).item() == 3 and round(g.item(), 5) == 1.5


def test_a_norm_that_is_not_finite() -> None:
    ps = with_grads([float("inf")], [1.0])
    with pytest.raises(RuntimeError, match="cannot be clipped"):
        utils.clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
    assert ps[1].grad.item() == 1
    assert utils.clip_grad_norm_(ps, 1.0).item() == float("inf")


def test_a_generator_that_is_used_up_is_noticed() -> None:
    gone = (p for p in with_grads([1.0]))
    list(gone)
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_(gone, 1.0)


def test_the_older_name_says_that_it_is_old() -> None:
    ps = with_grads([3.0, 0.0], [0.0, 4.0])
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        assert utils.clip_grad_norm(ps, 1.0).item() == 5
    close(ps[0].grad, [0.6, 0.0])


def test_elements_are_clipped() -> None:
    ps = with_grads([-3.0, 0.5], [9.0])
    utils.clip_grad_value_(ps, 1.0)
    assert [p.grad.tolist() for p in ps[:2]] == [[-1.0, 0.5], [1.0]]


# -- one vector --------------------------------------------------------------------------------------------------------


def test_parameters_as_one_vector() -> None:
    model = nn.Linear(2, 3)
    vector = utils.parameters_to_vector(model.parameters())
    close(vector, np.concatenate([p.detach().numpy().ravel() for p in model.parameters()]))
    (vector * pullback.arange(9.0)).sum().backward()
    assert model.weight.grad.tolist() == [[0, 1], [2, 3], [4, 5]] and model.bias.grad.tolist() == [6, 7, 8]
    new = pullback.arange(9.0)
    utils.vector_to_parameters(new, model.parameters())
    assert model.bias.tolist() == [6, 7, 8]
    new[8] = 1.0  # they share its memory
    assert model.bias.tolist() == [6, 7, 1]
    with pytest.raises(ValueError, match="9 elements, but the vector is of shape"):
        utils.vector_to_parameters(pullback.ones(10), model.parameters())


# -- parametrizations --------------------------------------------------------------------------------------------------


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).mT


class Doubled(nn.Module):
    def forward(self, x: Any) -> Any:
        return 2 * x

    def right_inverse(self, x: Any) -> Any:
        return x / 2


def test_a_parametrized_weight_is_computed() -> None:
    layer = nn.Linear(3, 3)
    weight, before = layer.weight, layer.weight.detach().clone()
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original is weight and isinstance(layer, nn.Linear)
    close(layer.weight, layer.weight.mT)
    close(layer.weight.triu(), before.triu())
    layer(pullback.ones(1, 3)).sum().backward()
    assert weight.grad.tolist() == [[1, 2, 2], [0, 1, 2], [0, 0, 1]]
    assert "ParametrizedLinear(" in repr(layer) and "(0): Symmetric()" in repr(layer)
    assert parametrize.is_parametrized(layer, "weight") and not parametrize.is_parametrized(layer, "bias")
    assert parametrize.type_before_parametrizations(layer) is nn.Linear


def test_parametrizations_follow_each_other_and_can_be_assigned_to() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Doubled())
    close(layer.weight, before)  # right_inverse was asked what to start from
    close(layer.parametrizations.weight.original, before / 2)
    layer.weight = pullback.eye(2)
    close(layer.weight, np.eye(2))
    parametrize.register_parametrization(layer, "weight", Doubled())
    close(layer.weight, 2 * np.eye(2))
    parametrize.register_parametrization(layer, "bias", Symmetric(), unsafe=True)
    with pytest.raises(RuntimeError, match="has no right_inverse"):
        layer.bias = pullback.zeros(2)
    with pytest.raises(KeyError, match="already exists"):
        layer.weight = nn.Parameter(pullback.zeros(2, 2))


@pytest.mark.parametrize("leave", [True, False])
def test_parametrizations_can_be_removed(leave: bool) -> None:
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Doubled())
    parametrize.register_parametrization(layer, "bias", Doubled())
    weight, value = layer.parametrizations.weight.original, layer.weight.detach().clone()
    parametrize.remove_parametrizations(layer, "weight", leave)
    assert layer.weight is weight and parametrize.is_parametrized(layer)
    close(weight, value if leave else value / 2)
    parametrize.remove_parametrizations(layer, "bias")
    assert type(layer) is nn.Linear and set(layer.state_dict()) == {"weight", "bias"}


def test_a_cached_weight_is_computed_once() -> None:
    layer, calls = nn.Linear(2, 2), []
    parametrize.register_parametrization(layer, "weight", Doubled())
    layer.parametrizations.weight[0].register_forward_hook(lambda *args: calls.append(1))
    with parametrize.cached():
        layer(layer(pullback.ones(1, 2))).sum().backward()
        with parametrize.cached():
            assert layer.weight is layer.weight
    assert len(calls) == 1
    assert layer.weight is not layer.weight


def test_parametrized_modules_can_be_copied_and_pickled() -> None:
    layer = parametrizations.weight_norm(nn.Linear(2, 3))
    for twin in copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)):
        close(twin.weight, layer.weight)
        assert twin.parametrizations.weight.original0 is not layer.parametrizations.weight.original0
        parametrize.remove_parametrizations(twin, "weight")
        assert type(twin) is nn.Linear and parametrize.is_parametrized(layer, "weight")


def test_what_cannot_be_parametrized() -> None:
    class Row(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:1]

    layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="has no parameter or buffer 'nothing'"):
        parametrize.register_parametrization(layer, "nothing", Doubled())
    with pytest.raises(ValueError, match=r"returned shape \[1, 2\] for a tensor of shape \[3, 2\]"):
        parametrize.register_parametrization(layer, "weight", Row())
    assert type(layer) is nn.Linear and set(layer.state_dict()) == {"weight", "bias"}
    parametrize.register_parametrization(layer, "weight", Row(), unsafe=True)
    assert layer.weight.shape == (1, 2)
    with pytest.raises(ValueError, match="no parametrization of 'bias'"):
        parametrize.remove_parametrizations(layer, "bias")
    normed = parametrizations.weight_norm(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="has 2 originals"):
        parametrize.remove_parametrizations(normed, "weight", leave_parametrized=False)


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("norm", [parametrizations.weight_norm, utils.weight_norm])
def test_weight_norm(norm: Any, dim: int | None) -> None:
    layer = nn.Linear(2, 3)
    before = layer.weight.detach().clone()
    norm(layer, dim=dim)
    close(layer.weight, before)
    g, v = list(layer.parameters())[-2:]
    assert g.shape == {0: (3, 1), 1: (1, 2), None: ()}[dim]
    with pullback.no_grad():
        v.mul_(7)
        g.mul_(2)
    layer(pullback.ones(1, 2))
    close(layer.weight, 2 * before)  # the length of v does not matter


def test_files_of_the_older_weight_norm_load() -> None:
    old, new = utils.weight_norm(nn.Linear(2, 3)), parametrizations.weight_norm(nn.Linear(2, 3))
    assert list(old.state_dict()) == ["bias", "weight_g", "weight_v"]
    new.load_state_dict(old.state_dict())
    close(new.weight, old.weight)
    utils.remove_weight_norm(old)
    assert list(old.state_dict()) == ["bias", "weight"]
    close(new.weight, old.weight)
    with pytest.raises(ValueError, match="no WeightNorm of 'weight'"):
        utils.remove_weight_norm(old)


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, utils.spectral_norm])
def test_spectral_norm(norm: Any) -> None:
    pullback.manual_seed(0)
    layer = norm(nn.Linear(6, 4), n_power_iterations=100)
    layer(pullback.ones(1, 6))
    close(pullback.linalg.svdvals(layer.weight)[0], 1.0)
    state = copy.deepcopy(layer.state_dict())
    layer.eval()
    layer(pullback.ones(1, 6))
    assert all(pullback.equal(t, state[name]) for name, t in layer.state_dict().items())
    assert {name.rpartition("_")[2] for name in state if name.endswith(("u", "v"))} == {"u", "v"}


def test_the_older_spectral_norm_is_removed() -> None:
    layer = utils.spectral_norm(nn.ConvTranspose2d(2, 3, 2))
    assert layer.weight_u.shape == (3,)  # its weight has the outputs in the second dimension
    with pytest.raises(RuntimeError, match="two cannot be registered"):
        utils.spectral_norm(layer)
    utils.remove_spectral_norm(layer)
    assert list(layer.state_dict()) == ["bias", "weight"]
    assert layer._hooks is None or not layer._hooks.tables["before"]


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
def test_orthogonal(shape: tuple[int, int], name: str, trivial: bool) -> None:
    pullback.manual_seed(1)
    layer = nn.Linear(*shape, dtype=pullback.float64)
    original, before = layer.weight, layer.weight.detach().clone()
    parametrizations.orthogonal(layer, orthogonal_map=name, use_trivialization=trivial)
    layer(pullback.ones(2, shape[0], dtype=pullback.float64)).sum().backward()
    with pullback.no_grad():
        original.sub_(original.grad)
    k = min(shape)

    def gram() -> Any:
        w = layer.weight.detach().numpy()
        return w @ w.T if len(w) == k else w.T @ w

    close(gram(), np.eye(k))
    if trivial or name == "householder":
        q = pullback.linalg.qr(before if shape[0] <= shape[1] else before.mT)[0]
        layer.weight = q if layer.weight.shape == q.shape else q.mT
        close(layer.weight, q if layer.weight.shape == q.shape else q.mT)
        close(gram(), np.eye(k))
    else:
        with pytest.raises(NotImplementedError, match="without use_trivialization"):
            layer.weight = before


# -- fusion and skip_init ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "norm", "shape", "transpose"),
    [
        ("Conv2d(2, 3, 2)", "BatchNorm2d(3)", (4, 2, 5, 5), False),
        ("Conv1d(2, 3, 2, bias=False)", "BatchNorm1d(3, affine=False)", (4, 2, 5), False),
        ("ConvTranspose2d(2, 3, 2)", "BatchNorm2d(3)", (4, 2, 5, 5), True),
        ("Linear(2, 3)", "BatchNorm1d(3)", (4, 2), False),
        ("Linear(2, 3, bias=False)", "BatchNorm1d(3)", (4, 2), False),
    ],
)
def test_fused_layers_do_the_same(layer: str, norm: str, shape: Any, transpose: bool) -> None:
    pullback.manual_seed(0)
    first, second = eval(f"nn.{layer}").double(), eval(f"nn.{norm}").double()
    for t in [*second.parameters(), second.running_mean, second.running_var]:
        nn.init.uniform_(t, 0.5, 2.0)
    with pytest.raises(RuntimeError, match="evaluation mode"):
        utils.fuse_conv_bn_eval(first, second)
    first.eval(), second.eval()
    linear = isinstance(first, nn.Linear)
    fused = utils.fuse_linear_bn_eval(first, second) if linear else utils.fuse_conv_bn_eval(first, second, transpose)
    x = pullback.randn(*shape, dtype=pullback.float64)
    close(fused(x), second(first(x)))
    assert type(fused) is type(first) and fused.weight is not first.weight


def test_skip_init_draws_nothing() -> None:
    state = pullback.get_rng_state()
    layer = utils.skip_init(nn.Linear, 2, 3, dtype=pullback.float64)
    assert layer.weight.shape == (3, 2) and layer.weight.dtype == pullback.float64
    assert pullback.equal(state, pullback.get_rng_state())
    with pytest.raises(RuntimeError, match="takes no argument `device`"):
        utils.skip_init(nn.ReLU)


# -- functional_call ---------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("count", pullback.zeros(()))

    def forward(self, x: Any, times: int = 1) -> Any:
        self.count = self.count + 1
        return self.b(self.a(x)) * times


def test_a_module_as_a_function_of_its_parameters() -> None:
    m, x = Counting(), pullback.ones(1, 2)
    own = m.a.weight
    w = (2 * pullback.eye(2)).requires_grad_()
    given = {"a.weight": w, "count": pullback.tensor(5.0)}
    y = functional_call(m, given, x, {"times": 3})
    assert y.tolist() == [[12.0, 12.0]]  # the weight that both layers share was replaced in both
    y.sum().backward()
    assert w.grad.tolist() == [[12.0, 12.0], [12.0, 12.0]] and own.grad is None
    assert m.a.weight is own and m.b.weight is own and m.count.item() == 0 and given["count"].item() == 6
    once = functional_call(m, {"a.weight": w}, (x,), tie_weights=False)
    close(once, 2 * own.sum(1, keepdim=True).mT)


def test_functional_call_puts_all_back_after_an_error() -> None:
    m = Counting()
    own = m.a.weight
    with pytest.raises(RuntimeError):
        functional_call(m, {"a.weight": pullback.ones(3, 3)}, pullback.ones(1, 2))
    assert m.a.weight is own and m.b.weight is own


def test_what_functional_call_refuses() -> None:
    m, x, w = Counting(), pullback.ones(1, 2), pullback.ones(2, 2)
    with pytest.raises(ValueError, match="in several of the dicts"):
        functional_call(m, ({"a.weight": w}, {"a.weight": w}), x)
    with pytest.raises(ValueError, match="are one tensor"):
        functional_call(m, {"a.weight": w, "b.weight": 2 * w}, x)
    with pytest.raises(RuntimeError, match=r"missing \['count'\]"):
        functional_call(m, {"a.weight": w}, x, strict=True)
    with pytest.raises(AttributeError, match="no module 'c'"):
        functional_call(m, {"c.weight": w}, x)


def test_a_gradient_of_a_function_of_parameters() -> None:
    model, x = nn.Linear(2, 1, bias=False), pullback.tensor([[3.0, 4.0]])
    g = pullback.func.grad(lambda params: functional_call(model, params, x).sum())(dict(model.named_parameters()))
    assert g["weight"].tolist() == [[3.0, 4.0]] and model.weight.grad is None


# -- where PyTorch keeps its layers ------------------------------------------------------------------------------------

LAYERS = [cls for cls in vars(nn).values() if inspect.isclass(cls) and issubclass(cls, nn.Module)]


def test_every_layer_is_in_one_of_the_modules() -> None:
    names = " ".join(nn.modules.CONTENTS.values()).split()
    assert len(names) == len(set(names))
    missing = {cls.__name__ for cls in LAYERS} - set(names) - {"DataParallel"}  # which PyTorch keeps in nn.parallel
    assert not missing, f"nn.modules.CONTENTS has no {missing}"


@pytest.mark.parametrize("name", sorted(nn.modules.CONTENTS))
def test_modules_can_be_imported(name: str) -> None:
    module = importlib.import_module(f"pullback.nn.modules.{name}")
    assert module is getattr(nn.modules, name)
    for attribute in dir(module):
        found = getattr(module, attribute)
        assert getattr(nn, attribute, found) is found
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.__getattr__("nothing")


def test_bases_are_those_of_the_layers() -> None:
    from pullback.nn.modules.batchnorm import _BatchNorm
    from pullback.nn.modules.conv import Conv2d, _ConvNd
    from pullback.nn.modules.utils import _pair

    assert issubclass(nn.BatchNorm1d, _BatchNorm) and issubclass(nn.ConvTranspose1d, _ConvNd) and Conv2d is nn.Conv2d
    assert not issubclass(nn.InstanceNorm1d, _BatchNorm)
    assert _pair(3) == (3, 3) and _pair([1, 2]) == (1, 2)


# -- live --------------------------------------------------------------------------------------------------------------

COMPUTED = [
    "utils.weight_norm(nn.Linear(3, 4))",
    "utils.spectral_norm(nn.Linear(3, 4))",
    "parametrizations.weight_norm(nn.Linear(3, 4))",
    "parametrizations.spectral_norm(nn.Linear(3, 4))",
    "parametrizations.orthogonal(nn.Linear(3, 4))",
    "parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map='cayley')",
    "utils.weight_norm(nn.Conv2d(3, 4, 2), dim=1)",
    "utils.spectral_norm(nn.Linear(3, 4), n_power_iterations=2, dim=1)",
    "parametrizations.weight_norm(nn.Linear(3, 4), 'bias')",
    "parametrizations.weight_norm(nn.Conv2d(3, 4, 2), dim=None)",
    "parametrizations.spectral_norm(nn.ConvTranspose2d(3, 4, 2))",
    "parametrizations.spectral_norm(nn.Linear(3, 4), 'bias')",
    "parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(3, 4)), n_power_iterations=3)",
    *[
        f"parametrizations.orthogonal(nn.Linear(3, {n}), orthogonal_map={name!r}, use_trivialization={trivial})"
        for n in (2, 3, 5)
        for name in ("matrix_exp", "cayley", "householder")
        for trivial in (True, False)
    ],
]


@pytest.mark.parity
@pytest.mark.parametrize("make", COMPUTED)
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_computed_weights_are_pytorchs(make: str) -> None:
    torch = pytest.importorskip("torch")
    ours = eval(make).double()
    theirs = eval(make, {"nn": torch.nn, "utils": torch.nn.utils, **vars(torch.nn.utils)}).double()
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({name: pullback.from_numpy(t.numpy().copy()) for name, t in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.normal(size=(2, 3, 4, 4) if "Conv" in make else (2, 3))
        outs = [ours(pullback.tensor(x)), theirs(torch.tensor(x))]
        close(*outs)
        for out in outs:
            (out * out).sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad)
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        close(a, b)


@pytest.mark.parity
def test_signatures_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")

    def names(function: Any) -> list[Any]:
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in parameters]

    for where in (".utils", ".utils.parametrize", ".utils.parametrizations", ".utils.rnn"):
        ours, theirs = (importlib.import_module(root + where) for root in ("pullback.nn", "torch.nn"))
        functions = [name for name, f in vars(ours).items() if inspect.isfunction(f) and hasattr(theirs, name)]
        assert functions
        for name in functions:
            assert names(getattr(ours, name)) == names(getattr(theirs, name)), name
    assert names(functional_call) == names(torch.func.functional_call)


@pytest.mark.parity
def test_layers_are_in_pytorchs_modules() -> None:
    torch = pytest.importorskip("torch")
    for name, contents in nn.modules.CONTENTS.items():
        theirs = importlib.import_module(f"torch.nn.modules.{name}")
        assert not [n for n in contents.split() if not hasattr(theirs, n)]
    assert issubclass(torch.nn.Conv2d, torch.nn.modules.conv._ConvNd)
