"""Every layer against PyTorch: goldens here, and live where it is installed."""

from __future__ import annotations

import ast
import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from tests.goldens import store
from tests.ops.harness import assert_close, assert_same_result

import pullback
from pullback import nn

from .layers.harness import FAMILIES, OURS, Case, class_name, family, filled, made, numbered, run

# Classes without cases of their own, and why. Lazy classes become the class they are named after at the first call.
EXEMPT = {
    "Module": "the base of all",
    "Container": "a base",
    "Sequential": "a container",
    "ModuleList": "a container",
    "ModuleDict": "a container",
    "ParameterList": "a container",
    "ParameterDict": "a container",
    "RNNBase": "a base",
    "RNNCellBase": "a base",
    "DataParallel": "a wrapper",
}

# Arguments that all layers have in common and that are tested for all together, and older ones.
COMMON = {"device", "dtype", "size_average", "reduce", "process_group", "_weight", "_freeze", "_random_samples"}

# Arguments of which only the default is allowed, and deprecated ones.
REFUSED = {
    "ConvTranspose1d": {"padding_mode"},
    "ConvTranspose2d": {"padding_mode"},
    "ConvTranspose3d": {"padding_mode"},
    "Embedding": {"sparse"},
    "EmbeddingBag": {"sparse"},
    "Hardtanh": {"min_value", "max_value"},
    "LinearCrossEntropyLoss": {"options"},
}

CASES = [(name, key, case) for name in FAMILIES for key, case in numbered(name)]
RUNS = [(name, key, case, mode) for name, key, case in CASES for mode in case.modes]
LAYERS = sorted(
    name for name in dir(nn) if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
)
each_case = pytest.mark.parametrize(("name", "key", "case"), CASES, ids=[f"{name}-{key}" for name, key, _ in CASES])
each_run = pytest.mark.parametrize(
    ("name", "key", "case", "mode"), RUNS, ids=[f"{name}-{key}-{mode}" for name, key, _, mode in RUNS]
)


def options(layer: str) -> dict[str, Any]:
    """The arguments of a layer's constructor that have a default."""
    parameters = inspect.signature(getattr(nn, layer)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def given(case: Case) -> set[str]:
    """The options to which a case gives something other than the default."""
    call = ast.parse(case.make, mode="eval").body
    if not isinstance(call, ast.Call) or ast.unparse(call.func) != f"nn.{class_name(case.make)}":
        return {"another constructor"}
    layer = class_name(case.make)
    parameters = inspect.signature(getattr(nn, layer)).parameters
    arguments = dict(zip(parameters, call.args, strict=False))
    arguments |= {word.arg: word.value for word in call.keywords if word.arg}
    given = {name: ast.unparse(value) for name, value in arguments.items()}
    return {name for name, default in options(layer).items() if given.get(name, repr(default)) != repr(default)}


@pytest.mark.parametrize("layer", [name for name in LAYERS if name not in EXEMPT and not name.startswith("Lazy")])
def test_each_layer_has_three_cases_and_all_its_options(layer: str) -> None:
    cases = [case for _, _, case in CASES if class_name(case.make) == layer]
    needed = options(layer).keys() - COMMON - REFUSED.get(layer, set())
    telling = [case for case in cases if given(case) or not needed - {"inplace"}]
    assert len(telling) >= 3, f"{layer} has {len(telling)} cases that give something other than defaults; write three"
    missing = needed - set().union(*map(given, cases))
    assert not missing, f"no case of {layer} gives {missing} something other than its default"


@each_run
def test_results_are_pytorchs(name: str, key: str, case: Case, mode: str) -> None:
    golden = store.family(f"layers_{name}").get(f"{key}/{mode}")
    assert golden is not None and golden.stamp == case.stamp, "no golden for this case: run `make goldens`"
    assert_same_result(run(case, mode, OURS), golden.result, case.near)


TYPED = [
    case
    for _, _, case in CASES
    if case.make.startswith(f"nn.{class_name(case.make)}(")
    and "dtype" in inspect.signature(getattr(nn, class_name(case.make))).parameters
]


@pytest.mark.parametrize("case", TYPED, ids=lambda case: case.make)
def test_dtype_and_device_are_obeyed(case: Case) -> None:
    half = f"{case.make[:-1]}, device='cpu', dtype=torch.bfloat16)".replace("(, ", "(")
    module = made(Case(half), OURS)
    weights = [getattr(module, name, None) for name in ("weight", "pos_weight")]  # those that were given stay
    for t in [*module.parameters(), *module.buffers()]:
        given = any(t is w for w in weights) and not isinstance(t, nn.Parameter)
        assert given or t.dtype in (pullback.bfloat16, pullback.int64)


# -- live --------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@each_case
def test_results_are_pytorchs_live(name: str, key: str, case: Case) -> None:
    torch = pytest.importorskip("torch")
    from .layers.pytorch import TORCH, evaluate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = filled(made(case, TORCH), TORCH)
    ours = made(case, OURS).double()
    assert repr(ours) == repr(theirs)
    state = {k: pullback.from_numpy(v.numpy()) for k, v in theirs.state_dict().items() if isinstance(v, torch.Tensor)}
    assert [(k, tuple(v.shape), v.dtype) for k, v in ours.state_dict().items()] == [
        (k, tuple(v.shape), v.dtype) for k, v in state.items()
    ]
    ours.load_state_dict(state)
    for mode in case.modes:
        module = ours if mode == case.modes[-1] else None
        if module is not None and mode != case.modes[0]:
            ours.load_state_dict(state)
        assert_same_result(run(case, mode, OURS, module), evaluate(case, mode), case.near)


@pytest.mark.parity
@pytest.mark.parametrize("layer", LAYERS)
def test_constructors_are_pytorchs(layer: str) -> None:
    torch = pytest.importorskip("torch")
    assert described(getattr(nn, layer)) == described(getattr(torch.nn, layer))


def described(layer: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of a constructor's arguments; PyTorch's `*args, **kwargs` that take none are none."""
    parameters = list(inspect.signature(layer).parameters.values())
    if layer.__name__ in ("RNN", "LSTM", "GRU", "NLLLoss2d"):  # PyTorch takes more than it declares
        return []
    return [
        (p.name, p.kind, getattr(p.default, "__name__", p.default))
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


LARGE = [make for name in FAMILIES for make in getattr(family(name), "LARGE", [])]


def test_every_layer_with_parameters_is_made_large() -> None:
    learning = {class_name(case.make) for _, _, case in CASES if list(made(case, OURS).parameters())}
    assert learning <= set(map(class_name, LARGE))


@pytest.mark.parity
@pytest.mark.parametrize("make", LARGE)
def test_initial_values_are_distributed_as_pytorchs(make: str) -> None:
    torch = pytest.importorskip("torch")
    from .layers.pytorch import TORCH

    torch.manual_seed(0)
    pullback.manual_seed(0)
    theirs = dict(made(Case(make), TORCH).named_parameters())
    ours = dict(made(Case(make), OURS).named_parameters())
    assert list(ours) == list(theirs)
    for name, t in theirs.items():
        a, b = ours[name].numpy(force=True), t.detach().numpy()
        if np.ptp(b) == 0:
            assert_close(name, a, b)
            continue
        near = 5 / b.size**0.5
        assert a.shape == b.shape and abs(a.mean() - b.mean()) < near * b.std(), name
        assert abs(a.std() / b.std() - 1) < near, name
        assert abs(np.abs(a).mean() / np.abs(b).mean() - 1) < near, name
        assert abs(np.abs(a).max() / np.abs(b).max() - 1) < 0.35, name
