"""nn.functional.grouped_mm: PyTorch's forms and results, what is in no group, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as torch
import pullback.nn.functional as F

ROWS, COLUMNS, STACK = torch.ones(8, 4), torch.ones(4, 8), torch.ones(3, 4, 4)


def ends(*values: int, dtype: Any = torch.int32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


def test_what_is_in_no_group() -> None:
    """It becomes zeros, gets a zero gradient, and is not even looked at."""
    x, w = torch.ones(8, 4), torch.ones(3, 4, 2, requires_grad=True)
    x[5:] = float("nan")
    x.requires_grad_()
    out = F.grouped_mm(x, w, offs=ends(2, 2, 5))
    assert out.tolist() == [[4.0, 4.0]] * 5 + [[0.0, 0.0]] * 3
    (out * torch.arange(8.0)[:, None]).sum().backward()
    assert x.grad[:, 0].tolist() == [0, 2, 4, 6, 8, 0, 0, 0]
    assert w.grad[:, 0, 0].tolist() == [1, 0, 9]


def test_two_stacks_are_bmm() -> None:
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 2)
    assert torch.equal(F.grouped_mm(a, b), torch.bmm(a, b))
    assert F.grouped_mm(a, b, out_dtype=torch.float32).shape == (3, 4, 2)


def test_no_groups() -> None:
    assert F.grouped_mm(ROWS, STACK[:0], offs=ends()).tolist() == [[0.0] * 4] * 8
    assert F.grouped_mm(COLUMNS, ROWS, offs=ends()).shape == (0, 4, 4)


@pytest.mark.parametrize(("a", "b"), [(ROWS, STACK), (STACK, COLUMNS), (COLUMNS, ROWS)])
def test_its_cost_is_that_of_one_product(a: torch.Tensor, b: torch.Tensor) -> None:
    run = torch.compile(lambda offs: F.grouped_mm(a, b, offs=offs))
    run(ends(2, 2, 7))
    (row,) = run.program.cost().rows
    assert row.flops == 2 * 8 * 4 * 4


def product(a: Any = ROWS, b: Any = STACK, offs: Any = None, **options: Any) -> Callable[[], Any]:
    return lambda: F.grouped_mm(a, b, offs=ends(2, 4, 8) if offs is None else offs, **options)


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: F.grouped_mm(ROWS, STACK), ValueError, r"without offs both have to be 3D: mat_a \[8, 4\]"),
    (product(STACK, STACK), ValueError, "one and a stack, are multiplied, but they are 3D and 3D"),
    (product(ROWS[0]), ValueError, "but they are 1D and 3D"),
    (lambda: F.grouped_mm(STACK, torch.ones(2, 4, 4)), ValueError, "the batches differ in size"),
    (product(offs=ends(2, 8)), ValueError, "offs ends 2 groups, but mat_b has 3 matrices"),
    (product(offs=ends(2, 8)[None]), ValueError, "offs has to be 1D"),
    (product(b=torch.ones(3, 5, 4)), ValueError, r"mat_a and mat_b shapes cannot be multiplied \(8x4 and 5x4\)"),
    (product(offs=ends(2, 4, 8, dtype=torch.int64)), TypeError, r"to be int32, but is int64\n.*\n.*offs.int\(\)"),
    (product(ROWS.double()), TypeError, "expected one dtype, but got float64, float32"),
    (product(ROWS.int(), STACK.int()), TypeError, "multiplies floating point matrices, but got int32"),
    (product(bias=torch.ones(4)), ValueError, "Bias not supported yet"),
    (product(out_dtype=torch.float64), TypeError, "must match mat_a's, .*float32, but out_dtype is .*float64"),
    (product(offs=ends(4, 2, 8)), RuntimeError, r"from 0 or more to 8 or less, but offs is \[4, 2, 8\]"),
    (product(offs=ends(2, 4, 9)), RuntimeError, r"counts.cumsum\(0\).int\(\)"),
    (product(offs=ends(-1, 4, 8)), RuntimeError, r"offs is \[-1, 4, 8\]"),
    (product(STACK, COLUMNS, ends(2, 4, 9)), RuntimeError, "from 0 or more to 8 or less"),
    (product(COLUMNS, ROWS, ends(2, 4, 9)), RuntimeError, "from 0 or more to 8 or less"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES)
def test_is_told_what_to_do(mistake: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        mistake()


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("form", ["rows", "terms", "columns", "stacks"])
def test_as_pytorch_has_it(form: str, dtype: str) -> None:
    """Values and gradients, for types and strides that its CPU kernel takes, and groups of all rows."""
    pytorch = pytest.importorskip("torch")
    shapes = {
        "rows": ((16, 8), (3, 8, 24)), "terms": ((8, 16), (16, 24)), "columns": ((3, 8, 24), (24, 16)),
        "stacks": ((3, 8, 16), (3, 16, 24)),
    }[form]  # fmt: skip
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    at = None if form == "stacks" else np.array([5, 5, 16], "int32")
    results = []
    for library, functional in ((torch, F), (pytorch, pytorch.nn.functional)):
        a, b = (library.from_numpy(x).to(getattr(library, dtype)).requires_grad_() for x in arrays)
        out = functional.grouped_mm(a, b, offs=None if at is None else library.from_numpy(at))
        assert str(out.dtype).endswith(dtype)
        g = library.from_numpy(np.random.default_rng(1).standard_normal(out.shape).astype("float32")).to(out.dtype)
        out.backward(g)
        results.append([x.detach().float().numpy() for x in (out, a.grad, b.grad)])
    near = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, near, near * abs(theirs).max())


@pytest.mark.parity
def test_on_xla() -> None:
    """Eagerly, wrong ends are an error; in a compiled step, where nobody can look at them, all is NaN."""
    pytest.importorskip("jax")
    rows, columns, stack = ROWS.clone(), COLUMNS.clone(), STACK.clone()  # a step takes its state along
    for wrong in (ends(4, 2, 8), ends(2, 4, 9), ends(-(2**31), 4, 8)):
        with pytest.raises(RuntimeError, match="from 0 or more to 8 or less"):
            F.grouped_mm(rows.to("xla"), stack.to("xla"), offs=wrong.to("xla"))
        for a, b in ((rows, stack), (stack, columns), (columns, rows)):
            run = torch.compile(lambda offs, a=a, b=b: F.grouped_mm(a, b, offs=offs), engine="xla")
            assert run(wrong).isnan().all()
            good = ends(2, 2, 7)
            np.testing.assert_allclose(run(good).numpy(), F.grouped_mm(a, b, offs=good).numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match="but they are 1D and 1D"):
        F.grouped_mm(rows[0].to("xla"), rows[0].to("xla"), offs=ends(8).to("xla"))


@pytest.mark.parity
def test_jaxs_own_form_for_other_platforms() -> None:
    """What runs where there is no CPU, run on one."""
    pytest.importorskip("jax")
    import jax.numpy as jnp

    from pullback.engines.xla.forms import grouped

    rng, at = np.random.default_rng(0), jnp.array([0, 2, 2, 7], "int32")
    x, y, w = (rng.standard_normal(shape).astype("float32") for shape in ((9, 4), (9, 5), (3, 4, 5)))
    rows = grouped._ragged_rows(jnp.asarray(x), jnp.asarray(w), at)[:7]
    np.testing.assert_allclose(rows, F.grouped_mm(*map(torch.from_numpy, (x, w)), offs=ends(2, 2, 7))[:7], rtol=1e-5)
    terms = grouped._ragged_terms(jnp.asarray(x.T), jnp.asarray(y), at, jnp.float32(0))
    expected = F.grouped_mm(torch.from_numpy(x).t(), torch.from_numpy(y), offs=ends(2, 2, 7))
    np.testing.assert_allclose(terms, expected, rtol=1e-5, atol=1e-6)
