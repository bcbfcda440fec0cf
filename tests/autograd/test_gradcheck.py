"""gradcheck finds wrong rules, names them, and is not fooled by kinks or noise."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import pullback
from pullback.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck, numerical_gradient


def leaf(*values: float) -> Any:
    return pullback.tensor(list(values), requires_grad=True)


class Spoilt(pullback.autograd.Function):
    """x^2, with a wrong factor at index 2."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        factor = pullback.full_like(x, 2.0)
        factor[2] = 2.5
        return g * x * factor


class Line:
    """What gradcheck asks of a Module."""

    def __init__(self) -> None:
        self.weight, self.bias, self.scale = leaf(1.0, 2.0, 3.0), leaf(0.5), pullback.ones(1)

    def named_parameters(self) -> Any:
        return [("weight", self.weight), ("bias", self.bias)]

    def parameters(self) -> Any:
        return [self.weight, self.bias]

    def buffers(self) -> Any:
        return [self.scale]

    def __call__(self, x: Any) -> Any:
        return (Spoilt.apply(self.weight) * x + self.bias) * self.scale


def test_right_gradients_pass() -> None:
    report = gradcheck(lambda x, y: (x * y).exp(), (leaf(0.1, 0.2), leaf(1.0, 2.0)))
    assert report
    assert (report.checked, report.skipped) == (4, [])
    assert gradgradcheck(lambda x, y: (x * y).exp(), (leaf(0.1, 0.2), leaf(1.0, 2.0)))


def test_it_works_in_float64_by_itself_and_changes_nothing() -> None:
    x = leaf(0.1, 0.2)
    seen = []

    def f(x: Any) -> Any:
        seen.append(x.dtype)
        return x.sin()

    assert gradcheck(f, x)
    assert set(seen) == {pullback.float64}
    assert x.dtype == pullback.float32 and x.grad is None
    assert x.tolist() == leaf(0.1, 0.2).tolist()


def test_a_wrong_element_is_named() -> None:
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda x: Spoilt.apply(x), (leaf(1.0, 2.0, 3.0),))
    text = str(caught.value)
    assert "gradcheck: 1 of 3 elements differ" in text
    assert "x[2]: expected" in text and "(differences), got " in text
    assert "test_gradcheck.py" in text
    report = gradcheck(lambda x: Spoilt.apply(x), (leaf(1.0, 2.0, 3.0),), raise_exception=False)
    assert not report
    assert len(report.failures) == 1


def test_a_wrong_second_derivative_is_found() -> None:
    class Cut(pullback.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0].detach()

    assert gradcheck(Cut.apply, leaf(1.0, 2.0))
    with pytest.raises(GradcheckError, match="gradgradcheck"):
        gradgradcheck(Cut.apply, leaf(1.0, 2.0))


def test_parameters_of_a_module_are_named() -> None:
    line = Line()
    before = copy.deepcopy(line.weight.tolist())
    with pytest.raises(GradcheckError, match=r"weight\[2\]: expected") as caught:
        gradcheck(line, pullback.tensor([1.0, 1.0, 1.0]))
    assert "bias" not in str(caught.value)
    assert line.weight.tolist() == before
    assert line.weight.dtype == pullback.float32 and line.weight.grad is None


def test_gradients_cut_off() -> None:
    with pytest.raises(GradcheckError, match=r"got None \(no gradient reaches it"):
        gradcheck(lambda x: x.detach().exp(), leaf(1.0))
    with pytest.raises(GradcheckError, match="the whole gradient is zero"):
        gradcheck(lambda x: x.detach() + x * 0, leaf(1.0, 2.0))
    with pytest.raises(GradcheckError, match="2 of 2 elements differ"):
        gradcheck(lambda x: x.detach() * x, leaf(1.0, 2.0))


def test_kinks_are_skipped_and_said() -> None:
    report = gradcheck(lambda x: x.relu(), leaf(-1.0, 0.0, 2.0))
    assert report
    assert report.skipped == ["x[1]"]
    assert "skipped at kinks" in str(report)


def test_steps_are_skipped() -> None:
    report = gradcheck(lambda x: x.floor() + x, leaf(0.5, 1.0))
    assert report.skipped == ["x[1]"]


def test_a_kink_excuses_only_what_lies_between_the_slopes() -> None:
    class Abs(pullback.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.abs()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 7

    assert not gradcheck(lambda x: Abs.apply(x), leaf(0.0), raise_exception=False)


def test_strong_curvature_is_no_kink() -> None:
    assert gradcheck(lambda x: (x * 1000.0).exp(), leaf(0.001, 0.002)).skipped == []


def test_a_random_function_is_refused() -> None:
    with pytest.raises(GradcheckError, match="not deterministic: output 0 was"):
        gradcheck(lambda x: x * pullback.rand(3, dtype=x.dtype), leaf(1.0, 2.0, 3.0))


def test_float32_inside_is_refused() -> None:
    with pytest.raises(pullback.errors.DTypeError, match=r"output 0 is torch\.float32"):
        gradcheck(lambda x: x.float().exp(), leaf(1.0))


def test_large_inputs_are_projected() -> None:
    x = pullback.linspace(-1.0, 1.0, 2000).requires_grad_()
    report = gradcheck(lambda x: x.tanh(), x)
    assert report.checked == 2000
    assert report.evaluations == 3
    with pytest.raises(GradcheckError, match=r"x\[2\]: expected"):
        gradcheck(lambda x: Spoilt.apply(x), x)


def test_only_what_requires_grad_is_checked() -> None:
    assert gradcheck(lambda x, y, k: x * y.detach() * k, (leaf(1.0), pullback.ones(3), 2)).checked == 1
    assert gradcheck(lambda x, y: x * y, (pullback.ones(2), pullback.ones(2))).checked == 4


def test_a_tensor_given_twice_is_one() -> None:
    x = leaf(3.0)
    assert gradcheck(lambda x, y: x * y, (x, x)).checked == 1


def test_numerical_gradient_and_its_cost() -> None:
    x, y = pullback.tensor([1.0, 2.0]), pullback.tensor([3.0, 4.0])
    (gx, gy), count = numerical_gradient(lambda x, y: (x * x * y).sum(), (x, y))
    assert count == 2 * 4
    assert [round(v, 6) for v in gx.tolist() + gy.tolist()] == [6.0, 16.0, 1.0, 4.0]
    g, count = numerical_gradient(lambda x: (x * x).sum(), x, central=False)
    assert count == 2 + 1
    assert [round(v, 4) for v in g.tolist()] == [2.0, 4.0]
