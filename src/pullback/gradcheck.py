"""Checking gradients against differences of values.

    central    df/dx_i = (f(x + eps e_i) - f(x - eps e_i)) / (2 eps)        2 P evaluations for P elements
    forward    df/dx_i = (f(x + eps e_i) - f(x)) / eps                      P + 1

One backward pass gives all P at once; that is why there is backpropagation, and these serve to check it.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import trees
from .dtypes import F64, FLOATS
from .errors import DTypeError, GradientError, PullbackError, ShapeError, fail
from .functional import pull
from .functions.random import rand
from .modes import enable_grad
from .ops.arithmetic import add, mul
from .ops.compare import ne
from .ops.create import cast, clone
from .ops.reduction import any as any_
from .ops.reduction import sum as sum_
from .random import Generator
from .tensor import Tensor, wrap

LARGE = 1000  # inputs with more elements than this are checked along a random direction first
SHOWN = 10  # failures listed in full


class GradcheckError(GradientError):
    """A gradient is not what differences of values say."""


def host(array: Any) -> Any:
    """The values of an array, wherever it lies."""
    return array.known() if hasattr(array, "known") else array


class Subject:
    """A float64 tensor whose gradient is checked, and its elements as one flat run of memory."""

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name, self.tensor = name, tensor
        self.flat = tensor._array.reshape(-1)

    def element(self, i: int) -> str:
        """`x[0, 2]`"""
        place = []
        for size in reversed(self.tensor._array.shape):
            i, at = divmod(i, size)
            place.append(at)
        return f"{self.name}{list(reversed(place))}" if place else self.name


class Report:
    """What a check found; true if all is well."""

    def __init__(self) -> None:
        self.checked = 0  # elements
        self.evaluations = 0  # of the function
        self.skipped: list[str] = []  # elements that stand at a kink
        self.failures: list[str] = []

    def __bool__(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        lines = [
            f"{len(self.failures)} of {self.checked} elements differ"
            if self.failures
            else f"{self.checked} elements agree"
        ]
        lines[0] += f", after {self.evaluations} evaluations"
        lines += [f"  {failure}" for failure in self.failures[:SHOWN]]
        if len(self.failures) > SHOWN:
            lines.append(f"  ... and {len(self.failures) - SHOWN} more")
        if self.skipped:
            lines.append(f"  skipped at kinks, where left and right slopes differ: {', '.join(self.skipped)}")
        return "\n".join(lines)

    __repr__ = __str__


# -- differences -------------------------------------------------------------------------------------------------------


def numerical_gradient(f: Callable[..., Any], inputs: Any, eps: float = 1e-6, central: bool = True) -> tuple[Any, int]:
    """(gradient of the scalar f(*inputs) by each input, how often f was evaluated), in float64, from values alone."""
    given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    copies = [wrap(cast(clone(x._array), dtype=F64)) for x in given]
    subjects = [Subject(f"inputs[{i}]", x) for i, x in enumerate(copies)]
    count = 0

    def value() -> float:
        nonlocal count
        count += 1
        y = f(*copies)
        if y._array.size != 1:
            fail(
                ShapeError,
                f"numerical_gradient needs a function of one value; this one has shape {list(y.shape)}",
                "reduce it",
            )
        return float(host(y._array).reshape(()))

    here = None if central else value()
    grads = []
    for s in subjects:
        slopes = clone(s.flat)
        for i in range(s.flat.size):
            up = _moved(s, i, eps, value)
            slopes[i] = (up - _moved(s, i, -eps, value)) / (2 * eps) if here is None else (up - here) / eps
        grads.append(wrap(slopes.reshape(s.tensor._array.shape)))
    return (tuple(grads) if isinstance(inputs, (tuple, list)) else grads[0]), count


def _moved(s: Subject, i: int, by: float, value: Callable[[], float]) -> float:
    """The value with one element moved."""
    before = s.flat[i].copy()
    s.flat[i] += by
    try:
        return value()
    finally:
        s.flat[i] = before


# -- checks ------------------------------------------------------------------------------------------------------------


def gradcheck(
    func: Any,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool | None = None,
    masked: bool | None = None,
) -> Report:
    """Compare the gradients of a function, or of a Module with its parameters, with central differences in float64.

    Inputs that require grad are checked; all floating ones if none does. Copies are used, whatever the dtype. The
    outputs are combined by random weights. `fast_mode` compares along one random direction and looks at elements
    only if that fails; by default it is chosen for large inputs.
    """
    run, subjects = _prepare(func, inputs)
    report = _check(run, subjects, eps, atol, rtol, nondet_tol, fast_mode)
    return _conclude("gradcheck", report, raise_exception)


def gradgradcheck(
    func: Any,
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool | None = None,
    masked: bool = False,
) -> Report:
    """gradcheck of the function's gradient: its second derivatives, by the inputs and by the incoming cotangents."""
    run, subjects = _prepare(func, inputs)
    outs = run()
    if grad_outputs is None:
        vs = [wrap(v) for v in _weights(outs)]
    else:
        vs = [wrap(cast(clone(v._array), dtype=F64)) for v in trees.tensors(grad_outputs)]
    second = subjects + [Subject(f"grad_outputs[{i}]", v.requires_grad_()) for i, v in enumerate(vs)]

    def gradient() -> list[Tensor]:
        return [g for g in pull(run(), [s.tensor for s in subjects], vs, create_graph=True) if g is not None]

    report = _check(gradient, second, eps, atol, rtol, nondet_tol, fast_mode)
    return _conclude("gradgradcheck", report, raise_exception)


def _conclude(name: str, report: Report, raise_exception: bool) -> Report:
    if report.failures and raise_exception:
        fail(
            GradcheckError,
            f"{name}: {report}",
            "the pullback of an op on the way is wrong, or something cuts the graph",
        )
    return report


def _prepare(func: Any, inputs: Any) -> tuple[Callable[[], list[Tensor]], list[Subject]]:
    """(the function of nothing, run on float64 copies; what to check)"""
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    floats = [x for x in trees.tensors(given) if x.npdtype in FLOATS]
    module = hasattr(func, "named_parameters")
    everything = not module and not any(x.requires_grad for x in floats)
    copies: dict[int, Tensor] = {}
    subjects = []
    names = _names(func, given)
    for k, x in enumerate(trees.tensors(given)):
        if x.npdtype in FLOATS and id(x) not in copies:
            t = copies[id(x)] = wrap(cast(clone(x._array), dtype=F64))
            if x.requires_grad or everything:
                subjects.append(Subject(names[k], t.requires_grad_()))
    args = trees.map_tensors(lambda x: copies.get(id(x), x), given)
    if module:
        func = copy.deepcopy(func)
        for t in [*func.parameters(), *func.buffers()]:
            if t.npdtype in FLOATS:
                t.data = wrap(cast(clone(t._array), dtype=F64))
        subjects += [Subject(name, p) for name, p in func.named_parameters() if p.requires_grad]
    if not subjects:
        fail(
            PullbackError,
            "gradcheck found no floating point input to check",
            "pass tensors, or a Module with parameters",
        )

    def run() -> list[Tensor]:
        with enable_grad():
            outs = trees.tensors(func(*args))
        outs = [y for y in outs if y.npdtype in FLOATS]
        for i, y in enumerate(outs):
            if y.npdtype != F64:
                what = (
                    f"gradcheck: output {i} is {y.dtype} though the inputs are float64: differences would be too coarse"
                )
                fail(DTypeError, what, "let the function keep the dtype it is given")
        return outs

    return run, subjects


def _names(func: Any, given: tuple[Any, ...]) -> list[str]:
    """What the tensors in the arguments are called: as the function calls them, if it says."""
    try:
        called = inspect.signature(func).bind(*given).arguments
    except (TypeError, ValueError):
        called = {}
    if all(isinstance(a, Tensor) for a in called.values()) and len(called) == len(given):
        return list(called)
    return [f"inputs[{k}]" for k in range(len(trees.tensors(given)))]


def _weights(outs: Sequence[Tensor]) -> list[Any]:
    """Random cotangents, away from zero; the user's random state is left alone."""
    generator = Generator().manual_seed(0)
    return [add(rand(*y.shape, generator=generator, dtype=y.dtype)._array, 0.5) for y in outs]


def _check(
    run: Callable[[], list[Tensor]],
    subjects: list[Subject],
    eps: float,
    atol: float,
    rtol: float,
    nondet: float,
    fast: bool | None,
) -> Report:
    report = Report()
    outs = run()
    vs = _weights(outs)
    _check_repeatable(outs, run(), nondet)

    def value() -> float:
        report.evaluations += 1
        return math.fsum(float(sum_(mul(v, y._array))) for v, y in zip(vs, run(), strict=True))

    got = pull(outs, [s.tensor for s in subjects], [wrap(v) for v in vs], create_graph=False)
    check = Comparison(value, value(), eps, atol, rtol)
    for s, g in zip(subjects, got, strict=True):
        report.checked += s.flat.size
        large = s.flat.size > LARGE if fast is None else fast
        if large and check.along_a_direction(s, g):
            continue
        for i in range(s.flat.size):
            slope = 0.0 if g is None else float(host(g._array).reshape(-1)[i])
            verdict, expected = check.element(s, i, slope)
            if verdict == "kink":
                report.skipped.append(s.element(i))
            elif verdict == "wrong":
                report.failures.append(_failure(s, i, expected, slope, g))
    return report


def _failure(s: Subject, i: int, expected: float, got: float, g: Tensor | None) -> str:
    text = (
        f"{s.element(i)}: expected {expected:.9g} (differences), got {got:.9g} (rule), error {abs(expected - got):.3g}"
    )
    if g is None:
        return text.replace(
            f"got {got:.9g} (rule)", "got None (no gradient reaches it: it was cut off by detach(), .data or no_grad)"
        )
    if not any_(ne(g._array, 0.0)):
        return text + "; the whole gradient is zero: part of the graph may be cut off by detach(), .data or no_grad"
    return text


def _check_repeatable(first: list[Tensor], second: list[Tensor], tolerance: float) -> None:
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        for x, y in zip(host(a._array).flat, host(b._array).flat, strict=True):
            if abs(x - y) > tolerance:
                what = f"gradcheck: the function is not deterministic: output {k} was {x:.9g}, then {y:.9g}"
                fail(GradcheckError, what, "call eval() on modules with dropout, or seed inside the function")


class Comparison:
    """Slopes of a function of one value, beside those that the rules give."""

    def __init__(self, value: Callable[[], float], here: float, eps: float, atol: float, rtol: float) -> None:
        self.value, self.here, self.eps, self.atol, self.rtol = value, here, eps, atol, rtol

    def close(self, expected: float, got: float) -> bool:
        return abs(expected - got) <= self.atol + self.rtol * abs(expected) or (
            math.isnan(expected) and math.isnan(got)
        )

    def element(self, s: Subject, i: int, got: float) -> tuple[str, float]:
        """("right", "kink" or "wrong"; the slope that differences give)"""
        left, right = self._slopes(s, i, self.eps)
        expected = (left + right) / 2
        if self.close(expected, got):
            return "right", expected
        # A kink near x, or a strong curve, looks different from closer by; a kink or jump at x itself does not.
        left, right = self._slopes(s, i, self.eps / 10)
        closer = (left + right) / 2
        if self.close(closer, got):
            return "right", closer
        noise = 1e-13 * (abs(self.here) + 1) / self.eps
        tolerance = self.atol + self.rtol * abs(closer) + noise
        bends = abs(right - left) > 2 * tolerance and not self._smooth(s, i, abs(right - left))
        jumps = abs(closer) > 5 * abs(expected) + noise
        between = min(left, right) - tolerance <= got <= max(left, right) + tolerance
        return ("kink" if jumps or (bends and between) else "wrong"), expected

    def _smooth(self, s: Subject, i: int, gap: float) -> bool:
        """Does the gap between left and right slope close ten times closer? Then it was the function's curvature."""
        left, right = self._slopes(s, i, self.eps)
        return gap < abs(right - left) / 3

    def _slopes(self, s: Subject, i: int, eps: float) -> Iterator[float]:
        yield (self.here - _moved(s, i, -eps, self.value)) / eps
        yield (_moved(s, i, eps, self.value) - self.here) / eps

    def along_a_direction(self, s: Subject, g: Tensor | None) -> bool:
        """Do both agree on the slope in one random direction?"""
        generator = Generator().manual_seed(1)
        u = add(rand(s.flat.size, generator=generator, dtype=s.tensor.dtype)._array, -0.5)
        u *= 1 / math.sqrt(float(sum_(mul(u, u))))
        before = clone(s.flat)
        ends = []
        for sign in (1, -1):
            s.flat += sign * self.eps * u
            ends.append(self.value())
            s.flat[:] = before
        got = 0.0 if g is None else float(sum_(mul(host(g._array).reshape(-1), u)))
        return self.close((ends[0] - ends[1]) / (2 * self.eps), got)
