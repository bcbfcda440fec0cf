"""L-BFGS. Driven by a closure, it decides by values and so reads them: the one optimizer that cannot be captured."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import ArgumentError, PullbackError, fail
from ..functions.joining import cat
from ..modes import MODES, enable_grad, no_grad
from ..tensor import Tensor
from .optimizer import Optimizer, Params, check_options


class Point(NamedTuple):
    """What a line search found at step t: the loss, the gradient, and the slope along the line."""

    t: float
    f: float
    g: Tensor
    slope: float


class LBFGS(Optimizer):
    """On the limited memory BFGS method for large scale optimization (Liu and Nocedal 1989).

        p = p + t d,    d = -H g

    H approximates the inverse Hessian from the last `history_size` pairs (s, y) of steps and changes of the gradient;
    t is lr, or found by a line search for the strong Wolfe conditions.
    """

    _captured = False

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_options(lr=lr)
        if line_search_fn not in (None, "strong_wolfe"):
            fail(ArgumentError, f"only 'strong_wolfe' is supported as line_search_fn, not {line_search_fn!r}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            fail(ArgumentError, "LBFGS doesn't support per-parameter options (parameter groups)", "pass one list")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter iterations; `closure` clears the gradients, computes the loss, calls backward, returns it."""
        if closure is None:
            fail(
                ArgumentError,
                "LBFGS evaluates the loss several times a step",
                "pass a closure: optimizer.step(closure)",
            )
        if MODES.capture is not None:
            fail(
                PullbackError,
                "LBFGS cannot be a part of a captured step: how often it calls the closure depends on the losses",
                "compile the closure instead, with zero_grad() in it, and call optimizer.step(closure) outside",
            )
        with no_grad():
            return self._iterate(enable_grad()(closure))

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        o = self.param_groups[0]
        s = self.state[o["params"][0]]
        s.setdefault("func_evals", 0)
        s.setdefault("n_iter", 0)
        first = closure()
        loss, g = float(first), self._gradient()
        evaluations = 1
        s["func_evals"] += 1
        if largest(g) <= o["tolerance_grad"]:
            return first
        for iteration in range(1, o["max_iter"] + 1):
            s["n_iter"] += 1
            if s["n_iter"] == 1:
                s.update(d=-g, old_dirs=[], old_stps=[], ro=[], H_diag=1)
                t = min(1.0, 1.0 / float(g.abs().sum())) * float(o["lr"])
            else:
                remember(s, g, o["history_size"])
                s["d"] = direction(s, g)
                t = float(o["lr"])
            d = s["d"]
            s.update(t=t, prev_flat_grad=g, prev_loss=loss)
            slope = float(g.dot(d))
            if slope > -o["tolerance_change"]:
                break
            before, tries = loss, 0
            if o["line_search_fn"] is not None:
                look = functools.partial(self._look, closure, [p.clone() for p in o["params"]], d)
                here = Point(0.0, loss, g, slope)
                tolerance, allowed = o["tolerance_change"], o["max_eval"] - evaluations
                found, tries = strong_wolfe(look, here, t, largest(d), tolerance, allowed)
                s["t"] = t = found.t
                loss, g = found.f, found.g
                self._move(t, d)
            else:
                self._move(t, d)
                if iteration != o["max_iter"]:
                    loss, g, tries = float(closure()), self._gradient(), 1
            evaluations += tries
            s["func_evals"] += tries
            if (
                evaluations >= o["max_eval"]
                or largest(g) <= o["tolerance_grad"]
                or largest(d * t) <= o["tolerance_change"]
                or abs(loss - before) < o["tolerance_change"]
            ):
                break
        return first

    def _gradient(self) -> Tensor:
        """All gradients as one vector; zeros where there is none."""
        flat = [(p * 0 if p.grad is None else p.grad).reshape(-1) for p in self.param_groups[0]["params"]]
        return cat(flat).clone()

    def _move(self, t: float, d: Tensor) -> None:
        """p = p + t d"""
        parameters = self.param_groups[0]["params"]
        for p, part in zip(parameters, d.split([p.numel() for p in parameters]), strict=True):
            p.add_(part.view_as(p), alpha=t)

    def _look(self, closure: Callable[[], Any], start: list[Tensor], d: Tensor, t: float) -> Point:
        """What there is at start + t d."""
        self._move(t, d)
        f, g = float(closure()), self._gradient()
        for p, value in zip(self.param_groups[0]["params"], start, strict=True):
            p.copy_(value)
        return Point(t, f, g, float(g.dot(d)))


def largest(x: Tensor) -> float:
    return float(x.abs().max())


def remember(s: dict[str, Any], g: Tensor, size: int) -> None:
    """Keep the pair (s, y) of the last step if the curvature y.s along it is positive; forget the oldest."""
    y, step = g - s["prev_flat_grad"], s["d"] * s["t"]
    ys = y.dot(step)
    if float(ys) > 1e-10:
        for name, value in ("old_dirs", y), ("old_stps", step), ("ro", 1.0 / ys):
            s[name] = [*s[name], value][-size:]
        s["H_diag"] = ys / y.dot(y)


def direction(s: dict[str, Any], g: Tensor) -> Tensor:
    """-H g, by the two-loop recursion."""
    history = list(zip(s["old_dirs"], s["old_stps"], s["ro"], strict=True))
    q, shares = -g, []
    for y, step, ro in reversed(history):
        share = step.dot(q) * ro
        q = q - share * y
        shares.append(share)
    r = q * s["H_diag"]
    for (y, step, ro), share in zip(history, reversed(shares), strict=True):
        r = r + (share - y.dot(r) * ro) * step
    return r


def cubic(a: Point, b: Point, low: float, high: float) -> float:
    """The minimum of the cubic through two points with these values and slopes, within low ... high."""
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return (low + high) / 2
    d2 = math.sqrt(square)
    width = b.slope - a.slope + 2 * d2
    t = b.t - (b.t - a.t) * (b.slope + d2 - d1) / width if width else (low + high) / 2
    return min(max(t, low), high)


def strong_wolfe(
    look: Callable[[float], Point],
    start: Point,
    t: float,
    length: float,
    tolerance: float,
    allowed: int,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> tuple[Point, int]:
    """A step that lowers the loss enough (f <= f0 + c1 t slope0) and flattens the slope (|slope| <= c2 |slope0|).

    Returns where it leads and how often the loss was evaluated (Nocedal and Wright 2006, algorithms 3.5 and 3.6).
    """

    def too_high(point: Point) -> bool:
        return point.f > start.f + c1 * point.t * start.slope

    def flat(point: Point) -> bool:
        return abs(point.slope) <= -c2 * start.slope

    before, new = start, look(t)
    tries = 0
    while tries < allowed:  # go further until there is a minimum in between
        if too_high(new) or (tries > 1 and new.f >= before.f):
            ends = [before, new]
            break
        if flat(new):
            return new, tries + 1
        if new.slope >= 0:
            ends = [before, new]
            break
        t = cubic(before, new, new.t + 0.01 * (new.t - before.t), new.t * 10)
        before, new = new, look(t)
        tries += 1
    else:
        ends = [start, new]
    stuck = False
    low = 0 if ends[0].f <= ends[1].f else 1
    while tries < allowed:  # narrow the interval down
        left, right = sorted(end.t for end in ends)
        if (right - left) * length < tolerance:
            break
        t = cubic(ends[0], ends[1], left, right)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near an end: once is allowed
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new = look(t)
        tries += 1
        if too_high(new) or new.f >= ends[low].f:
            ends[1 - low] = new
            low = 0 if ends[0].f <= ends[1].f else 1
            continue
        if not flat(new) and new.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = new
        if flat(new):
            break
    return ends[low], tries + 1
