"""Eager ops on large arrays: the native kernels give what NumPy gives, and NumPy runs what they do not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engines.native.compare import TOLERANCE, close

import pullback
import pullback as torch
from pullback.dtypes import F32, F64
from pullback.engines import eager as policy
from pullback.engines.native import eager
from pullback.errors import PullbackError
from pullback.nn import functional as F
from pullback.ops.record import OPS, Spec
from pullback.settings import get_eager_engine, set_eager_engine

COVERED = sorted(eager.FITS)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cache of our own; whatever a test sets is put back."""
    monkeypatch.setattr(eager, "KNOWN", type(eager.KNOWN)())
    monkeypatch.setattr(eager, "SEEN", {})
    before, threads = get_eager_engine(), torch.get_num_threads()
    yield eager.KNOWN
    set_eager_engine(before)
    torch.set_num_threads(threads)


@pytest.fixture
def native(known: Any) -> Any:
    """Large ops are native."""
    set_eager_engine("native")
    return known


@pytest.fixture
def all_native(known: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """So are small ones."""
    monkeypatch.setattr(policy, "LEAST", 0)
    monkeypatch.setattr(policy, "FLOOR", 1)
    set_eager_engine("native")
    return known


def plainly(name: str, *inputs: Any, **params: Any) -> tuple[Any, ...]:
    """The op's results on NumPy."""
    with pullback.modes.Switch(plain=True):
        out = OPS[name](*inputs, **params)
    return out if type(out) is tuple else (out,)


def natively(name: str, *inputs: Any, **params: Any) -> tuple[Any, ...] | None:
    """Those of the kernel; None if it does not run."""
    out = eager.run(OPS[name], inputs, params)
    return None if out is NotImplemented else out if type(out) is tuple else (out,)


def of(x: Any, dtype: Any) -> Any:
    return x.astype(dtype, order="K") if isinstance(x, np.ndarray) and x.dtype == F64 else x


# -- the same numbers --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERED)
def test_samples_give_what_numpy_gives(name: str, all_native: Any) -> None:
    ran = 0
    for sample in OPS[name].samples():
        for dtype in (F64, F32):
            inputs = [of(x, dtype) for x in sample.inputs]
            try:
                expected = plainly(name, *inputs, **sample.params)
            except PullbackError:
                continue  # mixed types
            torch.set_num_threads(1)
            made = natively(name, *inputs, **sample.params)
            if made is None:
                continue
            ran += 1
            torch.set_num_threads(2)
            again = natively(name, *inputs, **sample.params)
            assert again is not None and len(made) == len(expected)
            for a, b, c in zip(expected, made, again, strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype)
                assert a.size < 2 or a.strides == b.strides, sample.note
                assert b.tobytes() == c.tobytes(), sample.note
                close(a, b, f"{name} {sample.note} {dtype}", TOLERANCE)
    assert ran > 2


def randn(*shape: int) -> Any:
    return torch.randn(*shape, requires_grad=True)


STEPS: dict[str, Callable[[], tuple[Callable[..., Any], tuple[Any, ...], set[str]]]] = {
    "convolution": lambda: (
        lambda x, w, b: F.conv2d(x, w, b, padding=1), (randn(16, 8, 24, 24), randn(16, 8, 3, 3), randn(16)),
        {"conv", "conv_transpose", "conv_weight_gradient"}),
    "convolution of one dimension": lambda: (
        lambda x, w: F.conv1d(x, w, stride=2), (randn(32, 16, 512), randn(32, 16, 5)),
        {"conv", "conv_transpose", "conv_weight_gradient"}),
    "pooling": lambda: (lambda x: F.max_pool2d(x, 2), (randn(16, 16, 64, 64),), {"max_pool", "max_pool_gradient"}),
    "attention": lambda: (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        tuple(randn(2, 4, 128, 64) for _ in range(3)), {"attention", "attention_gradient"}),
    "norm and activation": lambda: (
        lambda x, w, b: F.gelu(F.layer_norm(x, (512,), w, b)), (randn(1024, 512), randn(512), randn(512)),
        {"layer_norm", "row_norm_gradient", "gelu", "gelu_backward"}),
    "batch norm": lambda: (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (randn(32, 16, 32, 32), randn(16), randn(16)),
        {"batch_norm", "channel_norm_gradient"}),
    "cross entropy of rows that were looked up": lambda: (
        lambda w: F.cross_entropy(F.embedding(torch.arange(1000) % 50, w), torch.arange(1000) % 7),
        (randn(50, 512),), {"cross_entropy", "cross_entropy_gradient", "unembed"}),
    "products": lambda: (
        lambda x, w, b: F.linear(x, w, b), (randn(256, 300), randn(300, 300), randn(300)), {"linear", "matmul"}),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_gradients_through_the_tape_are_those_of_numpy(name: str, native: Any) -> None:
    torch.manual_seed(0)
    step, inputs, ops = STEPS[name]()

    def run() -> list[Any]:
        y = step(*inputs)
        y.backward(torch.ones_like(y) if y.ndim == 0 else torch.linspace(-1, 1, y.numel()).reshape(y.shape))
        found = [y.detach().numpy(), *(x.grad.numpy() for x in inputs)]
        for x in inputs:
            x.grad = None
        return found

    with pullback.modes.Switch(plain=True):
        expected = run()
    torch.set_num_threads(1)
    made = run()
    assert {key[0] for key, kept in native.items() if kept is not None} >= ops
    torch.set_num_threads(2)
    for a, b, c in zip(expected, made, run(), strict=True):
        close(a, b, name, {"float32": 2e-5})
        assert b.tobytes() == c.tobytes()


def test_inputs_lie_anywhere(native: Any) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((700, 1100), F32), rng.standard_normal((600, 700), F32)
    for given in (x.T, x[::2], x[:, ::-1], x[100:, 100:], np.broadcast_to(x[0], x.shape)):
        (made,) = natively("softmax", given, dim=1) or ()
        (expected,) = plainly("softmax", given, dim=1)
        close(expected, made, "softmax", TOLERANCE)
        assert made.flags.c_contiguous
        (made,) = natively("gelu", given, approximate="none") or ()
        (expected,) = plainly("gelu", given, approximate="none")
        close(expected, made, "gelu", TOLERANCE)
    (made,) = natively("matmul", x.T, w.T) or ()
    close(x.T @ w.T, made, "matmul", {"float32": 2e-5})


def test_maxima_of_rows_of_any_length(all_native: Any) -> None:
    rng = np.random.default_rng(0)
    for width, kernel, stride, padding, dilation in itertools.product(
        (1, 7, 8, 13, 16, 19, 40), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)
    ):
        if 2 * padding > kernel or width + 2 * padding <= dilation * (kernel - 1):
            continue
        x = rng.integers(-3, 4, (1, 2, 6, width)).astype(F32)  # with many equal ones
        x[rng.random(x.shape) < 0.05] = np.nan
        x[rng.random(x.shape) < 0.05] = -np.inf
        given = {"kernel": (2, kernel), "stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation)}
        made = natively("max_pool", x, **given)
        if made is None:  # a window has nothing but padding in it
            continue
        for a, b in zip(plainly("max_pool", x, **given), made, strict=True):
            np.testing.assert_array_equal(b, a, err_msg=f"{width} {given}")
    assert len(all_native) > 200


def test_half_types_are_computed_in_float32_and_rounded_once(native: Any) -> None:
    x = torch.randn(600, 1000).bfloat16()
    made = F.gelu(x)
    assert made.dtype == torch.bfloat16 and [key[0] for key, kept in native.items() if kept] == ["gelu"]
    assert torch.equal(made, F.gelu(x.float()).bfloat16())


def test_random_bits_are_those_of_numpy(all_native: Any) -> None:
    state = np.array([7, 3], np.int64)
    for name, inputs, params in (
        ("uniform", (state,), {"shape": (300, 200), "dtype": F32}),
        ("bernoulli", (state, np.full((300, 200), 0.3, F32)), {}),
        ("integers", (state,), {"low": -5, "high": 9, "shape": (300, 200)}),
    ):
        made = natively(name, *inputs, **params)
        assert made is not None and made[0].tobytes() == plainly(name, *inputs, **params)[0].tobytes()


def test_numbers_may_be_others_at_the_next_call(native: Any) -> None:
    x = np.random.default_rng(0).standard_normal((600, 700))
    for number in (0.0, -2.5, 3):
        (made,) = natively("where", x > 0, number, x) or ()
        np.testing.assert_array_equal(made, np.where(x > 0, number, x))
    assert len(native) == 2  # one for floats, one for integers


# -- what goes to NumPy ------------------------------------------------------------------------------------------------


def test_small_ops_are_numpys(native: Any) -> None:
    F.gelu(torch.randn(10, 10))
    F.conv2d(torch.randn(1, 2, 8, 8), torch.randn(2, 2, 3, 3))
    torch.randn(20, 20) @ torch.randn(20, 20)
    assert not any(native.values())


def test_the_switch(known: Any) -> None:
    x = torch.randn(600, 1000)
    set_eager_engine("numpy")
    F.gelu(x)
    assert not known and get_eager_engine() == "numpy"
    assert not any(OPS[name].large for name in COVERED)
    set_eager_engine("native")
    F.gelu(x)
    assert len(known) == 1 and get_eager_engine() == "native"
    with pytest.raises(PullbackError, match="there is no engine 'xla' for eager ops"):
        set_eager_engine("xla")


SAYS = "import pullback; from pullback.settings import get_eager_engine as g; print(g())"
MAKES = (
    "import pullback as torch; from pullback.settings import get_eager_engine as g; "
    "torch.nn.functional.gelu(torch.randn(600, 1000)); print(g())"
)


def said(code: str, **more: str) -> str:
    known = {**os.environ, "PYTHONPATH": str(Path(pullback.__file__).parents[1]), "PULLBACK_ENGINE": "", **more}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=known)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_the_environment_says_who_runs_them() -> None:
    assert said(SAYS) == "native"
    assert said(SAYS, PULLBACK_ENGINE="numpy") == "numpy"
    assert said(SAYS, PULLBACK_EAGER="numpy") == "numpy"
    assert said(SAYS, PULLBACK_ENGINE="numpy", PULLBACK_EAGER="native") == "native"


def test_without_a_compiler_numpy_runs_them_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "bin"
    path.mkdir()
    without = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'ziglang' else f(n); "
    )
    assert said(without + MAKES, PATH=str(path), CC="") == "numpy"


def test_a_compiled_step_on_the_numpy_engine_is_numpys(native: Any) -> None:
    x = torch.randn(600, 1000)
    step = torch.compile(lambda x: F.gelu(x), engine="numpy")
    step(x)
    native.clear()
    step(x)
    assert not native


def test_errors_are_those_of_numpy(native: Any) -> None:
    images, logits, index = torch.randn(16, 3, 64, 64), torch.randn(1000, 600), torch.full((1000,), 600)
    wrong = (
        lambda: F.conv2d(images, torch.randn(32, 4, 3, 3)),
        lambda: F.cross_entropy(logits, index),
        lambda: torch.gather(logits, 1, torch.full((1000, 600), 600)),
        lambda: F.layer_norm(logits, (600,), torch.ones(500)),
        lambda: F.scaled_dot_product_attention(
            torch.randn(4, 8, 128, 64), torch.randn(4, 8, 128, 32), torch.randn(4, 8, 128, 64)
        ),
        lambda: torch.randn(1000, 600) @ torch.randn(500, 1000),
    )
    for call in wrong:
        with pytest.raises(PullbackError) as given:
            call()
        with pullback.modes.Switch(plain=True), pytest.raises(PullbackError) as expected:
            call()
        assert str(given.value) == str(expected.value) and type(given.value) is type(expected.value)


def changed(x: Any) -> Iterator[Any]:
    """The array with another size somewhere, a dimension more or less, or of another kind."""
    for d in range(x.ndim):
        if x.shape[d]:
            yield np.concatenate([x, x.take([0], d)], d)
            yield x.take(0, d)
        if x.shape[d] > 1:
            yield x.take([0], d)
    yield x[None]
    yield np.zeros_like(x, F64 if x.dtype.kind in "iub" else np.int64)


@pytest.mark.parametrize("name", COVERED)
def test_what_fits_is_what_numpy_takes(name: str) -> None:
    """A kernel trusts shapes: none that NumPy refuses, or that give other results than foreseen, may reach one."""
    op, fitted = OPS[name], 0
    for sample in op.samples():
        for k, x in enumerate(sample.inputs):
            for other in itertools.chain([x], changed(x)) if isinstance(x, np.ndarray) else ():
                inputs = [*sample.inputs[:k], other, *sample.inputs[k + 1 :]]
                try:
                    fits = eager.plain(inputs) and eager.FITS[name](*inputs, **{**op.defaults, **sample.params})
                    found = fits and op.infer(
                        *[Spec(x.shape, x.dtype) if isinstance(x, np.ndarray) else x for x in inputs], **sample.params
                    )
                except Exception:
                    continue
                if not fits:
                    continue
                fitted += 1
                try:
                    out = plainly(name, *inputs, **sample.params)
                except IndexError:
                    continue  # which kernels look for
                for spec, y in zip([found] if isinstance(found, Spec) else found, out, strict=True):
                    assert (tuple(spec.shape), spec.dtype) == (y.shape, y.dtype), f"{sample.note}: {other.shape}"
    assert fitted


def test_every_op_has_a_cost_and_a_check() -> None:
    assert set(COVERED) == {*policy.PASSES, *policy.PRODUCTS}


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_latest_are_kept(native: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "MOST", 3)
    for n in range(600, 606):
        F.gelu(torch.randn(n, 1000))
    F.gelu(torch.randn(603, 1000))
    F.gelu(torch.randn(606, 1000))
    assert [key[2][0][0] for key in native] == [605, 603, 606]


def test_numbers_in_the_text_are_not_compiled_without_end(native: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "OPTIONS", 2)
    x = np.random.default_rng(0).standard_normal((600, 1000), F32)
    made = [natively("leaky_relu", x, slope=slope) is not None for slope in (0.1, 0.2, 0.3, 0.1)]
    assert made == [True, True, False, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_computes(native: Any) -> None:
    x = torch.randn(600, 1000)
    expected = F.gelu(x)
    for kept in native.values():
        kept.lock.acquire()  # as if another thread were at work
    child = os.fork()
    if not child:
        os._exit(0 if torch.equal(F.gelu(x), expected) else 1)
    for kept in native.values():
        kept.lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- updates -----------------------------------------------------------------------------------------------------------


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "AdamW": lambda ps: torch.optim.AdamW(ps, lr=0.01),
    "AMSGrad": lambda ps: torch.optim.Adam(ps, lr=0.01, weight_decay=0.1, amsgrad=True, maximize=True),
    "SGD": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "plain SGD": lambda ps: torch.optim.SGD(ps, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_step_as_on_numpy(name: str, native: Any) -> None:
    def trained(steps: int) -> list[Any]:
        torch.manual_seed(0)
        shapes = ((1000, 900), (40, 1000), (7,), (900, 1000))
        ps = [torch.randn(*shape).requires_grad_() for shape in shapes]
        ps[3] = torch.randn(900, 1000).t().detach().requires_grad_()  # does not lie in order
        optimizer = OPTIMIZERS[name](ps)
        for k in range(steps):
            for p in ps:
                p.grad = torch.randn(*p.shape)
            optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)
            optimizer.step()
        return [p.detach().numpy() for p in ps]

    with pullback.modes.Switch(plain=True):
        expected = trained(3)
    assert not native
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for a, b in zip(expected, trained(3), strict=True):
            close(a, b, name, {"float32": 1e-6})
    assert {key[2] for key, kept in native.items() if kept} == {900_000, 40_000}


def test_an_update_of_few_parameters_is_numpys(native: Any) -> None:
    p = torch.randn(100, 100).requires_grad_()
    p.grad = torch.randn(100, 100)
    torch.optim.AdamW([p]).step()
    assert not native
