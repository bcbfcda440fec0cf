"""autocast: which functions compute in which type, and how gradients come back."""

from __future__ import annotations

import json
import threading
import warnings

import pytest
from tests.amp.expressions import EXPECTED, HALVES, cases, evaluate, result_type

import pullback as torch
from pullback import nn
from pullback.autocasting import POLICIES, REFUSED, Regime
from pullback.modes import MODES
from pullback.utils.checkpoint import checkpoint

F = nn.functional
STRICTER = {  # PyTorch refuses these mixtures of types, for reasons of its kernels; here they are computed
    "torch.inner(a, b)",
    "torch.tensordot(a, b, 1)",
    "torch.chain_matmul(a, b)",
    "torch.linalg.multi_dot([a, b, a])",
    "F.bilinear(a, b, torch.stack([a, b]))",
    "torch.cross(a, b, 1)",
    "F.pdist(a)",
    "F.batch_norm(image, grid[0, 0, 0] * 0.0, grid[0, 0, 0] ** 2, grid[0, 0, 1], grid[0, 1, 0])",
}
REFUSED_HERE = {"F.rms_norm(a, (3,), b[0])"}  # a weight of a narrower type than the input's


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("case", cases(""))
def test_result_types_are_pytorchs(half: str, case: str) -> None:
    differ = {}
    for expression, expected in json.loads(EXPECTED.read_text())[half][case].items():
        got = result_type(torch, expression, cases(half)[case], half)
        excused = STRICTER if expected is None else REFUSED_HERE if got is None else ()
        if got != expected and expression not in excused:
            differ[expression] = (got, expected)
    assert not differ


@pytest.mark.parity
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("case", cases(""))
@pytest.mark.filterwarnings("ignore")
def test_values_are_pytorchs(half: str, case: str) -> None:
    reference = pytest.importorskip("torch")
    tolerance = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 1e-4, "float64": 1e-6}
    for expression, expected in json.loads(EXPECTED.read_text())[half][case].items():
        dtypes = cases(half)[case]
        assert result_type(reference, expression, dtypes, half) == expected, "write expected.json anew"
        if expected is not None and result_type(torch, expression, dtypes, half) is not None:
            ours = evaluate(torch, expression, dtypes, half).double().numpy()
            theirs = evaluate(reference, expression, dtypes, half).double().numpy()
            # PyTorch's bilinear gives float32, but some of it is computed in the half type
            limit = tolerance[half if "bilinear" in expression else expected]
            assert ours == pytest.approx(theirs, rel=limit, abs=limit, nan_ok=True), expression


def test_cuda_policies() -> None:
    """The table for CUDA devices, tried on CPU tensors."""
    x, p = torch.randn(3, 3).half(), torch.rand(3, 3)
    MODES.autocast = Regime("cpu", torch.float16.numpy, {})
    MODES.autocast.policies = POLICIES["cuda"]
    try:
        assert (p @ p).dtype is torch.float16
        assert torch.mv(p, p[0]).dtype is torch.float16
        for result in (x.exp(), x**2, x.sum(), x.softmax(0), x.norm(), F.layer_norm(x, (3,)), F.l1_loss(x, x)):
            assert result.dtype is torch.float32
        for result in (x.relu(), x.sqrt(), x.mean(), x + x, torch.cat([x, x]), torch.addcmul(x, x, x)):
            assert result.dtype is torch.float16
        assert torch.addcmul(x, x, p).dtype is torch.float32
        with pytest.raises(RuntimeError, match="unsafe to autocast"):
            F.binary_cross_entropy(p, p)
    finally:
        MODES.autocast = None


def test_tables_name_functions_that_exist() -> None:
    spaces = (torch, F, torch.linalg)
    to_come = {"ctc_loss", "lstm", "gru", "rnn", "renorm"}
    for device, policies in POLICIES.items():
        for name in policies.keys() - to_come - {"pad_by_edge"}:
            assert any(hasattr(space, name) for space in spaces), f"{device}: {name}"
    assert POLICIES["cuda"]["binary_cross_entropy"] is REFUSED


# -- gradients ---------------------------------------------------------------------------------------------------------


def test_gradients_are_float32() -> None:
    model = nn.Linear(3, 2)
    x = torch.randn(4, 3, requires_grad=True)
    with torch.autocast("cpu"):
        out = model(x)
        loss = F.mse_loss(out, torch.zeros(4, 2))
    assert (out.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    loss.backward()
    assert {t.grad.dtype for t in (x, *model.parameters())} == {torch.float32}
    h = model.weight.detach().bfloat16().float()  # d loss / d x = 2 (W x + b) W / n, with the rounded W
    expected = (out.detach().float() * (2 / 8)).bfloat16().float() @ h
    assert torch.allclose(x.grad, expected, rtol=2e-2, atol=1e-3)


def test_backward_runs_with_autocast_off() -> None:
    seen = []

    class Identity(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen.append(torch.is_autocast_enabled("cpu"))
            seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return g

    with torch.autocast("cpu"):
        Identity.apply(torch.ones(2, requires_grad=True)).sum().backward()
        assert torch.is_autocast_enabled("cpu")
    assert seen == [True, False, torch.float32]


def test_parameters_are_cast_once() -> None:
    w = torch.randn(3, 3, requires_grad=True)
    x = torch.randn(2, 3)

    def casts(out: torch.Tensor) -> object:
        return out.grad_fn.next_functions[1][0]  # what made the second factor of x @ w

    with torch.autocast("cpu"):
        first = casts(x @ w)
        assert first.name() == "CastBackward0"
        with torch.autocast("cpu", enabled=False):
            assert (x @ w).dtype is torch.float32
        with torch.autocast("cpu"):
            assert casts(x @ w) is first
        with torch.no_grad():
            assert not (x @ w).requires_grad
        assert casts(x @ w) is first, "a cast made without recording is another one"
        torch.clear_autocast_cache()
        assert casts(x @ w) is not first
    with torch.autocast("cpu"):
        again = casts(x @ w)
        assert again is not first
        with torch.no_grad():
            w.mul_(2)
        assert casts(x @ w) is not again, "the parameter was written"
        assert torch.equal(x @ w, (x.bfloat16() @ w.bfloat16()))
        w.data = torch.zeros(3, 3)
        assert not (x @ w).any()
    with torch.autocast("cpu", cache_enabled=False):
        assert casts(x @ w) is not casts(x @ w)


def test_a_cached_cast_sums_gradients() -> None:
    w = torch.eye(2, requires_grad=True)
    with torch.autocast("cpu"):
        ((torch.ones(1, 2) @ w) @ w).sum().backward()
    assert w.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_checkpoint_runs_again_as_it_ran() -> None:
    layer = nn.Linear(4, 4)
    x = torch.randn(2, 4, requires_grad=True)
    types = []

    def block(t: torch.Tensor) -> torch.Tensor:
        out = layer(t)
        types.append((out.dtype, torch.is_autocast_enabled("cpu")))
        return out.tanh()

    with torch.autocast("cpu"):
        layer(x)  # the weight's cast is in the cache
        block(x).float().sum().backward()
        expected = x.grad, layer.weight.grad
        x.grad = layer.weight.grad = None
        out = checkpoint(block, x)
    out.float().sum().backward()  # outside
    assert types == [(torch.bfloat16, True)] * 3
    assert torch.equal(x.grad, expected[0]) and torch.equal(layer.weight.grad, expected[1])


def test_checkpoint_notices_a_parameter_that_changed() -> None:
    layer = nn.Linear(4, 4)
    with torch.autocast("cpu"):
        layer(torch.ones(1, 4))
        out = checkpoint(layer, torch.ones(1, 4, requires_grad=True))
    with torch.no_grad():
        layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_in_place_and_out_keep_their_type() -> None:
    a, b = torch.randn(3, 3), torch.randn(3, 3)
    with torch.autocast("cpu"):
        assert torch.equal(torch.zeros(3, 3).addmm_(a, b), _exact(a, b))
        assert torch.equal(torch.mm(a, b, out=torch.zeros(3, 3)), _exact(a, b))


def _exact(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return a @ b


# -- the switch --------------------------------------------------------------------------------------------------------


def test_nesting_and_state() -> None:
    assert not torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    with torch.autocast("cpu", torch.float16):
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.float16
        with torch.autocast("cpu", enabled=False, dtype=torch.bfloat16):
            assert not torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
        assert torch.get_autocast_dtype("cpu") is torch.float16
        torch.set_autocast_enabled("cpu", False)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
    assert not torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16
    assert torch.get_autocast_dtype("cuda") is torch.float16
    torch.set_autocast_dtype("cpu", torch.float16)
    try:
        with torch.autocast("cpu"):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float16
    finally:
        torch.set_autocast_dtype("cpu", torch.bfloat16)


def test_decorator_and_errors_put_it_back() -> None:
    @torch.autocast("cpu")
    def product(depth: int) -> torch.Tensor:
        return product(depth - 1) if depth else torch.ones(2, 2) @ torch.ones(2, 2)

    assert product(2).dtype is torch.bfloat16 and product.__name__ == "product"
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        1 / 0  # noqa: B018
    assert not torch.is_autocast_enabled("cpu")


def test_threads_have_their_own() -> None:
    seen = []
    with torch.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append(torch.is_autocast_enabled("cpu")))
        thread.start()
        thread.join()
    assert seen == [False]


def test_what_cannot_be_had_is_said() -> None:
    with pytest.warns(UserWarning, match="CUDA is not available. Disabling autocast"):
        region = torch.autocast("cuda")
    with region:
        assert not torch.is_autocast_enabled("cuda") and not torch.is_autocast_enabled()
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        torch.autocast("cpu", torch.float32)
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'tpu'"):
        torch.autocast("tpu")
    with pytest.raises(ValueError, match="type `str`"):
        torch.autocast(torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.autocast("cuda", enabled=False)
    assert torch.amp.is_autocast_available("cpu") and not torch.amp.is_autocast_available("tpu")


def test_cuda_amp_is_the_older_name() -> None:
    with pytest.warns(FutureWarning, match="deprecated"), pytest.warns(UserWarning, match="CUDA"):
        region = torch.cuda.amp.autocast()
    with region:
        assert not torch.is_autocast_enabled("cpu")
    with pytest.warns(FutureWarning, match="deprecated"), pytest.warns(UserWarning, match="CUDA"):
        assert not torch.cuda.amp.GradScaler().is_enabled()


@pytest.mark.parametrize("inputs", [None, torch.float32])
def test_custom_functions(inputs: torch.dtype | None) -> None:
    seen = {}

    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=inputs)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            seen["forward"] = (a.dtype, torch.is_autocast_enabled("cpu"))
            return a @ b

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen["backward"] = torch.is_autocast_enabled("cpu")
            a, b = ctx.saved_tensors
            return g @ b.mT, a.mT @ g

    a, b = (torch.randn(2, 2, requires_grad=True) for _ in range(2))
    with torch.autocast("cpu"):
        out = Product.apply(a.bfloat16(), b)
    out.float().sum().backward()
    expected = (torch.bfloat16, True) if inputs is None else (torch.float32, False)
    assert seen == {"forward": expected, "backward": inputs is None}
    assert out.dtype is (torch.bfloat16 if inputs is None else torch.float32) and a.grad.dtype is torch.float32


@pytest.mark.parity
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_tables_are_complete(device: str) -> None:
    """What PyTorch has a policy for and pullback has, is in the table; and nothing else is."""
    reference = pytest.importorskip("torch")
    key = {"cpu": "AutocastCPU", "cuda": "AutocastCUDA"}[device]
    registered = {
        name.removeprefix("aten::").partition(".")[0].removeprefix("linalg_")
        for name in reference._C._dispatch_get_all_op_names()
        if reference._C._dispatch_has_kernel_for_dispatch_key(name, key)
    }
    ours = {  # PyTorch's name: what it is called here
        "cross_entropy_loss": "cross_entropy",
        "grid_sampler": "grid_sample",
        "inverse": "inv",
        "reflection_pad1d": "pad_by_edge",
        "upsample_nearest2d": "interpolate",
        "vector_norm": "norm",
        "vdot": "dot",
    }
    spaces = (torch, F, torch.linalg)
    expected = {
        ours.get(n, n) for n in registered if n in ours or any(callable(getattr(space, n, None)) for space in spaces)
    }
    composed = {"as given", "widest"}  # PyTorch reaches these by what they are made of
    extra = {
        "cpu": {"max_pool3d_with_indices", "adaptive_max_pool3d_with_indices", "lstm", "rnn", "gru"},
        "cuda": {"conv_transpose1d", "cross_entropy", "cat", "stack", "lstm", "rnn", "gru"},
    }[device]
    table = {name for name, policy in POLICIES[device].items() if policy not in composed or name in expected}
    assert expected - table == set()
    assert table - expected - extra <= {"ctc_loss", "renorm", "fractional_max_pool2d", "fractional_max_pool3d"}


LAYERS = {
    "nn.LSTM(4, 5, 2, bidirectional=True)": "m(x)[0]",
    "nn.GRU(4, 5)": "m(x)[0]",
    "nn.RNN(4, 5)": "m(x)[0]",
    "nn.LSTMCell(4, 5)": "m(x[0])[0]",
    "nn.GRUCell(4, 5)": "m(x[0])",
    "nn.MultiheadAttention(4, 2)": "m(x, x, x)[0]",
    "nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)": "m(x)",
    "nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, norm_first=True)": "m(x)",
    "nn.Bilinear(4, 4, 3)": "m(x, x)",
    "nn.Conv1d(3, 2, 2)": "m(x)",
    "nn.BatchNorm1d(3)": "m(x)",
    "nn.PReLU()": "m(x)",
}


@pytest.mark.parity
@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.filterwarnings("ignore")
def test_layers_are_pytorchs(make: str) -> None:
    reference = pytest.importorskip("torch")

    def run(library, enabled=True):
        m = eval(make, {"nn": library.nn})
        wave = library.arange(200.0).sin() * 0.4
        with library.no_grad():
            for i, p in enumerate(m.parameters()):
                p.copy_(wave.roll(i)[: p.numel()].reshape(p.shape))
        x = wave[:24].reshape(2, 3, 4).requires_grad_()
        with library.autocast("cpu", enabled=enabled):
            out = eval(LAYERS[make], {"m": m, "x": x})
        (out.float() * wave[: out.numel()].reshape(out.shape)).sum().backward()
        return str(out.dtype), [out, x.grad, *(p.grad for p in m.parameters())]

    (dtype, ours), (expected, theirs), (_, exact) = run(torch), run(reference), run(torch, enabled=False)
    assert dtype == expected
    for a, b, e in zip(ours, theirs, exact, strict=True):
        assert str(a.dtype) == str(b.dtype)
        error, their_error = (
            (torch.tensor(t.detach().double().numpy()) - e.detach()).norm().item() for t in (a, b)
        )  # of rounding; the two round differently
        assert error <= 2 * their_error + 0.01 * e.norm().item()
